package train

import (
	"math"
	"slices"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/rng"
)

const (
	normal95       = 1.959963985 // quantile of the normal distribution: 95% lie within ± that
	bootstrapDraws = 1000
	bootstrapSeed  = 0
)

// bounds are a 95% interval of a metric: how far off it may be because the examples are no others. NaN where there is none.
type bounds struct {
	Low, High float64
	By        string // how it is found: Wilson, Fisher's z or bootstrap
}

// Intervals are the 95% intervals of the metrics of an evaluation, by name:
//
//   - Wilson's, of shares of examples: accuracy, subset_accuracy, and micro_f1 where each example has one class;
//   - Fisher's z, of pearson, and of spearman with the variance of Bonett and Wright (2000);
//   - of others the 2.5 and 97.5 percentiles of 1,000 resamples of the examples, always the same ones. Where each has one
//     class, as many of each class are drawn as there are: a mean over classes would rise where rare ones are lost.
//
// They are of the examples' choice alone: another training would differ as well. Metrics that are undefined have none, those
// of fewer than two examples, and those of which all resamples agree, as where every example is right.
func (e *Evaluation) Intervals() map[string]bounds {
	of := make(map[string]bounds, len(e.Metrics))
	m := e.measured
	var resampled map[string][]float64
	for name, v := range e.Metrics {
		switch {
		case math.IsNaN(v) || m.n < 2:
			of[name] = bounds{Low: math.NaN(), High: math.NaN()}
		case name == "accuracy", name == "subset_accuracy", name == "micro_f1" && !e.task.Multi:
			of[name] = wilson(m.exact, m.n)
		case name == "pearson":
			of[name] = fisher(v, m.n, 1)
		case name == "spearman":
			of[name] = fisher(v, m.n, 1+v*v/2)
		default:
			if resampled == nil {
				resampled = e.outcomes().resample(e.task.Metrics)
			}
			of[name] = percentiles(resampled[name])
		}
	}
	return of
}

// wilson is Wilson's 95% interval of a share (1927), which stays within 0 and 1.
func wilson(right, n int) bounds {
	p, z, count := float64(right)/float64(n), normal95, float64(n)
	center := p + z*z/(2*count)
	half := z * math.Sqrt(p*(1-p)/count+z*z/(4*count*count))
	scale := 1 + z*z/count
	return bounds{max(0, (center-half)/scale), min(1, (center+half)/scale), "Wilson"}
}

// fisher is Fisher's 95% interval of a correlation: its atanh is nearly normal with the given variance over n-3.
func fisher(r float64, n int, variance float64) bounds {
	if n <= 3 || r*r == 1 { // of which the formula says that nothing else can be
		return bounds{math.NaN(), math.NaN(), "Fisher's z"}
	}
	z, half := math.Atanh(r), normal95*math.Sqrt(variance/float64(n-3))
	return bounds{math.Tanh(z - half), math.Tanh(z + half), "Fisher's z"}
}

// percentiles are the 2.5 and 97.5 percentiles of a metric's resamples, but for those in which it is undefined.
func percentiles(values []float64) bounds {
	values = slices.DeleteFunc(values, math.IsNaN)
	if len(values) == 0 {
		return bounds{math.NaN(), math.NaN(), "bootstrap"}
	}
	slices.Sort(values)
	at := func(share float64) float64 { return values[int(math.Round(share*float64(len(values)-1)))] }
	low, high := at(0.025), at(0.975)
	if low == high { // where all examples are right, resamples know nothing of those that would not be
		return bounds{math.NaN(), math.NaN(), "bootstrap"}
	}
	return bounds{low, high, "bootstrap"}
}

// outcomes are what was said of each example, so that metrics can be computed of any choice of them.
type outcomes struct {
	task             data.Task
	sets             []sets
	predicted, truth []float64 // of a regression
}

// sets are the classes that were said of an example, those that it has, and those of both.
type sets struct {
	said, is, right []int
	exact           bool
}

func outcomesOf(task data.Task, logits [][]float32, labels []float64, threshold float64) outcomes {
	o := outcomes{task: task}
	switch {
	case task.Regression():
		m := measured(task, logits, labels, threshold)
		o.predicted, o.truth = m.predicted, m.truth
	case task.Multi:
		k := task.NumLabels()
		for i, row := range logits {
			s := sets{exact: true}
			for class, logit := range row {
				said, is := sigmoid(logit) >= threshold, labels[i*k+class] == 1
				s.exact = s.exact && said == is
				if said {
					s.said = append(s.said, class)
				}
				if is {
					s.is = append(s.is, class)
				}
				if said && is {
					s.right = append(s.right, class)
				}
			}
			o.sets = append(o.sets, s)
		}
	default:
		for i, row := range logits {
			s := sets{said: []int{argmax(row)}, is: []int{int(labels[i])}}
			if s.exact = s.said[0] == s.is[0]; s.exact {
				s.right = s.is
			}
			o.sets = append(o.sets, s)
		}
	}
	return o
}

// groups are the places of examples that are drawn from by themselves: those of each class, or all.
func (o outcomes) groups() [][]int {
	var groups [][]int
	if o.task.Regression() || o.task.Multi {
		groups = make([][]int, 1)
	} else {
		groups = make([][]int, o.task.NumLabels())
	}
	for i := range max(len(o.sets), len(o.truth)) {
		at := 0
		if len(groups) > 1 {
			at = o.sets[i].is[0]
		}
		groups[at] = append(groups[at], i)
	}
	return groups
}

// resample computes metrics of examples drawn with replacement, as many as there are.
func (o outcomes) resample(names []string) map[string][]float64 {
	stream := rng.New(bootstrapSeed, "bootstrap", "examples")
	values := map[string][]float64{}
	groups := o.groups()
	var pick []int
	for range bootstrapDraws {
		pick = pick[:0]
		for _, group := range groups {
			for range group {
				pick = append(pick, group[stream.IntN(len(group))])
			}
		}
		m := o.measure(pick)
		for _, name := range names {
			if name != "pearson" && name != "spearman" { // which have a formula, and take longer
				values[name] = append(values[name], metrics[name](m))
			}
		}
	}
	return values
}

// measure counts the examples at these places.
func (o outcomes) measure(pick []int) *measurement {
	m := &measurement{n: len(pick)}
	if o.task.Regression() {
		m.predicted, m.truth = make([]float64, len(pick)), make([]float64, len(pick))
		for i, at := range pick {
			m.predicted[i], m.truth[i] = o.predicted[at], o.truth[at]
		}
		return m
	}
	m.counts = make([]tally, o.task.NumLabels())
	if !o.task.Multi {
		m.confusion = [][]int{} // metrics ask whether there is one
	}
	for _, at := range pick {
		s := &o.sets[at]
		for _, class := range s.said {
			m.counts[class].said++
		}
		for _, class := range s.is {
			m.counts[class].is++
		}
		for _, class := range s.right {
			m.counts[class].right++
		}
		if s.exact {
			m.exact++
		}
	}
	return m
}
