package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/gomlx/compute"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/labels"
	"github.com/deeplora/deeplora/model"
	"github.com/deeplora/deeplora/train"
)

// baseNow is the help of --model beside --run.
const baseNow = "where the base model of the run is now, if it was moved"

// movedBase is --model as it stands beside --run: empty unless it was given, as the flag has a default for other uses.
func movedBase(cmd *cobra.Command, model string) string {
	if cmd.Flags().Changed("model") {
		return model
	}
	return ""
}

// checkpointFlags are what evaluating without a run takes: what a run knows of itself.
type checkpointFlags struct {
	model, task, overlong string
	text, pair, label     string // columns
	separator             string // between the classes of a cell
	maxLength             int
}

func (c *checkpointFlags) bind(f *pflag.FlagSet) {
	c.model = train.BuiltinModel
	bindModel(f, &c.model)
	f.StringVar(&c.task, "task", "stsb", "task, for --model: classification, regression, multilabel, or one of GLUE; of scored pairs for --zero-shot")
	f.StringVar(&c.text, "text", "", "column of the text, or of the first, for --model; empty: found by name")
	f.StringVar(&c.pair, "pair", "", "column of the second text, likewise")
	f.StringVar(&c.label, "label", "", "column of the label, likewise")
	f.StringVar(&c.separator, "label-separator", train.Default().LabelSeparator, "what stands between the classes of a cell, of --task multilabel")
	f.IntVar(&c.maxLength, "max-length", 0, "longest example, in tokens, for --model (default 128, or the model's positions)")
	f.StringVar(&c.overlong, "overlong", "truncate", "examples beyond that: truncate or drop")
}

// evaluateCheckpoint evaluates a checkpoint with the head that it has.
func (s *shared) evaluateCheckpoint(cmd *cobra.Command, e evalFlags) (*train.Evaluation, error) {
	task, err := data.LookupTask(e.task)
	if err != nil {
		return nil, usageError{err}
	}
	files, _, err := s.sources().Model(cmd.Context(), e.model)
	if err != nil {
		return nil, err
	}
	backend, provenance, err := s.open()
	if err != nil {
		return nil, err
	}
	if task, err = e.columns(task, files); err != nil {
		return nil, fmt.Errorf("model %s: %w", e.model, err)
	}
	checkpoint, err := loadFor(files, backend, task, model.Precision(e.precision))
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", e.model, err)
	}
	config := train.Default()
	config.Task, config.Overlong, config.MaxLength = task.Name, e.overlong, cmp.Or(e.maxLength, min(config.MaxLength, checkpoint.Config.Positions()))
	if positions := checkpoint.Config.Positions(); config.MaxLength < 3 || config.MaxLength > positions {
		return nil, usagef("--max-length: %d is not between 3 and the model's %d positions", config.MaxLength, positions)
	}
	examples, err := s.checkpointSplit(cmd, e, task)
	if err != nil {
		return nil, err
	}
	tok, err := data.OpenTokenizer(files, "")
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", e.model, err)
	}
	if err := checkpoint.Hold(model.Precision(e.precision), backend, func(string) bool { return false }); err != nil {
		return nil, err
	}
	p, err := train.NewPredictor(backend, checkpoint)
	if p, err = onDevices(p, err, provenance); err != nil {
		return nil, err
	}
	defer p.Close()
	p.Run.Config, p.Task, p.Tokenizer = config, examples.Task, tok // as of a run
	if err := e.setThreshold(cmd.Flags(), p); err != nil {
		return nil, err
	}
	return p.Evaluate(cmd.Context(), examples, s.ui.phaseFunc("evaluate"))
}

// columns is the task with the columns of the flags and, of one's own, with the classes of the checkpoint.
func (c *checkpointFlags) columns(task data.Task, files fs.FS) (data.Task, error) {
	if !task.Own() && c.text == "" && c.pair == "" && c.label == "" {
		return task, nil
	}
	task = task.WithColumns(c.text, c.pair, c.label).WithSeparator(c.separator)
	if task.Labels != nil || task.Regression() {
		return task, nil
	}
	r, err := model.OpenReader(files, model.LoadOptions{})
	if err != nil {
		return task, err
	}
	defer r.Close()
	task.Labels = r.Config.Labels()
	return task, nil
}

// checkpointSplit reads what a checkpoint is evaluated on.
func (s *shared) checkpointSplit(cmd *cobra.Command, e evalFlags, task data.Task) (*data.Split, error) {
	if !task.Own() {
		return s.sources().Split(cmd.Context(), cmp.Or(e.data, train.BuiltinData), task, e.split)
	}
	if e.data == "" {
		return nil, usagef("--task %s is of files of your own: give --data a file, a folder or a data set of the hub", task.Name)
	}
	c := train.Default()
	c.Data, c.DataConfig, c.DataRevision = e.data, e.dataConfig, e.dataRevision
	split, err := s.sources().Files(cmd.Context(), c, e.data, task, e.split)
	if err == nil {
		for _, n := range split.Notices { // which columns were found
			s.notice("%s", n)
		}
	}
	return split, err
}

// loadFor reads a checkpoint whose head is one of the task's, its outputs in the task's order.
func loadFor(files fs.FS, backend compute.Backend, task data.Task, p model.Precision) (*model.Checkpoint, error) {
	r, err := model.OpenReader(files, model.LoadOptions{})
	if err != nil {
		return nil, err
	}
	defer r.Close()
	o := model.LoadOptions{Labels: task.Labels, ProblemType: model.SingleLabel, Precision: p, Backend: backend}
	switch {
	case task.Regression():
		o.Labels, o.ProblemType = []string{"LABEL_0"}, model.Regression
	case task.Multi:
		o.ProblemType = model.MultiLabel
	}
	if r.HasHead() { // or Load says that there is none
		if err := fits(r.Config, o, task); err != nil {
			return nil, err
		}
	}
	return model.Load(files, o)
}

// fits refuses a head of another task.
func fits(c *model.Config, want model.LoadOptions, task data.Task) error {
	have, wants := c.Labels(), "one score"
	if !task.Regression() {
		wants = strings.Join(task.Labels, ", ")
	}
	same := len(have) == len(want.Labels) && (c.ProblemType == "" || c.ProblemType == want.ProblemType)
	if same && !task.Regression() { // unnamed outputs are taken in the task's order
		_, err := labels.Match(have, want.Labels)
		if err != nil && !errors.Is(err, labels.ErrOther) {
			return fmt.Errorf("its head tells %s; task %s takes %s: %w; correct id2label in config.json", strings.Join(have, ", "), task.Name, wants, err)
		}
		same = err == nil || labels.Unnamed(have)
	}
	if !same {
		if wants == strings.Join(have, ", ") { // what differs is the problem
			wants = "them as " + want.ProblemType
		}
		return fmt.Errorf("its head tells %s (%s); task %s takes %s: --task names what it was trained for",
			strings.Join(have, ", "), cmp.Or(c.ProblemType, "no problem_type"), task.Name, wants)
	}
	return nil
}
