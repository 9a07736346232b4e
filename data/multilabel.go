package data

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// checkClasses is the error for an example whose classes are not those of a multilabel task.
func (t Task) checkClasses(e Example) error {
	switch {
	case !t.Multi:
		return fmt.Errorf("has Classes; an example of %s has one class, its Label (set Task.Multi for several)", t.Name)
	case math.IsNaN(e.Label) && len(e.Classes) > 0:
		return fmt.Errorf("has Classes, and a Label of NaN, which says that its labels are not known; want 0")
	case !math.IsNaN(e.Label) && e.Label != 0:
		return fmt.Errorf("has the Label %v; of a multilabel task want 0, and the classes in Classes", e.Label)
	}
	for i, c := range e.Classes {
		if c < 0 || c >= len(t.Labels) {
			return fmt.Errorf("class %d is not known; want 0 to %d (%s)", c, len(t.Labels)-1, strings.Join(t.Labels, ", "))
		}
		if slices.Contains(e.Classes[:i], c) {
			return fmt.Errorf("has class %d (%s) twice", c, t.Labels[c])
		}
	}
	return nil
}

// classSets are the labels of a multilabel split: [examples, classes], NaN where an example's are not known.
func (s *Split) classSets() []float64 {
	k := s.Task.NumLabels()
	sets := make([]float64, len(s.Examples)*k)
	for i, e := range s.Examples {
		row := sets[i*k : (i+1)*k]
		if math.IsNaN(e.Label) {
			for j := range row {
				row[j] = math.NaN()
			}
		}
		for _, c := range e.Classes {
			row[c] = 1
		}
	}
	return sets
}

// classNames are an example's classes as NewSplit's hash has them.
func (t Task) classNames(e Example) string {
	if len(e.Classes) == 0 {
		return "0:,"
	}
	var names strings.Builder
	for _, c := range slices.Sorted(slices.Values(e.Classes)) {
		fmt.Fprintf(&names, "%d:%s,", len(t.Labels[c]), t.Labels[c])
	}
	return names.String()
}

// widen makes room for the labels of a multilabel task: as many an example as there are for each of rows.
func (b *Batch) widen(labels []float64, rows []Encoded) {
	if len(labels) > len(rows) {
		b.Labels = make([]float32, len(b.Weights)*(len(labels)/len(rows)))
	}
}

// labelShape is [examples], or of a multilabel task [examples, classes].
func (b Batch) labelShape() []int {
	if n := len(b.Weights); len(b.Labels) > n {
		return []int{n, len(b.Labels) / n}
	}
	return []int{len(b.Labels)}
}
