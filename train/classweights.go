package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/jsonfile"
	"github.com/deeplora/deeplora/internal/nearest"
)

// Words of Config.ClassWeights.
const (
	weightsNone     = "none"
	weightsBalanced = "balanced"
)

// classWeight is what one class counts in the loss.
type classWeight struct {
	name   string
	weight float64
}

// parseClassWeights reads a setting that is no word: a=2,b=0.5 or, for names with a comma or an equals sign, a JSON
// object of the same.
func parseClassWeights(text string) (list []classWeight, err error) {
	if strings.HasPrefix(text, "{") {
		fields, err := jsonfile.Fields([]byte(text))
		if err != nil {
			return nil, err
		}
		for _, f := range fields {
			list = append(list, classWeight{name: f.Name})
			if err := list[len(list)-1].set(string(f.Value)); err != nil {
				return nil, err
			}
		}
		return list, nil
	}
	for _, item := range strings.Split(text, ",") {
		name, weight, ok := strings.Cut(strings.TrimSpace(item), "=")
		if !ok {
			known := []string{weightsNone, weightsBalanced}
			return nil, fmt.Errorf("%q is unknown; nearest: %s (known: %s, or a weight a class as in bad=2,good=0.5)", item, nearest.Of(item, known), strings.Join(known, " "))
		}
		if slices.ContainsFunc(list, func(w classWeight) bool { return w.name == name }) {
			return nil, fmt.Errorf("class %q has two weights; want one", name)
		}
		list = append(list, classWeight{name: name})
		if err := list[len(list)-1].set(weight); err != nil {
			return nil, err
		}
	}
	return list, nil
}

func (w *classWeight) set(text string) error {
	weight, err := strconv.ParseFloat(text, 64)
	// Weights are float32 in a batch; one of 0 would make a batch of that class alone 0/0.
	if err != nil || !(float32(weight) > 0) || math.IsInf(float64(float32(weight)), 0) {
		return fmt.Errorf("class %q has the weight %q; want a number above 0", w.name, text)
	}
	w.weight = weight
	return nil
}

// formatClassWeights is what parseClassWeights reads.
func formatClassWeights(list []classWeight) string {
	object := false
	items, fields := make([]string, len(list)), make([]string, len(list))
	for i, w := range list {
		object = object || strings.ContainsAny(w.name, ",=") || strings.HasPrefix(w.name, "{") || strings.TrimSpace(w.name) != w.name
		number := strconv.FormatFloat(w.weight, 'g', -1, 64)
		name, _ := json.Marshal(w.name) // of a string: no error
		items[i], fields[i] = w.name+"="+number, string(name)+": "+number
	}
	if object {
		return "{" + strings.Join(fields, ", ") + "}"
	}
	return strings.Join(items, ",")
}

func checkClassWeights(value any) error {
	text := value.(string)
	if text == weightsNone || text == weightsBalanced {
		return nil
	}
	_, err := parseClassWeights(text)
	return err
}

// resolveClassWeights replaces balanced, or the weights of some classes, by a weight for each class, and returns them in
// the order of the classes: nil where classes count alike. labels are the training examples'.
func (c *Config) resolveClassWeights(task data.Task, labels []float64) ([]float64, error) {
	if c.ClassWeights == weightsNone {
		return nil, nil
	}
	if task.Regression() || task.Multi {
		return nil, fmt.Errorf("class-weights: examples of %s have not one class each; want none", task.Name)
	}
	var weights []float64
	if c.ClassWeights == weightsBalanced {
		weights = balancedWeights(labels, len(task.Labels))
	} else {
		var err error
		if weights, err = givenWeights(c.ClassWeights, task.Labels); err != nil {
			return nil, prefixed("class-weights", err)
		}
	}
	list := make([]classWeight, len(weights))
	for i, w := range weights {
		list[i] = classWeight{task.Labels[i], w}
	}
	c.ClassWeights = formatClassWeights(list)
	return weights, nil
}

// balancedWeights are n/(k·n_c), with n_c of n examples in a class and k classes that occur, as scikit-learn's: each class
// has the same part in the loss. A class that does not occur has 1.
func balancedWeights(labels []float64, classes int) []float64 {
	count, occurring, n := make([]int, classes), 0, 0
	for _, label := range labels {
		if math.IsNaN(label) {
			continue
		}
		n++
		if count[int(label)]++; count[int(label)] == 1 {
			occurring++
		}
	}
	weights := make([]float64, classes)
	for i, of := range count {
		if weights[i] = 1; of > 0 {
			weights[i] = float64(n) / float64(occurring*of)
		}
	}
	return weights
}

// givenWeights are those of a text, 1 for classes that it does not name.
func givenWeights(text string, labels []string) ([]float64, error) {
	list, err := parseClassWeights(text)
	if err != nil {
		return nil, err
	}
	weights := slices.Repeat([]float64{1}, len(labels))
	var faults []error
	for _, w := range list {
		i := slices.Index(labels, w.name)
		if i < 0 {
			faults = append(faults, fmt.Errorf("there is no class %q; nearest: %s", w.name, nearest.Of(w.name, labels)))
			continue
		}
		weights[i] = w.weight
	}
	return weights, errors.Join(faults...)
}

// chooseClassWeights takes over what a run chose where given says the same of it.
func (c *Config) chooseClassWeights(chosen string) {
	if c.ClassWeights == weightsBalanced && chosen != weightsNone {
		c.ClassWeights = chosen
	}
	have, err := parseClassWeights(chosen)
	given, fault := parseClassWeights(c.ClassWeights)
	if err != nil || fault != nil {
		return
	}
	for _, h := range have {
		i := slices.IndexFunc(given, func(g classWeight) bool { return g.name == h.name })
		if i < 0 && h.weight != 1 || i >= 0 && given[i].weight != h.weight {
			return
		}
	}
	c.ClassWeights = chosen
}

// weigh makes the examples of a batch count by their classes: the loss of a step is then Σ weight·loss / Σ weight over all
// its batches, as PyTorch's CrossEntropyLoss(weight) has it.
func (j *job) weigh(b *data.Batch) {
	if j.inputs.classWeights == nil {
		return
	}
	for i, w := range b.Weights {
		if w > 0 {
			b.Weights[i] = float32(j.inputs.classWeights[int(b.Labels[i])])
		}
	}
}
