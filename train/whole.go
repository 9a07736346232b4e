package train

import (
	"slices"
	"strings"

	"github.com/deeplora/deeplora/model"
)

// wholeMethod is a method that trains tensors of the model themselves and adds none: what adapters are compared
// with. The head is always among them.
type wholeMethod struct {
	Name   string
	rate   float64                // default learning rate
	trains func(name string) bool // which tensors, beside the head
}

// methodProbe is the head alone, in closed form: what adapters must beat. It takes no step.
const methodProbe = "probe"

var wholeMethods = []wholeMethod{
	{"full", 3e-4, func(string) bool { return true }},
	{"bitfit", 3e-3, // biases (Ben Zaken et al. 2022)
		func(name string) bool { return strings.HasSuffix(name, ".bias") }},
	{"head-only", 1e-2, func(string) bool { return false }},
	{methodProbe, 1e-2, func(string) bool { return false }},
}

// lookupWhole finds a method in the table.
func lookupWhole(name string) (wholeMethod, bool) {
	i := slices.IndexFunc(wholeMethods, func(m wholeMethod) bool { return m.Name == name })
	if i < 0 {
		return wholeMethod{}, false
	}
	return wholeMethods[i], true
}

// Whole reports whether a method trains the model's own tensors: there is no adapter apart from them then.
func (c *Config) Whole() bool {
	_, whole := lookupWhole(c.Method)
	return whole
}

// trained lists the tensors of the model that a run trains themselves, in the order of Specs: those of its method,
// and head and pooler where that is asked for.
func (c *Config) trained(m *model.Config) []string {
	method, whole := lookupWhole(c.Method)
	var names []string
	outputs, pooler := m.HeadNames(), m.PoolerNames()
	for _, spec := range m.Specs() {
		head := slices.Contains(outputs, spec.Name)
		if c.TrainPooler && slices.Contains(pooler, spec.Name) {
			names = append(names, spec.Name)
			continue
		}
		if head && (whole || c.TrainHead) || whole && !head && method.trains(spec.Name) {
			names = append(names, spec.Name)
		}
	}
	return names
}
