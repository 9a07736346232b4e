package loop

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/testbackend"
)

// ones is a job and its batches: the loss is the mean of w times what a batch holds.
type ones struct{ Job }

func (ones) Batch(int) (Batch, error) { return ones{}, nil }
func (ones) Args(dtypes.DType) []*tensors.Tensor {
	return []*tensors.Tensor{tensors.FromValue([]float32{1, 2})}
}
func (ones) Weight() float64                                 { return 1 }
func (ones) RealTokens() int                                 { return 2 }
func (ones) Write(string, []NamedTensor) error               { return nil }
func (ones) Read(string) (map[string]*tensors.Tensor, error) { return nil, nil }

// begun is a loop of one parameter that has begun, with what is traced of its loss and what its first values wait for.
func begun(t *testing.T, steps int, loss func(), draw func() error) *Loop {
	t.Helper()
	l, err := New(Plan{Steps: steps, Accumulate: 1, LR: 0.5, Keep: 1}, Objective{
		DType: dtypes.Float32,
		Params: []Param{{Name: "w", Shape: []int{2}, Rate: 1, Draw: func() (*tensors.Tensor, error) {
			return tensors.FromValue([]float32{3, 4}), draw()
		}}},
		Loss: func(weights func(string) *Node, batch []*Node, _, total *Node) *Node {
			loss()
			return Div(ReduceAllSum(Mul(weights("w"), batch[0])), total)
		},
	}, ones{}, Options{Backend: testbackend.All(t)[0], Out: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// A start that takes long is drawn while the graphs of the first step are compiled.
func TestCompiledWhileDrawn(t *testing.T) {
	traced, many := make(chan struct{}), 0
	l := begun(t, 2, func() {
		if many++; many == 1 {
			close(traced)
		}
	}, func() error {
		select {
		case <-traced:
			return nil
		case <-time.After(time.Minute):
			return errors.New("the graph of the first step is not built before the start is drawn")
		}
	})
	defer l.Close()
	if err := l.Begin(t.Context(), "draw"); err != nil {
		t.Fatal(err)
	}
	if err := l.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if many != 1 || l.Progress().Step != 2 {
		t.Errorf("the graph was built %d times for %d steps, want once for 2", many, l.Progress().Step)
	}
}

// A loop without steps compiles nothing, and one that does not come to its first step lets the compiling end.
func TestBegunAndClosed(t *testing.T) {
	l := begun(t, 0, func() { t.Error("a graph of steps is built where there are none") }, func() error { return nil })
	if err := l.Begin(t.Context(), "draw"); err != nil {
		t.Fatal(err)
	}
	l.Close()

	traced := false
	l = begun(t, 1, func() { traced = true }, func() error { return context.Canceled })
	if err := l.Begin(t.Context(), "draw"); !errors.Is(err, context.Canceled) {
		t.Fatalf("error %v", err)
	}
	l.Close()
	if !traced { // also a race where Close does not wait
		t.Error("the loop was closed before its graph was built")
	}
}
