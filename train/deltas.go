package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"

	"github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/tensors"
	"gonum.org/v1/gonum/floats"

	"github.com/deeplora/deeplora/lora"
	"github.com/deeplora/deeplora/model"
)

// KernelDelta is what a finished run adds to a kernel: the spectrum of ΔK, beside K and beside the gradient that
// training began with.
type KernelDelta struct {
	Kernel        string    `json:"name"`
	In            int       `json:"in"`
	Out           int       `json:"out"`
	Values        []float64 `json:"singular_values"` // descending, as many as the factors let ΔK have
	EffectiveRank float64   `json:"effective_rank"`  // exp of the entropy of the values; 0 for ΔK = 0
	Rank          int       `json:"numerical_rank"`  // values above the tolerance times the largest
	Norm          float64   `json:"norm"`            // ‖ΔK‖
	RelativeNorm  *float64  `json:"relative_norm"`   // ‖ΔK‖/‖K‖; null for K = 0

	Gradient *GradientAngles `json:"first_gradient,omitempty"` // nil unless asked for
}

// GradientAngles are the principal angles, in degrees ascending, between ΔK's leading singular directions and
// those of the first gradient, G = ∂loss/∂K at ΔK = 0 on the first batch: 0 for directions that G named
// before the first step, 90 for those that it had no part in.
type GradientAngles struct {
	UpdateDirections   int       `json:"update_directions"`   // of ΔK: its effective rank, rounded, and at most
	GradientDirections int       `json:"gradient_directions"` // those of G: h = r/2, as method.md 1.2 and 3.2 have it
	Input              []float64 `json:"input_degrees"`       // none for ΔK = 0
	Output             []float64 `json:"output_degrees"`
}

// DeltaOptions say what is computed of what a run added.
type DeltaOptions struct {
	Backend   compute.Backend
	Sources   Sources
	Tolerance float64 // of the numerical rank
	Gradient  bool    // compute the first gradient again; needs the run's data
	Progress  func(done, total int)
}

// ErrNoBeginning is wrapped by errors about a run whose first gradient cannot be computed again.
var ErrNoBeginning = errors.New("first gradient")

// Deltas takes what a finished run adds to its kernels apart, in the order of the encoder's kernels. ΔK is the adapter's
// own Delta in float64, and is never multiplied out; of the base model one kernel is read at a time. Data that are not
// those of the run, or not there, are ErrNoBeginning.
func (f *Finished) Deltas(ctx context.Context, o DeltaOptions) ([]KernelDelta, error) {
	base, err := f.Reader()
	if err != nil {
		return nil, err
	}
	defer base.Close()
	a, byKernel, err := f.adaptation(base.Config)
	if err != nil {
		return nil, err
	}
	var first []lora.Site
	if o.Gradient {
		if first, err = f.beginning(ctx, o, a.kernels()); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNoBeginning, err)
		}
	}
	deltas := make([]KernelDelta, len(a.sites))
	for i, s := range a.sites {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		d, spectrum, err := f.delta(a.adapter, s.kernel, byKernel[s.kernel.Name], base, o)
		if err == nil && o.Gradient {
			d.Gradient, err = anglesTo(first[i], spectrum, max(1, f.Adapter.Rank/2))
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.kernel.Name, err)
		}
		deltas[i] = d
		o.Progress(i+1, len(deltas))
	}
	return deltas, nil
}

// delta measures one kernel's ΔK beside the kernel.
func (f *Finished) delta(adapter lora.Adapter, kernel model.Kernel, factors []*tensors.Tensor, base *model.Reader, o DeltaOptions) (KernelDelta, lora.Spectrum, error) {
	chain, err := lora.Chain(o.Backend, adapter, factors)
	if err != nil {
		return KernelDelta{}, lora.Spectrum{}, err
	}
	spectrum, err := lora.Decompose(chain)
	if err != nil {
		return KernelDelta{}, spectrum, err
	}
	d := KernelDelta{
		Kernel: kernel.Name, In: kernel.In, Out: kernel.Out, Values: spectrum.Values,
		EffectiveRank: spectrum.EffectiveRank(), Rank: spectrum.Rank(o.Tolerance), Norm: spectrum.Norm(),
	}
	k, travels := f.Values[kernel.Weight()] // a pooler that the checkpoint lacked
	if !travels {
		at := slices.IndexFunc(base.Specs(), func(spec model.Spec) bool { return spec.Name == kernel.Weight() })
		if k, err = base.Tensor(base.Specs()[at]); err != nil {
			return d, spectrum, err
		}
	}
	of, err := norm(k)
	if relative := d.Norm / of; of > 0 {
		d.RelativeNorm = &relative
	}
	return d, spectrum, err
}

// norm is a float32 tensor's Frobenius norm, summed in float64.
func norm(t *tensors.Tensor) (float64, error) {
	sum := 0.0
	err := tensors.ConstFlatData(t, func(values []float32) {
		for _, v := range values {
			sum += float64(v) * float64(v)
		}
	})
	return math.Sqrt(sum), err
}

// beginning gives the run's sites as they were before its first step: with the gradients that compression started from,
// or would have, on the first batch.
func (f *Finished) beginning(ctx context.Context, o DeltaOptions, kernels []model.Kernel) ([]lora.Site, error) {
	if f.Adapter.Imported {
		return nil, errors.New("the adapter is imported, and what it was trained on is not known")
	}
	r := newRun(f.Run.Config, Options{Backend: o.Backend, Sources: o.Sources})
	if err := r.options.inMemory(&r.config); err != nil {
		return nil, err
	}
	if r.config.Manifest != "" { // the draw as it was, as where a run is resumed
		r.config.Manifest = filepath.Join(f.Dir, manifestJSON)
	}
	if err := r.read(ctx); err != nil {
		return nil, err
	}
	if err := sameFiles("data", f.Run.Provenance.Data, r.options.Provenance.Data); err != nil {
		return nil, err
	}
	if err := r.job.planBatches(); err != nil {
		return nil, err
	}
	return r.job.sites(kernels)
}

// anglesTo compares ΔK with the gradient of its site, which it lets go of: what carries ΔK against the h
// leading directions of the gradient.
func anglesTo(at lora.Site, delta lora.Spectrum, h int) (*GradientAngles, error) {
	gradient, err := at.Gradient()
	if err != nil {
		return nil, err
	}
	defer gradient.MustFinalizeAll()
	h = min(h, at.In, at.Out)
	top, err := lora.Leading(gradient, h)
	if err != nil {
		return nil, fmt.Errorf("gradient: %w", err)
	}
	a := &GradientAngles{UpdateDirections: min(h, int(math.Round(delta.EffectiveRank()))), GradientDirections: h}
	input, output := delta.Angles(top, a.UpdateDirections, h)
	a.Input, a.Output = degrees(input), degrees(output)
	return a, nil
}

func degrees(radians []float64) []float64 {
	out := make([]float64, len(radians)) // not nil: a list in JSON
	copy(out, radians)
	floats.Scale(180/math.Pi, out)
	return out
}
