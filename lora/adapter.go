package lora

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/nearest"
	"github.com/deeplora/deeplora/internal/rng"
)

// Adapter is the whole of an adapter. It holds no state of any kernel: one Adapter serves all of them.
type Adapter interface {
	// Init lists what is trained for one kernel, and how it starts. It draws nothing and asks s for
	// nothing: a Factor's Value does. It is an error if the adapter does not fit the kernel's shape.
	Init(s Site) ([]Factor, error)
	// Delta returns the update that factors stand for. f holds their nodes in the order of Init.
	Delta(f []*graph.Node) Delta
}

// Site is one kernel K [In, Out], y = x·K, as a method may see it.
type Site struct {
	Name    string // of the kernel, for messages
	In, Out int
	// RNG is the kernel's own stream, named after it and the seed, so that the order in which kernels
	// are initialised does not matter.
	RNG *rng.Stream
	// Gradient returns ∂loss/∂K at ΔK = 0, [In, Out], float32 or float64. It is paid for only if
	// called, and called at most once. The tensor is the adapter's, which finalizes it once read.
	Gradient func() (*tensors.Tensor, error)
	// Weight returns K itself, for methods that start from it. It stays the caller's.
	Weight func() (*tensors.Tensor, error)
}

// Factor is one trained tensor of a kernel's adapter.
type Factor struct {
	Name  string // "left", "W3", …: the name in every file we write
	Shape []int
	Rate  float64                         // learning-rate multiple: γ for outer factors, 1 inside, 0 = frozen bit for bit
	Value func() (*tensors.Tensor, error) // the initial value, float32, drawn when called: counting and loading draw nothing
}

// Settings are a method's numbers. A method ignores what it does not have (vanilla the depth, deep-wide
// the rank). Defaults gives a start; the zero value of InitScale is a fault, that of Gamma a choice.
type Settings struct {
	Rank      int     `json:"rank"`       // r, the inner width
	Depth     int     `json:"depth"`      // L, how many W of the deep methods; at least 3
	InitScale float64 `json:"init_scale"` // ε, the spectral norm of each W of the deep methods at the start
	Gamma     float64 `json:"gamma"`      // γ, learning-rate multiple of deep-compressed's left and right; 0 freezes them
	Init      string  `json:"init"`       // of vanilla: InitReference (the default, also "") or InitPEFT
	Alpha     float64 `json:"alpha"`      // of vanilla with InitPEFT, which scales ΔK by Alpha/Rank; 0 stands for Rank
}

// How vanilla starts.
const (
	InitReference = "reference" // N(0, 1) on the output side, zero on the input side, no scaling: the paper's code
	InitPEFT      = "peft"      // Kaiming-uniform on the input side, zero on the output side, ΔK scaled by Alpha/Rank
)

// Method is a row of the table of adapters.
type Method struct {
	Name        string
	Description string // one line, no full stop
	Needs       string // what it asks of kernels and settings, one line
	Depth       int    // default number of W factors; vanilla's two are all it can have

	FirstGradient bool // its start is found from the kernels' first gradients

	rate       func(s Settings) float64                          // default learning rate
	build      func(s Settings) (Adapter, []error)               // the adapter, or every fault of the settings
	parameters func(s Settings, in, out int) int                 // of one kernel: method.md 2.3
	norm       func(s Settings, in, out int) (low, high float64) // bounds of ‖ΔK‖₂ at the start: method.md 2.1
}

var methods = []Method{
	{
		Name: "vanilla", Depth: 2, Description: "LoRA: ΔK = W2·W1", Needs: "rank up to the kernel's smaller side",
		rate: vanillaRate, build: newVanilla, parameters: vanillaParameters, norm: zeroNorm,
	},
	{
		Name: "deep-wide", Depth: 3, Description: "ΔK = WL···W1 as wide as the kernel's larger side", Needs: "depth 3 or more; memory for several kernels per kernel",
		rate: deepRate, build: newWide, parameters: deepParameters(wideWidth), norm: deepNorm,
	},
	{
		Name: "deep-narrow", Depth: 3, Description: "ΔK = WL···W1 of the width of the rank", Needs: "depth 3 or more; rank up to the kernel's smaller side",
		rate: deepRate, build: newNarrow, parameters: deepParameters(narrowWidth), norm: deepNorm,
	},
	{
		Name: "deep-compressed", Depth: 3, FirstGradient: true, Description: "ΔK = left·WL···W1·rightᵀ, deep-wide's learning directions from the first gradient", Needs: "depth 3 or more; an even rank up to the kernel's smaller side; one gradient of each kernel",
		rate: compressedRate, build: newCompressed, parameters: compressedParameters, norm: compressedNorm,
	},
	{
		Name: "rslora", Depth: 2, Description: "LoRA with PEFT's start, ΔK scaled by α/√r (rank-stabilised)", Needs: "rank up to the kernel's smaller side",
		rate: variantRate(3e-4), build: newRSLoRA, parameters: vanillaParameters, norm: zeroNorm,
	},
	{
		Name: "lora-plus", Depth: 2, Description: "LoRA with PEFT's start, W1 learning 16 times as fast as W2 (LoRA+)", Needs: "rank up to the kernel's smaller side",
		rate: variantRate(1e-4), build: newLoRAPlus, parameters: vanillaParameters, norm: zeroNorm,
	},
}

// Methods returns the table of adapters, in the order they are documented in.
func Methods() []Method { return append([]Method(nil), methods...) }

// LookupMethod returns the method of that name. The error for an unknown one names the nearest.
func LookupMethod(name string) (Method, error) {
	var names []string
	for _, m := range methods {
		if m.Name == name {
			return m, nil
		}
		names = append(names, m.Name)
	}
	return Method{}, fmt.Errorf("unknown method %q; nearest: %s (known: %s)", name, nearest.Of(name, names), strings.Join(names, " "))
}

// New returns the adapter of a method. The error joins every fault of the settings.
func New(method string, s Settings) (Adapter, error) {
	m, err := LookupMethod(method)
	if err != nil {
		return nil, err
	}
	adapter, faults := m.build(s)
	for i, fault := range faults {
		faults[i] = fmt.Errorf("method %s: %w", m.Name, fault)
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return adapter, nil
}

// Defaults are the settings the method is documented with: rank 8, depth 3, ε 1e-3, γ 0.01.
func Defaults() Settings {
	return Settings{Rank: 8, Depth: 3, InitScale: 1e-3, Gamma: 0.01, Init: InitReference}
}

// LearningRate is the method's default peak learning rate under AdamW.
func (m Method) LearningRate(s Settings) float64 { return m.rate(s) }

// Parameters is the number of adapter parameters on one kernel [in, out], frozen factors included.
func (m Method) Parameters(s Settings, in, out int) int { return m.parameters(s, in, out) }

// InitialNorm bounds the spectral norm of a kernel's ΔK at the start.
func (m Method) InitialNorm(s Settings, in, out int) (low, high float64) { return m.norm(s, in, out) }

// Count returns how many parameters the adapter has on these kernels, frozen factors included. Nothing
// is drawn. It is an error if the adapter does not fit one of them.
func Count(a Adapter, kernels []Shape) (int, error) {
	total := 0
	for _, k := range kernels {
		factors, err := a.Init(Site{Name: k.Name, In: k.In, Out: k.Out})
		if err != nil {
			return 0, err
		}
		for _, f := range factors {
			size := 1
			for _, n := range f.Shape {
				size *= n
			}
			total += size
		}
	}
	return total, nil
}

// faults collects what is wrong with settings.
type faults []error

func (f *faults) unless(ok bool, format string, args ...any) {
	if !ok {
		*f = append(*f, fmt.Errorf(format, args...))
	}
}

func (f *faults) rank(s Settings) { f.unless(s.Rank >= 1, "rank %d; want 1 or more", s.Rank) }

// maxDepth bounds the number of factors: ε^64 is nothing in any precision, and a damaged file can say any number.
const maxDepth = 64

func (f *faults) depth(s Settings) {
	f.unless(s.Depth >= 3, "depth %d; want 3 or more (with two factors it is vanilla)", s.Depth)
	f.unless(s.Depth <= maxDepth, "depth %d; want at most %d", s.Depth, maxDepth)
}

func (f *faults) initScale(s Settings) {
	f.unless(s.InitScale > 0 && s.InitScale <= math.MaxFloat32, "init scale %g; want a positive number, as 1e-3", s.InitScale)
}

// onlyVanilla refuses what scales vanilla alone: there is no α in the deep methods.
func (f *faults) onlyVanilla(s Settings) {
	f.unless(s.Init == "" || s.Init == InitReference, "init %q; it has one way to start (init belongs to vanilla)", s.Init)
	f.unscaled(s)
}

func (f *faults) unscaled(s Settings) {
	f.unless(s.Alpha == 0 || s.Alpha == float64(s.Rank), "alpha %g; only vanilla with init %s scales its update", s.Alpha, InitPEFT)
}

// fits is the error for a rank that a kernel cannot hold, or nil.
func (s Site) fits(rank int) error {
	if short := min(s.In, s.Out); rank > short {
		return s.fault("rank %d is larger than its smaller side; want at most %d, or leave the kernel out", rank, short)
	}
	return nil
}

func (s Site) fault(format string, args ...any) error {
	return fmt.Errorf("kernel %s [%d %d]: %w", s.Name, s.In, s.Out, fmt.Errorf(format, args...))
}
