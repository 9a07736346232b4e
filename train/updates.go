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

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/lora"
	"github.com/deeplora/deeplora/model"
)

// Update is what a finished run adds to a kernel: the spectrum of ΔK, beside K and beside the gradient that
// training began with.
type Update struct {
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

// UpdateOptions say what is computed of a run's updates.
type UpdateOptions struct {
	Backend   compute.Backend
	Hub       data.HubOptions
	Tolerance float64 // of the numerical rank
	Gradient  bool    // compute the first gradient again; needs the run's data
	Progress  func(done, total int)
}

// ErrNoBeginning is wrapped by errors about a run whose first gradient cannot be computed again.
var ErrNoBeginning = errors.New("first gradient")

// Updates takes the updates of a finished run apart, in the order of the encoder's kernels. ΔK is the adapter's
// own Delta in float64, and is never multiplied out; of the base model one kernel is read at a time. Data that
// are not those of the run, or not there, are ErrNoBeginning.
func (s *Stored) Updates(ctx context.Context, o UpdateOptions) ([]Update, error) {
	base, err := s.Reader()
	if err != nil {
		return nil, err
	}
	defer base.Close()
	adapter, state, err := s.Adapter.state(s.Values, base.Config)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", s.Dir, err)
	}
	var gradients []lora.Site
	if o.Gradient {
		if gradients, err = s.beginning(ctx, o, state.kernels()); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrNoBeginning, err)
		}
	}
	updates := make([]Update, len(state.sites))
	for i, at := range state.sites {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		u, delta, err := s.update(adapter, at.kernel, state.factorsOf(at), base, o)
		if err == nil && o.Gradient {
			u.Gradient, err = anglesTo(gradients[i], delta, max(1, s.Adapter.Rank/2))
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", at.kernel.Name, err)
		}
		updates[i] = u
		o.Progress(i+1, len(updates))
	}
	return updates, nil
}

// kernels are the adapted kernels.
func (s *state) kernels() []model.Kernel {
	kernels := make([]model.Kernel, len(s.sites))
	for i, at := range s.sites {
		kernels[i] = at.kernel
	}
	return kernels
}

// factorsOf are a site's factors, in the order of the adapter's Init.
func (s *state) factorsOf(at site) []*tensors.Tensor {
	var factors []*tensors.Tensor
	for _, p := range s.params[at.first : at.first+at.factors] {
		factors = append(factors, p.value)
	}
	return factors
}

// update measures one kernel's ΔK beside the kernel.
func (s *Stored) update(adapter lora.Adapter, kernel model.Kernel, factors []*tensors.Tensor, base *model.Reader, o UpdateOptions) (Update, lora.Spectrum, error) {
	chain, err := lora.Chain(o.Backend, adapter, factors)
	if err != nil {
		return Update{}, lora.Spectrum{}, err
	}
	delta, err := lora.Decompose(chain)
	if err != nil {
		return Update{}, delta, err
	}
	u := Update{
		Kernel: kernel.Name, In: kernel.In, Out: kernel.Out, Values: delta.Values,
		EffectiveRank: delta.EffectiveRank(), Rank: delta.Rank(o.Tolerance), Norm: delta.Norm(),
	}
	k, travels := s.Values[kernel.Weight()] // a pooler that the checkpoint lacked
	if !travels {
		at := slices.IndexFunc(base.Specs(), func(spec model.Spec) bool { return spec.Name == kernel.Weight() })
		if k, err = base.Tensor(base.Specs()[at]); err != nil {
			return u, delta, err
		}
	}
	of, err := norm(k)
	if relative := u.Norm / of; of > 0 {
		u.RelativeNorm = &relative
	}
	return u, delta, err
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

// beginning gives the run's sites as they were before its first step: with the gradients that compression
// started from, or would have, on the first batch.
func (s *Stored) beginning(ctx context.Context, o UpdateOptions, kernels []model.Kernel) ([]lora.Site, error) {
	if s.Adapter.Imported {
		return nil, errors.New("the adapter is imported, and what it was trained on is not known")
	}
	t := newTrainer(s.Run.Config, Options{Backend: o.Backend, Hub: o.Hub})
	if t.config.Manifest != "" { // the draw as it was, as where a run is resumed
		t.config.Manifest = filepath.Join(s.Dir, manifestJSON)
	}
	if err := t.read(ctx); err != nil {
		return nil, err
	}
	if err := sameFiles("data", s.Run.Provenance.Data, t.options.Provenance.Data); err != nil {
		return nil, err
	}
	if err := t.planBatches(); err != nil {
		return nil, err
	}
	return t.sites(kernels)
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
