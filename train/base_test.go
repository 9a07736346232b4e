package train

import (
	"errors"
	"math"
	"path/filepath"
	"slices"
	"testing"

	"github.com/gomlx/compute"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/train/loop"
)

// finished trains a small run and reads it.
func finished(t *testing.T, b compute.Backend, o OpenOptions, change func(c *Config)) *Finished {
	t.Helper()
	c := small()
	c.Steps, c.LR = 3, 0.02
	change(&c)
	dir := filepath.Join(t.TempDir(), "run")
	trainSmall(t, b, c, dir)
	f, err := ReadFinished(t.Context(), dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

var threePairs = []data.Example{
	{Text: "A man is playing a flute.", Pair: "Someone plays an instrument.", HasPair: true},
	{Text: "Two dogs run.", Pair: "A cat sleeps on the old red sofa of the house.", HasPair: true},
	{Text: "It rains.", Pair: "It rains.", HasPair: true},
}

func scores(t *testing.T, p *Predictor) (list []float64) {
	t.Helper()
	predicted, err := p.Predict(t.Context(), threePairs)
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range predicted {
		list = append(list, *x.Score)
	}
	return list
}

func tensorsByName(p *Predictor) map[string]any {
	found := map[string]any{}
	for _, w := range p.weights {
		found[w.Name] = w.Value
	}
	return found
}

// Runs on one base answer as each does by itself, and hold what is not their own once.
func TestBesideSharesTheBase(t *testing.T) {
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		runs := []*Finished{
			finished(t, b, OpenOptions{}, func(c *Config) { c.Seed = 1 }),
			finished(t, b, OpenOptions{}, func(c *Config) { c.Seed = 2 }),
			finished(t, b, OpenOptions{}, func(c *Config) { c.Method, c.Scope = "vanilla", "all-dense" }),
			finished(t, b, OpenOptions{}, func(c *Config) { c.Pooling = "mean" }),
			finished(t, b, OpenOptions{}, func(c *Config) { c.Method = "bitfit" }),
			finished(t, b, OpenOptions{}, func(c *Config) { c.Method = "full" }),
		}
		var beside []*Predictor
		var with *Predictor
		for _, f := range runs {
			p, err := f.Beside(b, with)
			if err != nil {
				t.Fatal(err)
			}
			defer p.Close()
			beside, with = append(beside, p), p
		}
		if !beside[0].SharesGraphs(beside[1]) {
			t.Error("two adapters of one form have graphs of their own")
		}
		for i, a := range beside {
			for j, c := range beside[:i] {
				if j+i > 1 && a.SharesGraphs(c) {
					t.Errorf("runs %d and %d differ in form and share graphs", i, j)
				}
			}
		}
		const kernel, bias = "bert.encoder.layer.0.output.dense.weight", "bert.encoder.layer.0.output.dense.bias"
		first := tensorsByName(beside[0])
		for i, p := range beside[1:] {
			own := tensorsByName(p)
			whole, biases := runs[i+1].Run.Method == "full", runs[i+1].Run.Method == "bitfit"
			if (own[kernel] == first[kernel]) == whole {
				t.Errorf("run %d: its kernel is the base's: %v", i+1, !whole)
			}
			if (own[bias] == first[bias]) == (whole || biases) {
				t.Errorf("run %d: its bias is the base's: %v", i+1, own[bias] == first[bias])
			}
			if own["classifier.weight"] == first["classifier.weight"] {
				t.Errorf("run %d has another run's head", i+1)
			}
		}
		var all [][]float64
		for i, f := range runs {
			merged, err := f.Open(b)
			if err != nil {
				t.Fatal(err)
			}
			want, got := scores(t, merged), scores(t, beside[i])
			merged.Close()
			for j := range want {
				if math.Abs(got[j]-want[j]) > 1e-5 {
					t.Errorf("run %d (%s), pair %d: %v beside, %v merged", i, f.Run.Method, j, got[j], want[j])
				}
			}
			if slices.ContainsFunc(all, func(other []float64) bool { return math.Abs(other[0]-want[0]) < 1e-4 }) {
				t.Errorf("run %d answers as another does: %v", i, want)
			}
			all = append(all, want)
		}
	})
}

// What cannot be shared is refused.
func TestBesideErrors(t *testing.T) {
	b := testbackend.All(t)[0]
	f := finished(t, b, OpenOptions{}, func(*Config) {})
	first, err := f.Beside(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	merged, err := f.Open(b)
	if err != nil {
		t.Fatal(err)
	}
	defer merged.Close()
	if _, err := f.Beside(b, merged); err == nil {
		t.Error("shares a model that has an adapter merged in")
	}

	other := filepath.Join(t.TempDir(), "other")
	if err := writeModel(other, map[string]any{"layer_norm_eps": 1e-6}); err != nil {
		t.Fatal(err)
	}
	g := finished(t, b, OpenOptions{}, func(c *Config) { c.Model = other })
	if _, err := g.Beside(b, first); !errors.Is(err, ErrOtherBase) {
		t.Errorf("another model: %v", err)
	}
	f.Run.Precision = "bf16"
	if _, err := f.Beside(b, first); !errors.Is(err, ErrConfig) {
		t.Errorf("another precision: %v", err)
	}
}

// Graphs that two predictors share live until both are closed.
func TestSharedGraphsOutliveOne(t *testing.T) {
	b := testbackend.All(t)[0]
	f := finished(t, b, OpenOptions{}, func(*Config) {})
	first, err := f.Beside(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	second, err := f.Beside(b, first)
	if err != nil {
		t.Fatal(err)
	}
	want := scores(t, first)
	first.Close()
	if got := scores(t, second); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	second.Close()
	third, err := f.Beside(b, second) // whose graphs are gone: it has its own
	if err != nil {
		t.Fatal(err)
	}
	defer third.Close()
	if got := scores(t, third); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// Laid computes a batch in the layout it is given, and answers as Logits does.
func TestLaid(t *testing.T) {
	b := testbackend.All(t)[0]
	f := finished(t, b, OpenOptions{}, func(*Config) {})
	p, err := f.Open(b)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	rows := make([]data.Encoded, len(threePairs))
	for i, x := range threePairs {
		if rows[i], _, err = data.EncodePair(p.Tokenizer, x.Text, x.Pair, true, 0); err != nil {
			t.Fatal(err)
		}
	}
	packing := data.Packing{Length: 64, Examples: 5}
	spots := []data.Spot{{Row: 0}, {Row: 1}, {Row: 0, Start: len(rows[0].IDs)}}
	got, err := p.Laid(0, packing.Lay(rows, spots, 2, p.Config().PadTokenID), len(rows))
	if err != nil {
		t.Fatal(err)
	}
	want, err := p.Logits(t.Context(), rows, Layout{Batch: 1, Padding: data.PadBucket, MaxLength: 48}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := range want {
		if math.Abs(float64(got[i][0]-want[i][0])) > 1e-5 {
			t.Errorf("example %d: %v, want %v", i, got[i], want[i])
		}
	}
	poison(loop.NamedTensor{Value: p.weights[len(p.weights)-1].Value})
	if _, err := p.Laid(0, packing.Lay(rows, spots, 2, 0), len(rows)); err == nil || err.Error() != "example 1: logit NaN: the weights have diverged" {
		t.Errorf("weights that are no numbers: %v", err)
	}
}
