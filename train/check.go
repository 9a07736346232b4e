package train

import (
	"context"
	"fmt"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/settings"
	"github.com/deeplora/deeplora/lora"
	"github.com/deeplora/deeplora/model"
)

// CheckFiles opens what a run with these settings would begin with, and says what is wrong with it: the files of its data,
// their columns and classes, and the draw; the model's files by their headers, its tokenizer, and the kernels that are
// adapted. It is what can be known before the first run of many without an engine: no weight is read, no text is
// tokenized, nothing is written. Of a run that goes on from another (Config.From) the adapter is not looked at.
func (c Config) CheckFiles(ctx context.Context, s Sources) error { // a copy: what is found becomes settings of it
	if err := c.Validate(); err != nil {
		return settings.Error(err)
	}
	in, err := c.checkData(ctx, &Options{Sources: s})
	if err != nil {
		return err
	}
	if err := c.checkModel(ctx, s, in); err != nil {
		return fmt.Errorf("model %s: %w", c.Model, err)
	}
	return nil
}

// checkData reads both splits and draws.
func (c *Config) checkData(ctx context.Context, o *Options) (*inputs, error) {
	in := &inputs{}
	var err error
	if in.task, err = c.task(); err != nil {
		return nil, err
	}
	all, validation, err := o.splits(ctx, c, in.task)
	if err != nil {
		return nil, err
	}
	if in.task.Own() {
		in.task = all.Task
		c.noteTask(in.task)
	}
	drawn, err := in.draw(c, all)
	if err != nil {
		return nil, err
	}
	in.train = &examples{split: drawn, labels: drawn.Labels()}
	if validation == nil && in.held == nil {
		return nil, fmt.Errorf("data %s: there is nothing to validate on", c.Data)
	}
	if in.task.Scaled() {
		if _, err := scaleOf(in.train.labels); err != nil {
			return nil, err
		}
	}
	if err := in.resolve(c); err != nil {
		return nil, settings.Error(err)
	}
	if err := c.resolve(len(drawn.Examples)); err != nil {
		return nil, settings.Error(err)
	}
	return in, nil
}

// checkModel holds the model's files against the task and the settings.
func (c *Config) checkModel(ctx context.Context, s Sources, in *inputs) error {
	files, _, err := s.Model(ctx, c.Model)
	if err != nil {
		return err
	}
	if _, err := c.ResolvePooling(files); err != nil {
		return err
	}
	classes, problem := headOf(in.task)
	r, err := model.OpenReader(files, model.LoadOptions{
		Labels: classes, ProblemType: problem, Pooling: model.Pooling(c.Pooling), NewHead: c.FreshHead || otherHead(files, classes) != nil,
	})
	if err != nil {
		return err
	}
	defer r.Close()
	tok, err := data.OpenTokenizer(files, "")
	if err != nil {
		return err
	}
	if err := checkVocabulary(tok, r.Config, c); err != nil {
		return err
	}
	if c.Whole() || c.From != "" {
		return nil
	}
	_, _, _, err = SelectKernels(r.Config, lora.Scope{Name: c.Scope, Patterns: c.Target, MinDim: c.MinDim})
	return err
}
