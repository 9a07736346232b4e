package train

import (
	"cmp"
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/settings"
	"github.com/deeplora/deeplora/lora"
	"github.com/deeplora/deeplora/model"
	"github.com/deeplora/deeplora/train/loop"
)

// goOnFrom takes the method and the kernels of a finished run whose adapter training goes on with.
func (r *run) goOnFrom(ctx context.Context, dir string) error {
	f, err := ReadFinished(ctx, dir, OpenOptions{Sources: r.options.Sources, Model: r.config.Model, AnyBase: true}) // matchFrom compares
	if err != nil {
		return fmt.Errorf("from: %w", err)
	}
	if f.Run.Whole() {
		return settings.Error(fmt.Errorf("from %s: method %s has no adapter; export it --format merged and train that --model", dir, f.Run.Method))
	}
	c, a := &r.config, f.Adapter
	c.Method, c.Settings = a.Method, a.Settings
	c.Pooling = string(cmp.Or(a.Pooling, model.PoolHead))
	if a.Imported { // where there is no ε or γ
		c.InitScale, c.Gamma = Default().InitScale, Default().Gamma
	}
	c.Scope, c.MinDim, c.Target = f.Run.Scope, 0, nil
	for _, k := range a.Kernels {
		c.Target = append(c.Target, "^"+regexp.QuoteMeta(k.Name)+"$")
	}
	r.from = f
	return nil
}

// matchFrom holds model and task against those of the adapter that training goes on with, whose head takes the place of
// the model's.
func (r *run) matchFrom(in *inputs) error {
	if r.from == nil {
		return nil
	}
	c, a := in.checkpoint, r.from.Adapter
	if err := sameFiles("model", a.BaseFiles, c.Files); err != nil {
		return fmt.Errorf("from %s: %w: %w", r.config.From, ErrOtherBase, err)
	}
	if a.ProblemType != c.Config.ProblemType {
		return settings.Error(fmt.Errorf("from %s: its adapter is of a %s, task %s is a %s", r.config.From, a.ProblemType, r.config.Task, c.Config.ProblemType))
	}
	if !slices.Equal(a.Labels, c.Config.Labels()) {
		return settings.Error(fmt.Errorf("from %s: its classes are %v, those of task %s %v", r.config.From, a.Labels, r.config.Task, c.Config.Labels()))
	}
	if in.task.Scaled() { // its head gives scores in its scale
		scale := a.labelScale
		if scale.Scale == 0 {
			scale.Scale = 1
		}
		in.standardise(scale)
	}
	for name, value := range r.from.Values {
		if _, ok := c.Tensors[name]; ok {
			c.Tensors[name] = value
		}
	}
	return nil
}

// newAdapter is the method of the settings, or the adapter that training goes on with.
func (r *run) newAdapter() (lora.Adapter, error) {
	if r.from != nil {
		return r.from.Adapter.New()
	}
	if r.config.Whole() {
		return nil, nil // and no kernel to ask it for
	}
	return lora.New(r.config.Method, r.config.Settings)
}

// takeFrom makes the factors of the adapter that training goes on with the parameters' first values.
func (r *run) takeFrom(params []loop.Param) error {
	if r.from == nil {
		return nil
	}
	for i := range params {
		p := &params[i]
		value, ok := r.from.Values[p.Name]
		if !ok {
			continue // the head, which was frozen: matchFrom has set it
		}
		if !slices.Equal(value.Shape().Dimensions, p.Shape) {
			return fmt.Errorf("from %s: tensor %q is %v, want %v", r.config.From, p.Name, value.Shape().Dimensions, p.Shape)
		}
		p.Draw = func() (*tensors.Tensor, error) { return value.LocalClone() }
	}
	return nil
}

// keepFrom copies what the run goes on from into its directory.
func (r *run) keepFrom() error {
	if r.from == nil {
		return nil
	}
	return r.from.CopyTo(filepath.Join(r.options.Out, fromDir))
}

// fromRanks are the kernels whose rank is not the adapter's.
func (r *run) fromRanks() map[string]int {
	ranks := map[string]int{}
	if r.from != nil {
		for _, k := range r.from.Adapter.Kernels {
			ranks[k.Name] = k.Rank
		}
	}
	return ranks
}

// kernels are those that are adapted: none where the model itself is trained.
func (r *run) kernels() ([]model.Kernel, error) {
	c := &r.config
	if c.Whole() {
		return nil, nil
	}
	kernels, minDim, notice, err := SelectKernels(r.job.inputs.checkpoint.Config, lora.Scope{Name: c.Scope, Patterns: c.Target, MinDim: c.MinDim})
	if err != nil {
		return nil, err
	}
	if notice != "" {
		r.Notice("%s", notice)
	}
	c.MinDim = minDim
	return kernels, nil
}

// SelectKernels returns the kernels of a model that a scope picks, in the encoder's order, the bound on their smaller
// side that was applied (0 for none), and a line for the user or "".
func SelectKernels(config *model.Config, scope lora.Scope) (kernels []model.Kernel, minDim int, notice string, err error) {
	all := config.Kernels()
	shapes := make([]lora.Shape, len(all))
	for i, k := range all {
		shapes[i] = lora.Shape{Name: k.Name, In: k.In, Out: k.Out, Part: k.Part}
	}
	chosen, err := scope.Select(shapes, config.HiddenSize)
	if err != nil {
		return nil, 0, "", err
	}
	for _, k := range all {
		if slices.ContainsFunc(chosen.Kernels, func(s lora.Shape) bool { return s.Name == k.Name }) {
			kernels = append(kernels, k)
		}
	}
	return kernels, chosen.MinDim, chosen.Notice, nil
}
