// Package probe fits the layer of outputs of a classifier to features that stay as they are: ridge regression in closed
// form, logistic regression by L-BFGS, as scikit-learn does. It knows features and labels, and neither encoders nor
// texts. How strongly weights are held down is chosen by the examples themselves.
package probe

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
	"gonum.org/v1/gonum/optimize"
)

// Model is a fitted layer: outputs = x·Weight + Bias.
type Model struct {
	Weight  *mat.Dense // [features, outputs]
	Bias    []float64  // [outputs]
	Penalty float64    // λ: of the mean loss of an example, λ/2·‖w‖² of the weights by standardised features
}

// Penalties are what is chosen from: by the error of each example left out (Ridge), or of parts left out (Logistic).
var Penalties = []float64{1e-4, 1e-3, 1e-2, 1e-1, 1, 10}

const (
	folds     = 5
	mostTried = 2000 // examples by which a penalty is chosen
)

// Targets are what examples should give: of a classification a class each, of several labels a set each.
type Targets struct {
	Classes []int       // 0 … Outputs-1, of a softmax over outputs
	Sets    [][]float64 // 0 or 1 of each output, of a sigmoid an output; nil for Classes
	Outputs int
	Weights []float64 // of each output in the loss; nil: 1
}

// Ridge fits y [examples, outputs] by least squares. x is [examples, features].
func Ridge(x, y *mat.Dense) (*Model, error) {
	n, _ := x.Dims()
	if n < 2 {
		return nil, fmt.Errorf("%d examples; want 2 or more", n)
	}
	z, scale := standardise(x)
	_, outputs := y.Dims()
	mean := make([]float64, outputs)
	centred := mat.DenseCopyOf(y)
	for j := range outputs {
		mean[j] = floats.Sum(mat.Col(nil, j, y)) / float64(n)
		for i := range n {
			centred.Set(i, j, y.At(i, j)-mean[j])
		}
	}
	var svd mat.SVD
	if !svd.Factorize(z, mat.SVDThin) {
		return nil, errors.New("features: the singular value decomposition does not converge")
	}
	best, chosen := math.Inf(1), Penalties[0]
	for _, p := range Penalties {
		if e := leftOut(&svd, centred, p*float64(n)); e < best {
			best, chosen = e, p
		}
	}
	return scale.undo(shrunk(&svd, centred, chosen*float64(n)), mean, chosen), nil
}

// shrunk are the weights V·diag(s/(s²+λ))·Uᵀ·y.
func shrunk(svd *mat.SVD, y *mat.Dense, penalty float64) *mat.Dense {
	var u, v, w mat.Dense
	svd.UTo(&u)
	svd.VTo(&v)
	w.Mul(u.T(), y)
	for i, s := range svd.Values(nil) {
		floats.Scale(s/(s*s+penalty), w.RawRowView(i))
	}
	var weights mat.Dense
	weights.Mul(&v, &w)
	return &weights
}

// leftOut is the sum of squared errors of each example as the others predict it, in closed form: the residual divided by
// 1 − h, with h the example's leverage, the mean's 1/n included (Allen 1974).
func leftOut(svd *mat.SVD, y *mat.Dense, penalty float64) (sum float64) {
	var u, fitted, a mat.Dense
	svd.UTo(&u)
	values := svd.Values(nil)
	a.Mul(u.T(), y)
	for i, s := range values {
		floats.Scale(s*s/(s*s+penalty), a.RawRowView(i))
	}
	fitted.Mul(&u, &a)
	n, outputs := y.Dims()
	for i := range n {
		h := 1 / float64(n)
		for j, s := range values {
			h += u.At(i, j) * u.At(i, j) * s * s / (s*s + penalty)
		}
		for j := range outputs {
			e := (y.At(i, j) - fitted.At(i, j)) / max(1-h, 1e-12)
			sum += e * e
		}
	}
	return sum
}

// Logistic fits classes or sets. x is [examples, features].
func Logistic(x *mat.Dense, t Targets) (*Model, error) {
	n, _ := x.Dims()
	if n < 2 {
		return nil, fmt.Errorf("%d examples; want 2 or more", n)
	}
	z, scale := standardise(x)
	best, chosen := math.Inf(1), Penalties[0]
	tried := spread(n, mostTried)
	for _, p := range Penalties {
		loss, err := t.crossValidated(z, tried, p)
		if err != nil {
			return nil, err
		}
		if loss < best {
			best, chosen = loss, p
		}
	}
	w, b, err := t.fit(z, spread(n, n), chosen)
	if err != nil {
		return nil, err
	}
	return scale.undo(w, b, chosen), nil
}

// spread are most of n indices, evenly.
func spread(n, most int) []int {
	most = min(n, most)
	index := make([]int, most)
	for i := range index {
		index[i] = i * n / most
	}
	return index
}

// crossValidated is the loss of examples that a fit to the others gives. Examples of a class go to different parts.
func (t Targets) crossValidated(z *mat.Dense, index []int, penalty float64) (sum float64, err error) {
	order := slices.Clone(index)
	if t.Classes != nil {
		slices.SortStableFunc(order, func(a, b int) int { return t.Classes[a] - t.Classes[b] })
	}
	parts := min(folds, len(order))
	for part := range parts {
		var in, out []int
		for i, row := range order {
			if i%parts == part {
				out = append(out, row)
			} else {
				in = append(in, row)
			}
		}
		w, b, err := t.fit(z, in, penalty)
		if err != nil {
			return 0, err
		}
		gradient := make([]float64, t.Outputs)
		for _, row := range out {
			sum += t.loss(row, outputs(z.RawRowView(row), w, b), gradient)
		}
	}
	return sum / float64(len(order)), nil
}

func outputs(x []float64, w *mat.Dense, b []float64) []float64 {
	y := slices.Clone(b)
	for i, v := range x {
		floats.AddScaled(y, v, w.RawRowView(i))
	}
	return y
}

// fit minimises the mean loss plus penalty/2·‖w‖². The bias is not held down.
func (t Targets) fit(z *mat.Dense, index []int, penalty float64) (w *mat.Dense, b []float64, err error) {
	_, features := z.Dims()
	size := features * t.Outputs
	rows := mat.NewDense(len(index), features, nil)
	for i, row := range index {
		rows.SetRow(i, z.RawRowView(row))
	}
	at := func(p []float64) (*mat.Dense, []float64) {
		return mat.NewDense(features, t.Outputs, p[:size]), p[size:]
	}
	scores, slopes := mat.NewDense(len(index), t.Outputs, nil), mat.NewDense(len(index), t.Outputs, nil)
	both := func(p, gradient []float64) float64 {
		w, b := at(p)
		scores.Mul(rows, w)
		sum := 0.0
		for i, row := range index {
			y := scores.RawRowView(i)
			floats.Add(y, b)
			sum += t.loss(row, y, slopes.RawRowView(i))
		}
		scale := 1 / float64(len(index))
		if gradient != nil {
			gw, gb := at(gradient)
			gw.Mul(rows.T(), slopes)
			clear(gb)
			for i := range index {
				floats.Add(gb, slopes.RawRowView(i))
			}
			floats.Scale(scale, gradient)
			floats.AddScaled(gradient[:size], penalty, p[:size])
		}
		return sum*scale + penalty/2*floats.Dot(p[:size], p[:size])
	}
	problem := optimize.Problem{
		Func: func(p []float64) float64 { return both(p, nil) },
		Grad: func(gradient, p []float64) { both(p, gradient) },
	}
	found, err := optimize.Minimize(problem, make([]float64, size+t.Outputs), &optimize.Settings{GradientThreshold: 1e-6, MajorIterations: 500}, &optimize.LBFGS{})
	if found == nil { // an error with a result is one of the line search at the optimum
		return nil, nil, fmt.Errorf("logistic regression: %w", err)
	}
	w, b = at(found.X)
	return w, b, nil
}

// loss is an example's loss at its outputs y, and its gradient by them.
func (t Targets) loss(row int, y, gradient []float64) (loss float64) {
	if t.Sets != nil {
		for j, z := range y {
			loss += t.weight(j) * (softplus(z) - t.Sets[row][j]*z)
			gradient[j] = t.weight(j) * (1/(1+math.Exp(-z)) - t.Sets[row][j])
		}
		return loss
	}
	class := t.Classes[row]
	total := floats.LogSumExp(y)
	for j, z := range y {
		gradient[j] = t.weight(class) * math.Exp(z-total)
	}
	gradient[class] -= t.weight(class)
	return t.weight(class) * (total - y[class])
}

func (t Targets) weight(output int) float64 {
	if t.Weights == nil {
		return 1
	}
	return t.Weights[output]
}

func softplus(z float64) float64 { return max(z, 0) + math.Log1p(math.Exp(-math.Abs(z))) }

// scaling is how features were standardised.
type scaling struct{ mean, deviation []float64 }

// standardise gives each feature mean 0 and deviation 1; one that never changes stays 0.
func standardise(x *mat.Dense) (*mat.Dense, scaling) {
	n, features := x.Dims()
	s := scaling{make([]float64, features), make([]float64, features)}
	z := mat.DenseCopyOf(x)
	for j := range features {
		column := mat.Col(nil, j, x)
		s.mean[j] = floats.Sum(column) / float64(n)
		floats.AddConst(-s.mean[j], column)
		s.deviation[j] = floats.Norm(column, 2) / math.Sqrt(float64(n))
		if s.deviation[j] < 1e-12*(1+math.Abs(s.mean[j])) {
			s.deviation[j] = 1
			clear(column)
		}
		floats.Scale(1/s.deviation[j], column)
		z.SetCol(j, column)
	}
	return z, s
}

// undo is the model by the features as they were.
func (s scaling) undo(w *mat.Dense, b []float64, penalty float64) *Model {
	m := &Model{Weight: mat.DenseCopyOf(w), Bias: slices.Clone(b), Penalty: penalty}
	for i := range s.mean {
		row := m.Weight.RawRowView(i)
		floats.Scale(1/s.deviation[i], row)
		floats.AddScaled(m.Bias, -s.mean[i], row)
	}
	return m
}
