package train

import (
	"context"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/lora"
)

// fromDir is where a run keeps what it went on from, so that it can be resumed whatever has become of that.
const fromDir = "from"

// goOnFrom takes the method and the kernels of a finished run whose adapter training goes on with.
func (t *trainer) goOnFrom(ctx context.Context, dir string) error {
	s, err := ReadStored(ctx, dir, OpenOptions{Hub: t.options.Hub})
	if err != nil {
		return fmt.Errorf("from: %w", err)
	}
	if s.Run.Whole() {
		return configError{fmt.Errorf("from %s: method %s has no adapter; export it --format merged and train that --model", dir, s.Run.Method)}
	}
	c, a := &t.config, s.Adapter
	c.Method, c.Rank, c.Depth, c.InitScale, c.Gamma, c.Init, c.Alpha = a.Method, a.Rank, a.Depth, a.InitScale, a.Gamma, a.Init, a.Alpha
	if a.Imported { // where there is no ε or γ
		c.InitScale, c.Gamma = Default().InitScale, Default().Gamma
	}
	c.Scope, c.MinDim, c.Target = s.Run.Scope, 0, nil
	for _, k := range a.Kernels {
		c.Target = append(c.Target, "^"+regexp.QuoteMeta(k.Name)+"$")
	}
	t.from = s
	return nil
}

// matchFrom holds the model and the task against those of the adapter, whose head takes the place of the model's.
func (t *trainer) matchFrom() error {
	if t.from == nil {
		return nil
	}
	c, a := t.in.checkpoint, t.from.Adapter
	if err := sameFiles("model", a.BaseFiles, c.Files); err != nil {
		return fmt.Errorf("from %s: %w: %w", t.config.From, ErrOtherBase, err)
	}
	if !slices.Equal(a.Labels, c.Config.Labels()) {
		return configError{fmt.Errorf("from %s: its classes are %v, those of task %s %v", t.config.From, a.Labels, t.config.Task, c.Config.Labels())}
	}
	for name, value := range t.from.Values {
		if _, ok := c.Tensors[name]; ok {
			c.Tensors[name] = value
		}
	}
	return nil
}

// newAdapter is the method of the settings, or the adapter that training goes on with.
func (t *trainer) newAdapter() (lora.Adapter, error) {
	if t.from != nil {
		return t.from.Adapter.New()
	}
	if t.config.Whole() {
		return nil, nil // and no kernel to ask it for
	}
	return lora.New(t.config.Method, t.config.AdapterSettings())
}

// takeFrom makes the factors of the adapter that training goes on with the state's first.
func (t *trainer) takeFrom(s *state) error {
	if t.from == nil {
		return nil
	}
	for i := range s.params {
		p := &s.params[i]
		value, ok := t.from.Values[p.name]
		if !ok {
			continue // the head, which was frozen: matchFrom has set it
		}
		if !slices.Equal(value.Shape().Dimensions, p.shape) {
			return fmt.Errorf("from %s: tensor %q is %v, want %v", t.config.From, p.name, value.Shape().Dimensions, p.shape)
		}
		p.draw = func() (*tensors.Tensor, error) { return value.LocalClone() }
	}
	return nil
}

// keepFrom copies what the run goes on from into its directory.
func (t *trainer) keepFrom() error {
	if t.from == nil {
		return nil
	}
	return CopyFinished(t.from.Dir, filepath.Join(t.Out, fromDir))
}

// rankOf is a kernel's rank where it is not the adapter's.
func (t *trainer) rankOf(kernel string) int {
	if t.from != nil {
		for _, k := range t.from.Adapter.Kernels {
			if k.Name == kernel {
				return k.Rank
			}
		}
	}
	return 0
}
