package completion

import "math"

// parameter is one trained factor with its gradient, rows of cols numbers in rows of stride.
type parameter struct {
	name       string
	rows, cols int
	stride     int
	turned     bool    // the factor of the formula is the transpose
	rate       float64 // multiple of the step: γ for outer factors; 0 keeps every bit
	value      []float64
	gradient   []float64 // of ½‖M∘(f - Y)‖²
	m, v       []float64 // Adam's moments
}

func newParameter(name string, rows, cols, stride int, rate float64) *parameter {
	return &parameter{
		name: name, rows: rows, cols: cols, stride: stride, rate: rate,
		value: make([]float64, rows*stride), gradient: make([]float64, rows*stride),
	}
}

// count is the number of trained numbers.
func (p *parameter) count() int { return p.rows * p.cols }

// optimizer steps along the gradient of ½‖M∘(f - Y)‖², the sum over observed entries.
type optimizer struct {
	adam  bool
	step  float64 // of that sum
	decay float64 // GD: step of the mean times λ. Adam: λ
	done  int     // steps taken
}

// Adam's constants are those of the adapters (method.md 2.4).
const (
	beta1, beta2 = 0.9, 0.999
	adamEpsilon  = 1e-6
)

// apply moves every parameter by one step.
func (o *optimizer) apply(all []*parameter) {
	o.done++
	for _, p := range all {
		switch {
		case p.rate == 0:
		case o.adam:
			o.moments(p)
		default:
			o.descend(p)
		}
	}
}

// descend is W ← (1 - qηλ)·W - qη·∇W for a rate q.
func (o *optimizer) descend(p *parameter) {
	keep, step := 1-p.rate*o.decay, p.rate*o.step
	parts(p.rows, func(from, to int) {
		w, g := p.value[from*p.stride:to*p.stride], p.gradient[from*p.stride:to*p.stride]
		for i, x := range g {
			w[i] = keep*w[i] - step*x
		}
	})
}

// moments is AdamW's step (method.md 2.4).
func (o *optimizer) moments(p *parameter) {
	if p.m == nil {
		p.m, p.v = make([]float64, len(p.value)), make([]float64, len(p.value))
	}
	correct1, correct2 := 1-math.Pow(beta1, float64(o.done)), 1-math.Pow(beta2, float64(o.done))
	step := p.rate * o.step
	parts(p.rows, func(from, to int) {
		for i := from * p.stride; i < to*p.stride; i++ {
			g := p.gradient[i]
			p.m[i] = beta1*p.m[i] + (1-beta1)*g
			p.v[i] = beta2*p.v[i] + (1-beta2)*g*g
			p.value[i] -= step * ((p.m[i]/correct1)/(math.Sqrt(p.v[i]/correct2)+adamEpsilon) + o.decay*p.value[i])
		}
	})
}

// snapshot is what going back to an iteration takes.
type snapshot struct {
	done   int
	values [][]float64
}

func (s *snapshot) take(o *optimizer, all []*parameter) {
	s.done = o.done
	if s.values == nil {
		s.values = make([][]float64, 3*len(all))
	}
	for i, p := range all {
		for j, from := range [][]float64{p.value, p.m, p.v} {
			if p.rate != 0 {
				s.values[3*i+j] = append(s.values[3*i+j][:0], from...)
			}
		}
	}
}

func (s *snapshot) restore(o *optimizer, all []*parameter) {
	o.done = s.done
	for i, p := range all {
		for j, to := range [][]float64{p.value, p.m, p.v} {
			if p.rate == 0 {
				continue
			}
			if len(s.values[3*i+j]) == 0 {
				clear(to) // moments before the first step
				continue
			}
			copy(to, s.values[3*i+j])
		}
	}
}
