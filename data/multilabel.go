package data

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/deeplora/deeplora/internal/table"
)

// defaultSeparator stands between the classes of a cell.
const defaultSeparator = "|"

// Separator stands between the classes of a cell, "|" unless WithSeparator says otherwise.
func (t Task) Separator() string { return cmp.Or(t.files.separator, defaultSeparator) }

// severalNames are the classes that a cell names: a list's items, or those of a text between separators. A separator
// alone is none: an empty cell says that nobody has labelled the row.
func (t Task) severalNames(c table.Cell) ([]string, error) {
	var names []string
	text := strings.TrimSpace(c.Text)
	switch {
	case c.Kind == table.Other:
		items, err := table.List(c)
		if err != nil {
			return nil, fmt.Errorf("labels %v: %w; want a list of class names", c, err)
		}
		for _, item := range items {
			names = append(names, strings.TrimSpace(item.Text))
		}
	case c.Kind != table.String:
		return []string{text}, nil
	case strings.HasPrefix(text, "[") && strings.HasSuffix(text, "]"):
		return nil, fmt.Errorf("labels %v look like a list; in a table write a%sb, or keep lists in JSONL or parquet", c, t.Separator())
	case text == t.Separator():
		return nil, nil
	default:
		names = strings.Split(text, t.Separator())
		for i := range names {
			names[i] = strings.TrimSpace(names[i])
		}
	}
	for i, name := range names {
		if name == "" {
			return nil, fmt.Errorf("labels %v: name %d is empty", c, i+1)
		}
	}
	return names, nil
}

// setClasses sets the classes of an example by their names, of which none may stand twice.
func (t Task) setClasses(e *Example, names []string) error {
	for _, name := range names {
		id, err := t.ownLabel(name)
		if err != nil {
			return err
		}
		if slices.Contains(e.Classes, int(id)) {
			return fmt.Errorf("label %.60q stands twice among %.60q; once is enough", name, names)
		}
		e.Classes = append(e.Classes, int(id))
	}
	return nil
}

// classesOf are the ids of the classes that an example has: one, or of a multilabel task any number. None where its label
// is not known.
func (t Task) classesOf(e Example) []int {
	switch {
	case math.IsNaN(e.Label):
		return nil
	case t.Multi:
		return e.Classes
	default:
		return []int{int(e.Label)}
	}
}

// ClassCounts are how many examples have each class of the task, by id; of a regression there are none.
func (s *Split) ClassCounts() []int {
	counts := make([]int, len(s.Task.Labels))
	if s.Task.Regression() {
		return counts
	}
	for _, e := range s.Examples {
		for _, id := range s.Task.classesOf(e) {
			counts[id]++
		}
	}
	return counts
}

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
