package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/devices"
	"github.com/deeplora/deeplora/internal/settings"
	"github.com/deeplora/deeplora/model"
)

// base is a model that several predictors compute with, each with its own adapter beside it.
type base struct {
	devices   *devices.Set // of all its predictors
	precision model.Precision
	files     []model.FileSum            // what it was read from
	tensors   map[string]*tensors.Tensor // as they are in the files, by name: no adapter brings its own
	graphs    map[string]*graphs         // by the form of adapter and head
}

// Beside opens a run on the model that another predictor computes with: the model's tensors are held once for both, and so
// are the compiled graphs, where adapter and head are of the same form. with comes from Beside too, or from Unmerged; nil:
// the run's own model is opened, to be shared with the next. The run must belong to the same model files (ErrOtherBase) and
// be opened in the same precision (ErrConfig). Predictors of one base must not be used concurrently.
func (f *Finished) Beside(backend compute.Backend, with *Predictor) (*Predictor, error) {
	switch p := model.Precision(f.Run.Precision); {
	case with == nil:
		return f.beside(backend, p)
	case with.base == nil:
		return nil, errors.New("the model to share has an adapter merged in, or is a checkpoint; open the first run with Beside too")
	case with.base.precision != p:
		return nil, settings.Error(fmt.Errorf("precision: %s is of a run in %s, and the shared model is held in %s; give one --precision for all", f.Dir, p, with.base.precision))
	}
	if !slices.Equal(with.base.files, f.Adapter.BaseFiles) {
		return nil, fmt.Errorf("%s: %w: its model's files are not those of the runs before it", f.Dir, ErrOtherBase)
	}
	return f.on(with.base)
}

// on opens the run on a base, which is given what it lacks of the model's tensors.
func (f *Finished) on(b *base) (*Predictor, error) {
	a, byKernel, err := f.adaptation(nil)
	if err != nil {
		return nil, err
	}
	own := func(name string) bool { return f.Values[name] != nil }
	c, err := f.checkpoint(b.devices.Backend(), b.precision, func(name string) bool { return b.tensors[name] != nil && !own(name) })
	if err != nil {
		return nil, err
	}
	if err := c.Hold(b.precision, b.devices.Backend(), func(weight string) bool { return !f.Run.Whole() && own(weight) }); err != nil {
		return nil, err
	}
	head := c.Config.HeadNames() // its rows follow the run's order of the classes, also where they come from the files
	for _, spec := range c.Config.Specs() {
		switch shared := b.tensors[spec.Name]; {
		case own(spec.Name), slices.Contains(head, spec.Name), slices.Contains(c.Fresh, spec.Name):
		case shared == nil:
			b.tensors[spec.Name] = c.Tensors[spec.Name]
		default:
			c.Tensors[spec.Name] = shared
		}
	}
	if b.files == nil {
		b.files = c.Files
	}
	weights := weightsOf(c)
	for _, s := range a.sites {
		weights = append(weights, s.named(byKernel[s.kernel.Name])...)
	}
	p, err := f.predictor(newPredictor(b.devices, c, weights, a))
	if err != nil {
		return nil, err
	}
	p.base = b
	return p, p.share(&f.Adapter)
}

// share takes the graphs of an earlier predictor on the base whose adapter has this form, or leaves p's to later ones.
func (p *Predictor) share(of *AdapterInfo) error {
	form, err := p.form(of)
	if err != nil {
		return err
	}
	if g := p.base.graphs[form]; g != nil && g.users > 0 {
		p.graphs = g
		g.users++
		return nil
	}
	p.base.graphs[form] = p.graphs
	return nil
}

// form is what the graphs of a predictor follow from, beside its model's files and precision: how the adapter's factors
// make ΔK, what the head reads, and each tensor's shape.
func (p *Predictor) form(of *AdapterInfo) (string, error) {
	adapter, err := json.Marshal(struct {
		Method   string
		Settings any
		Kernels  []AdaptedKernel
		Pooling  model.Pooling
	}{of.Method, of.Settings, of.Kernels, p.config.Pooling})
	if err != nil {
		return "", err
	}
	lines := []string{string(adapter)}
	for _, w := range p.weights {
		lines = append(lines, w.Name+" "+w.Value.Shape().String())
	}
	return strings.Join(lines, "\n"), nil
}

// SharesGraphs reports whether two predictors compute with the same compiled graphs.
func (p *Predictor) SharesGraphs(with *Predictor) bool { return p.graphs == with.graphs }
