package train

import (
	"math"
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

// headRate is the learning rate of a head by the rule of rates: it is small, begins at random, and does not know what
// adapter is under it.
const headRate = 1e-2

// probeRate is that of a head which starts where it fits the examples: a higher one would take it away from there before the
// adapter has moved.
const probeRate = 1e-3

// fullRateSteps is the number of steps up to which a rule's rate stands; see shareOfSteps.
const fullRateSteps = 400

// shareOfSteps lowers a rule's rate for long runs, as 1/√steps: the noise of a rate adds up over steps, and few steps have
// not the time to go where a lower one would lead (method.md 2.7).
func shareOfSteps(steps int) float64 {
	return math.Sqrt(min(1, fullRateSteps/float64(steps)))
}

// fullRateEpochs is how many passes a rule's rate is for: as many as few-shot runs make.
const fullRateEpochs = 200

// shareOfEpochs is the multiple of a rule's rate for so many passes: with fewer, each example pulls less often, and steps may
// be larger, up to most.
func shareOfEpochs(epochs, most float64) float64 {
	return max(1, min(most, math.Cbrt(fullRateEpochs/epochs)))
}

// rateOf is the multiple of the learning rate that a tensor of the model is trained at: the head has a rate of its own.
func (c *Config) rateOf(name string, m *model.Config) float64 {
	if c.Method == methodProbe {
		return 0
	}
	if c.HeadLR > 0 && (slices.Contains(m.HeadNames(), name) || slices.Contains(m.PoolerNames(), name)) {
		return c.HeadLR / c.LR
	}
	return 1
}
