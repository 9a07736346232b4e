package lora_test

import (
	"fmt"
	"log"
	"sync"
	"testing"

	"github.com/gomlx/gomlx/core/graph"
	"gonum.org/v1/gonum/mat"

	"github.com/deeplora/deeplora/lora"
	"github.com/deeplora/deeplora/lora/loratest"
)

// principal is a method of one's own: ΔK = A·B, where A starts as the r leading input directions of the kernel itself
// (those that PiSSA starts from) and B at zero, so that ΔK = 0.
type principal struct{ rank int }

func newPrincipal(s lora.Settings) (lora.Adapter, error) {
	if s.Rank < 1 {
		return nil, fmt.Errorf("rank %d; want 1 or more", s.Rank)
	}
	return principal{s.Rank}, nil
}

func (p principal) Init(s lora.Site) ([]lora.Factor, error) {
	if p.rank > min(s.In, s.Out) {
		return nil, fmt.Errorf("kernel %s [%d %d]: rank %d is larger than its smaller side", s.Name, s.In, s.Out, p.rank)
	}
	directions := func() (mat.Matrix, error) {
		kernel, err := s.Weight()
		if err != nil {
			return nil, fmt.Errorf("kernel %s: %w", s.Name, err)
		}
		top, err := lora.Leading(kernel, p.rank)
		return top.U, err
	}
	zero := func() (mat.Matrix, error) { return mat.NewDense(p.rank, s.Out, nil), nil }
	return []lora.Factor{
		lora.NewFactor("A", s.In, p.rank, 1, directions),
		lora.NewFactor("B", p.rank, s.Out, 1, zero),
	}, nil
}

func (p principal) Delta(f []*graph.Node) lora.Delta { return lora.Delta{f[0], f[1]} }

// registerPrincipal puts the method into the table, once a process.
var registerPrincipal = sync.OnceValue(func() error {
	return lora.Register(lora.Method{
		Name:         "principal",
		New:          newPrincipal,
		LearningRate: func(lora.Settings) float64 { return 1e-4 },
		Parameters:   func(s lora.Settings, in, out int) int { return s.Rank * (in + out) },
		InitialNorm:  func(lora.Settings, int, int) (low, high float64) { return 0, 0 },
	})
})

func TestPrincipalMeetsTheContract(t *testing.T) {
	if err := registerPrincipal(); err != nil {
		t.Fatal(err)
	}
	loratest.Run(t, "principal")
}

// A registered method is used by its name, as any other.
func ExampleRegister() {
	if err := registerPrincipal(); err != nil {
		log.Fatal(err)
	}
	adapter, err := lora.New("principal", lora.Settings{Rank: 2})
	if err != nil {
		log.Fatal(err)
	}
	factors, err := adapter.Init(lora.Site{Name: "pooler.dense", In: 768, Out: 768})
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range factors {
		fmt.Println(f.Name, f.Shape)
	}
	// Output:
	// A [768 2]
	// B [2 768]
}
