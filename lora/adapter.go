package lora

import (
	"errors"
	"fmt"
	"math"
	"math/rand/v2"

	"github.com/gomlx/gomlx/core/graph"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/rng"
)

// Adapter is a method with its settings. It holds nothing of any one kernel: one Adapter serves all of them.
type Adapter interface {
	// Init lists what is trained for one kernel, and how it starts. It draws nothing and calls neither Gradient nor
	// Weight: a Factor's Value does. It is an error if the adapter does not fit the kernel's shape.
	Init(s Site) ([]Factor, error)
	// Delta returns the update that factors stand for. f holds their nodes in the order of Init.
	Delta(f []*graph.Node) Delta
}

// Site is one kernel K [In, Out], y = x·K, as a method may see it.
type Site struct {
	Name    string // of the kernel: for messages, and part of the name of its random numbers
	In, Out int
	Seed    uint64 // of the run
	// FirstRate is the learning rate of the first update that moves anything: the peak, or the first step of the warm-up
	// towards it. Methods that start with such an update take it; 0: not known.
	FirstRate float64
	// Gradient returns ∂loss/∂K at ΔK = 0, [In, Out], float32 or float64. It costs a backward pass, and only when
	// it is called; a method calls it at most once. The tensor then belongs to the method, which finalizes it.
	Gradient func() (*tensors.Tensor, error)
	// Weight returns K itself, for methods that start from it. The tensor stays the caller's: leave it as it is.
	Weight func() (*tensors.Tensor, error)
}

// Source returns random numbers for one factor. They depend on the seed, the kernel's name and the factor's alone:
// the order in which kernels and factors are drawn does not matter, and every machine draws the same.
func (s Site) Source(factor string) rand.Source { return rng.New(s.Seed, "init", s.Name, factor) }

// stream is what the methods of this package draw from: one stream a kernel, its parts told apart by At.
func (s Site) stream() *rng.Stream { return rng.New(s.Seed, "init", s.Name) }

// Factor is one trained tensor of a kernel's adapter.
type Factor struct {
	Name  string // "left", "W3", …: the name in every file we write
	Shape []int
	Rate  float64                         // multiple of the learning rate; at 0 not a bit of the factor changes
	Value func() (*tensors.Tensor, error) // the initial value, float32, made when called: counting and loading make none
}

// Settings are a method's numbers. A method ignores those it has no use for (vanilla the depth, deep-wide the rank).
// Begin with Defaults: an InitScale of 0 is refused, and a Gamma of 0 is a choice, not a default.
type Settings struct {
	Rank      int     `json:"rank"`       // r, the inner width
	Depth     int     `json:"depth"`      // L, how many W of the deep methods; at least 3
	InitScale float64 `json:"init_scale"` // ε, the spectral norm of each W of the deep methods at the start
	Gamma     float64 `json:"gamma"`      // γ, learning-rate multiple of deep-compressed's left and right; 0 freezes them
	Init      string  `json:"init"`       // of vanilla: InitReference (the default, also ""), InitPEFT or another of these
	Alpha     float64 `json:"alpha"`      // of vanilla's starts but InitReference, which scale ΔK by Alpha/Rank; 0 stands for Rank
}

// How vanilla starts.
const (
	InitReference = "reference" // N(0, 1) on the output side, zero on the input side, no scaling: the paper's code
	InitPEFT      = "peft"      // Kaiming-uniform on the input side, zero on the output side, ΔK scaled by Alpha/Rank
	InitLoRAGA    = "lora-ga"   // singular directions of the first gradient; ΔK is what is learned since (Wang et al. 2024)
	InitLoRAOne   = "lora-one"  // a step down the first gradient; ΔK scaled by Alpha/√Rank (Zhang et al. 2025)
	InitPiSSA     = "pissa"     // the leading part of the kernel itself; ΔK is what is learned since (Meng et al. 2024)
)

// Defaults are the settings the method is documented with: rank 8, depth 3, ε 1e-3, γ 0.01.
func Defaults() Settings {
	return Settings{Rank: 8, Depth: 3, InitScale: 1e-3, Gamma: 0.01, Init: InitReference}
}

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

func (f faults) err() error { return errors.Join(f...) }

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
	f.unless(s.Alpha == 0 || s.Alpha == float64(s.Rank), "alpha %g; only vanilla, with another init than %s, scales its update", s.Alpha, InitReference)
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
