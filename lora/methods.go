package lora

import (
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/deeplora/deeplora/internal/nearest"
)

// Method is a row of the table of methods.
type Method struct {
	Name string // as users type it: lower-case letters and digits, parts joined by hyphens
	// New makes the adapter, or returns every fault of the settings, joined by errors.Join.
	New func(s Settings) (Adapter, error)
	// LearningRate is the peak learning rate under AdamW that the method's authors use, whatever the rank.
	LearningRate func(s Settings) float64
	// Rule gives what follows from rank and depth by the rule of rates, so that the first updates of ΔK keep their size
	// whatever these are (method.md 2.7). nil: LearningRate and Defaults.
	Rule func(s Settings) Ruled
	// Parameters is how many numbers the factors of one kernel [in, out] hold, those of rate 0 included.
	Parameters func(s Settings, in, out int) int
	// InitialNorm bounds the spectral norm of a kernel's ΔK at the start.
	InitialNorm func(s Settings, in, out int) (low, high float64)

	FirstGradient bool // its factors call Site.Gradient, whatever the settings (TakesGradient)
	starts        bool // Init names one of Starts, which may call it too
}

// The formulas are those of method.md 2.1 (InitialNorm), 2.3 (Parameters) and 2.4 (LearningRate).
var (
	methods = []Method{
		{Name: "vanilla", New: newVanilla, LearningRate: vanillaRate, Rule: vanillaRule, Parameters: vanillaParameters, InitialNorm: vanillaNorm, starts: true},
		{Name: "deep-wide", New: newWide, LearningRate: constantRate(1e-4), Parameters: deepParameters(wideWidth), InitialNorm: deepNorm},
		{Name: "deep-narrow", New: newNarrow, LearningRate: constantRate(1e-4), Parameters: deepParameters(narrowWidth), InitialNorm: deepNorm},
		// The rate is higher than deep-wide's since Adam moves ε·I more slowly than a dense random factor of the same scale.
		{Name: "deep-compressed", New: newCompressed, LearningRate: constantRate(1e-2), Rule: compressedRule, Parameters: compressedParameters, InitialNorm: compressedNorm, FirstGradient: true},
		{Name: "rslora", New: newRSLoRA, LearningRate: constantRate(3e-4), Rule: rankRule(3e-4, 1), Parameters: vanillaParameters, InitialNorm: zeroNorm, starts: true},
		{Name: "lora-plus", New: newLoRAPlus, LearningRate: constantRate(1e-4), Rule: rankRule(1e-4, 0.5), Parameters: vanillaParameters, InitialNorm: zeroNorm},
		{Name: "lora-sb", New: newLoRASB, LearningRate: constantRate(1e-3), Rule: rankRule(1e-3, 1), Parameters: sbParameters, InitialNorm: anyNorm, FirstGradient: true},
	}
	methodsLock sync.RWMutex
)

// constantRate is a default learning rate that does not depend on the settings.
func constantRate(rate float64) func(Settings) float64 {
	return func(Settings) float64 { return rate }
}

// Ruled is what a rule of rates says.
type Ruled struct {
	Rate      float64 // peak learning rate under AdamW, for few steps with many passes over few examples
	FewPasses float64 // largest multiple of Rate in runs with few passes over their examples; 0: 1
	InitScale float64 // ε; 0: Defaults'
	Gamma     float64 // γ; 0: Defaults'
}

// rankRule is the rate at rank 8, falling as a power of the rank. An α of one's own is how PEFT's users say
// how an update follows the rank; the rate stays then.
func rankRule(rate, power float64) func(Settings) Ruled {
	return func(s Settings) Ruled {
		if s.Alpha != 0 && s.Alpha != float64(s.Rank) {
			return Ruled{Rate: rate, FewPasses: loraFewPasses}
		}
		return Ruled{Rate: rate * math.Pow(ruleRank/float64(s.Rank), power), FewPasses: loraFewPasses}
	}
}

// loraFewPasses is LoRA's, whose rate suits many passes and few alike.
const loraFewPasses = 1.5

// ruleRank is the rank at which a rule gives the rate that it begins with.
const ruleRank = 8

// Methods returns the table of methods: those of this package, then those registered, in that order.
func Methods() []Method {
	methodsLock.RLock()
	defer methodsLock.RUnlock()
	return slices.Clone(methods)
}

var validName = regexp.MustCompile(`^[a-z][a-z0-9]*(-[a-z0-9]+)*$`)

// Register adds a method to the table, for the whole process. Call it before the method's name is read from a flag
// or a file; loratest.Run holds the method to what callers rely on. It is an error if the row is incomplete or the
// name is invalid or taken.
func Register(m Method) error {
	if !validName.MatchString(m.Name) {
		return fmt.Errorf("register method %q: want a name of lower-case letters and digits, parts joined by hyphens, as in deep-narrow", m.Name)
	}
	var missing []string
	for _, field := range []struct {
		name string
		set  bool
	}{{"New", m.New != nil}, {"LearningRate", m.LearningRate != nil}, {"Parameters", m.Parameters != nil}, {"InitialNorm", m.InitialNorm != nil}} {
		if !field.set {
			missing = append(missing, field.name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("register method %s: %s not set; every function of the row is needed", m.Name, strings.Join(missing, ", "))
	}
	methodsLock.Lock()
	defer methodsLock.Unlock()
	if slices.ContainsFunc(methods, func(other Method) bool { return other.Name == m.Name }) {
		return fmt.Errorf("register method %s: the name is taken; choose another", m.Name)
	}
	methods = append(methods, m)
	return nil
}

// LookupMethod returns the method of that name. The error for an unknown one names the nearest.
func LookupMethod(name string) (Method, error) {
	var names []string
	for _, m := range Methods() {
		if m.Name == name {
			return m, nil
		}
		names = append(names, m.Name)
	}
	return Method{}, fmt.Errorf("unknown method %q; nearest: %s (known: %s)", name, nearest.Of(name, names), strings.Join(names, " "))
}

// New returns the adapter of a method. The error has a line for every fault of the settings, each with the method's
// name.
func New(method string, s Settings) (Adapter, error) {
	m, err := LookupMethod(method)
	if err != nil {
		return nil, err
	}
	adapter, err := m.New(s)
	if err == nil {
		return adapter, nil
	}
	faults := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		faults = slices.Clone(joined.Unwrap())
	}
	for i, fault := range faults {
		faults[i] = fmt.Errorf("method %s: %w", m.Name, fault)
	}
	return nil, errors.Join(faults...)
}
