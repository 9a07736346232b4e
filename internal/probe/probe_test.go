package probe

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"gonum.org/v1/gonum/mat"
)

// golden is what scikit-learn fits (scripts/goldens/probe.py).
type golden struct {
	X, Y, Sets                  [][]float64
	Labels                      []int
	Weights, Penalties          []float64
	Ridge                       [][][]float64 // by penalty: fitted values [examples][outputs]
	LeftOut                     []float64     `json:"left_out"`
	Logistic, Weighted, Sigmoid [][][]float64 // by penalty: probabilities; Sigmoid [outputs][examples]
}

func readGolden(t *testing.T) (g golden) {
	t.Helper()
	text, err := os.ReadFile("testdata/probe.json")
	if err == nil {
		err = json.Unmarshal(text, &g)
	}
	if err != nil {
		t.Fatal(err)
	}
	return g
}

func matrix(rows [][]float64) *mat.Dense {
	m := mat.NewDense(len(rows), len(rows[0]), nil)
	for i, r := range rows {
		m.SetRow(i, r)
	}
	return m
}

// layer is what a fitted layer gives for each row.
func (m *Model) layer(x *mat.Dense) (rows [][]float64) {
	n, _ := x.Dims()
	for i := range n {
		rows = append(rows, outputs(x.RawRowView(i), m.Weight, m.Bias))
	}
	return rows
}

func near(t *testing.T, what string, got, want [][]float64, tolerance float64) {
	t.Helper()
	for i := range want {
		for j := range want[i] {
			if math.Abs(got[i][j]-want[i][j]) > tolerance {
				t.Fatalf("%s: row %d: %v, want %v", what, i, got[i], want[i])
			}
		}
	}
}

func TestRidgeIsScikitLearns(t *testing.T) {
	g := readGolden(t)
	x, y := matrix(g.X), matrix(g.Y)
	n, best := len(g.X), math.Inf(1)
	for i, p := range g.Penalties {
		old := Penalties
		Penalties = []float64{p}
		m, err := Ridge(x, y)
		Penalties = old
		if err != nil {
			t.Fatal(err)
		}
		near(t, "ridge", m.layer(x), g.Ridge[i], 1e-9)

		z, _ := standardise(x)
		var svd mat.SVD
		svd.Factorize(z, mat.SVDThin)
		centred := mat.DenseCopyOf(y)
		for j := range 2 {
			mean := mat.Sum(y.ColView(j)) / float64(n)
			for i := range n {
				centred.Set(i, j, y.At(i, j)-mean)
			}
		}
		if got := leftOut(&svd, centred, p*float64(n)); math.Abs(got-g.LeftOut[i]) > 1e-9*g.LeftOut[i] {
			t.Errorf("penalty %g: error of examples left out %g, want %g", p, got, g.LeftOut[i])
		}
		best = min(best, g.LeftOut[i])
	}
	m, err := Ridge(x, y)
	if err != nil || m.Penalty > 0.1 { // the labels are nearly linear
		t.Errorf("penalty %v was chosen, error %v", m, err)
	}
}

func TestLogisticIsScikitLearns(t *testing.T) {
	g := readGolden(t)
	x := matrix(g.X)
	z, scale := standardise(x)
	all := spread(len(g.X), len(g.X))
	for i, p := range g.Penalties {
		for name, c := range map[string]struct {
			targets Targets
			want    [][]float64
		}{
			"classes":  {Targets{Classes: g.Labels, Outputs: 3}, g.Logistic[i]},
			"weighted": {Targets{Classes: g.Labels, Outputs: 3, Weights: g.Weights}, g.Weighted[i]},
		} {
			w, b, err := c.targets.fit(z, all, p)
			if err != nil {
				t.Fatal(err)
			}
			near(t, name, probabilities(scale.undo(w, b, p).layer(x)), c.want, 1e-4)
		}
		w, b, err := (Targets{Sets: g.Sets, Outputs: 2}).fit(z, all, p)
		if err != nil {
			t.Fatal(err)
		}
		rows := scale.undo(w, b, p).layer(x)
		for j := range 2 {
			for k, row := range rows {
				if got := 1 / (1 + math.Exp(-row[j])); math.Abs(got-g.Sigmoid[i][j][k]) > 1e-4 {
					t.Fatalf("sets: output %d of row %d: %g, want %g", j, k, got, g.Sigmoid[i][j][k])
				}
			}
		}
	}
}

func probabilities(rows [][]float64) [][]float64 {
	for _, row := range rows {
		total := 0.0
		for j, y := range row {
			row[j] = math.Exp(y)
			total += row[j]
		}
		for j := range row {
			row[j] /= total
		}
	}
	return rows
}

// A strong penalty is chosen where features say nothing of the classes, a weak one where they say all.
func TestPenaltyFollowsTheExamples(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	noise, signal := mat.NewDense(60, 20, nil), mat.NewDense(60, 20, nil)
	classes := make([]int, 60)
	for i := range classes {
		classes[i] = i % 2
		for j := range 20 {
			noise.Set(i, j, random.NormFloat64())
			signal.Set(i, j, random.NormFloat64()*0.1+float64(classes[i]))
		}
	}
	of := func(x *mat.Dense) float64 {
		m, err := Logistic(x, Targets{Classes: classes, Outputs: 2})
		if err != nil {
			t.Fatal(err)
		}
		return m.Penalty
	}
	if weak, strong := of(signal), of(noise); weak > 1e-3 || strong < 1 {
		t.Errorf("penalties %g for features that say all and %g for such that say nothing", weak, strong)
	}
}

func TestFewExamples(t *testing.T) {
	one := mat.NewDense(1, 2, []float64{1, 2})
	if _, err := Ridge(one, mat.NewDense(1, 1, nil)); err == nil {
		t.Error("ridge fits one example")
	}
	if _, err := Logistic(one, Targets{Classes: []int{0}, Outputs: 2}); err == nil {
		t.Error("logistic regression fits one example")
	}
	m, err := Logistic(mat.NewDense(2, 1, []float64{-1, 1}), Targets{Classes: []int{0, 1}, Outputs: 2})
	if err != nil {
		t.Fatal(err)
	}
	if rows := m.layer(mat.NewDense(2, 1, []float64{-1, 1})); !(rows[0][0] > rows[0][1] && rows[1][1] > rows[1][0]) || slices.ContainsFunc(m.Bias, math.IsNaN) {
		t.Errorf("of two examples: %v", rows)
	}
}
