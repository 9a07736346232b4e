package train

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gomlx/compute/dtypes"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/settings"
	"github.com/deeplora/deeplora/internal/table"
	"github.com/deeplora/deeplora/model"
)

// This file is what a run knows of tasks of one's own: their files, their classes, and the scale of their scores.

// defaultShare is the part of a training file that is kept for validation where there is no file for it.
const defaultShare = 0.1

// defaultSeparator stands between the classes of a cell.
var defaultSeparator = data.Task{}.Separator()

// task is what the settings say is learned. Columns and classes that they leave open are found in the training file.
func (c *Config) task() (data.Task, error) {
	t, err := data.LookupTask(c.Task)
	if err != nil || !t.Own() && !c.ownFiles() {
		return t, err
	}
	t = t.WithColumns(c.Text, c.Pair, c.Label).WithSeparator(c.LabelSeparator)
	if c.Labels != "" {
		t, err = t.ParseLabels(c.Labels)
	}
	return t, err
}

// ownFiles reports whether settings of one's own files are given.
func (c *Config) ownFiles() bool {
	return c.Text != "" || c.Pair != "" || c.Label != "" || c.Validation != "" || c.Test != ""
}

// classes reports whether the classes are those of one's own files.
func (c *Config) classes() bool { return c.Task == "classification" || c.Task == "multilabel" }

// checkTask adds the faults of the settings that say what is learned.
func (c *Config) checkTask(f *settings.Faults) {
	if c.Data == memoryData {
		return
	}
	t, err := c.task()
	if err != nil {
		f.Add(err)
		return
	}
	f.Check(c.Labels == "" || c.classes(), "labels: those of %s are known; the setting belongs to tasks classification and multilabel", c.Task)
	f.Check(c.LabelSeparator == defaultSeparator || t.Multi, "label-separator: an example of %s has one label; the setting belongs to task multilabel", c.Task)
	if c.DataConfig != "" || c.DataRevision != "" {
		f.Check(t.Own() && c.hubSet(), "data-config, data-revision: belong to a data set of the hub, --data org/name with task classification, regression or multilabel or with columns; data is %s", c.Data)
	}
	if t.Own() {
		f.Check(c.Data != BuiltinData && c.Data != HubData, "data: task %s reads files of your own; give --data a file, a folder or a data set of the hub", c.Task)
		return
	}
	f.Check(c.ValidationShare == defaultShare, "validation-share: task %s comes with its validation file", c.Task)
	f.Check(!c.SkipUnlabelled, "skip-unlabelled: belongs to files of your own: tasks classification, regression and multilabel, or columns that are given")
}

// noteTask makes what was found in the training file settings of the run.
func (c *Config) noteTask(t data.Task) {
	c.Text, c.Pair, c.Label = t.Columns[0], "", t.LabelColumn()
	if t.Pair() {
		c.Pair = t.Columns[1]
	}
	if c.classes() {
		c.Labels = t.FormatLabels()
	}
}

// hubSet reports whether the data is a data set of the hub.
func (c *Config) hubSet() bool {
	if c.DataConfig != "" && (data.HubOptions{}).IsCommit(c.DataRevision) && strings.Count(c.Data, "/") == 1 && !filepath.IsAbs(c.Data) {
		return true // as a run has noted it, whatever lies here now
	}
	return !slices.Contains([]string{BuiltinData, HubData, memoryData}, c.Data) && data.HubOptions{}.IsDataset(c.Data)
}

// ownFile reads a split of one's own files: the file that a setting names, that of the folder, or those of the data set of the
// hub, whose commit and configuration become settings. nil: there is none.
func (s Sources) ownFile(ctx context.Context, c *Config, task data.Task, split string) (*data.Split, error) {
	path := map[string]string{data.Train: c.Data, data.Validation: c.Validation, data.Test: c.Test}[split]
	switch hub := c.hubSet(); {
	case hub && (path == "" || split == data.Train):
		return s.hubSplit(ctx, c, task, split)
	case path != "":
		return task.LoadFiles(path, split, c.SkipUnlabelled)
	}
	folder, err := table.IsFolder(c.Data)
	if err != nil || !folder {
		return nil, err
	}
	found, err := task.LoadFiles(c.Data, split, c.SkipUnlabelled)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	return found, err
}

// Files reads a split of files of one's own from a file, a folder or a data set of the hub. Of the settings it takes what
// says how: the data set's configuration and revision, and what becomes of rows without a label.
func (s Sources) Files(ctx context.Context, c Config, from string, task data.Task, split string) (*data.Split, error) {
	if from != c.Data { // of which they say nothing
		c.DataConfig, c.DataRevision = "", ""
	}
	if c.Data = from; !c.hubSet() {
		return task.LoadFiles(from, split, c.SkipUnlabelled)
	}
	found, err := s.hubSplit(ctx, &c, task, split)
	if err == nil && found == nil {
		err = fmt.Errorf("data: %s has no %s split", from, split)
	}
	return found, err
}

// hubSplit reads a split of a data set of the hub; nil: it has none of that name.
func (s Sources) hubSplit(ctx context.Context, c *Config, task data.Task, split string) (*data.Split, error) {
	ref := c.Data
	if c.DataRevision != "" {
		ref += "@" + c.DataRevision
	}
	files, info, err := s.Hub.Dataset(ctx, ref, c.DataConfig)
	if err != nil {
		return nil, err
	}
	first := c.DataRevision != info.Commit // later ones have nothing new to say
	c.DataConfig, c.DataRevision = info.Config, info.Commit
	if len(files[split]) == 0 && split != data.Train {
		return nil, nil
	}
	found, err := task.LoadShards(files[split], split, c.SkipUnlabelled)
	if err == nil && first {
		found.Notices = slices.Concat([]string{fmt.Sprintf("data: %s at %.12s, configuration %s", info.Repo, info.Commit, info.Config)}, info.Notices, found.Notices)
	}
	return found, err
}

// ownSplits reads what is trained on, and what it is validated with: a file, the rows that a manifest keeps, or a share of
// the training file.
func (s Sources) ownSplits(ctx context.Context, c *Config, task data.Task) (train, validation *data.Split, err error) {
	if train, err = s.ownFile(ctx, c, task, data.Train); err != nil {
		return nil, nil, err
	}
	if c.Manifest != "" {
		m, err := data.ReadManifest(c.Manifest)
		if err != nil {
			return nil, nil, err
		}
		if folded(m) { // what it holds is a part of the draw, which inputs.draw takes out
			return train, nil, nil
		}
		left, kept, ok, err := m.HeldOut(train)
		if ok && (c.Validation != "" || c.ValidationShare != defaultShare) {
			err = settings.Error(fmt.Errorf("manifest: %s says which rows are kept for validation; leave out --validation and --validation-share", c.Manifest))
		}
		if ok || err != nil {
			return left, kept, err
		}
	}
	validation, err = s.ownFile(ctx, c, train.Task, data.Validation)
	switch {
	case err != nil:
		return nil, nil, err
	case validation != nil && c.ValidationShare != defaultShare:
		return nil, nil, settings.Error(fmt.Errorf("validation-share: there is a validation file, %s; leave the setting out", validation.Source.File))
	case validation != nil:
		return train, validation, nil
	}
	rows := len(train.Examples)
	train, validation, err = train.HoldOut(c.ValidationShare, c.Seed)
	if err != nil {
		return nil, nil, settings.Error(err)
	}
	by := "by class"
	switch {
	case task.Regression():
		by = "by score"
	case task.Multi:
		by = "by label"
	}
	validation.Notices = append(validation.Notices, fmt.Sprintf("%s: %d of %d rows are kept for validation, %s (--validation-share %g)",
		train.Source.File, len(validation.Examples), rows, by, c.ValidationShare))
	return train, validation, nil
}

// heldOut is the part of a finished run's training file that was kept for validation or, of split train, the rest.
func (f *Finished) heldOut(ctx context.Context, s Sources, split string) (*data.Split, error) {
	m, err := f.Manifest()
	if err != nil {
		return nil, err
	}
	whole, err := s.ownFile(ctx, &f.Run.Config, f.Task, data.Train)
	if err != nil {
		return nil, err
	}
	train, validation, ok, err := m.HeldOut(whole)
	if err != nil || split == data.Train {
		return train, err
	}
	if !ok {
		return nil, fmt.Errorf("%s was validated with a file that is not there any more; give --data", f.Dir)
	}
	return validation, nil
}

// labelScale is how training sees scores: (score - Mean) / Scale. A Scale of 0 is none.
type labelScale struct {
	Mean  float64 `json:"label_mean,omitempty"` // of the training labels
	Scale float64 `json:"label_scale,omitempty"`
}

// scaleOf is the mean and the deviation of scores.
func scaleOf(labels []float64) (s labelScale, err error) {
	n := float64(len(labels))
	for _, v := range labels {
		s.Mean += v / n
	}
	for _, v := range labels {
		s.Scale += (v - s.Mean) * (v - s.Mean) / n
	}
	s.Scale = math.Sqrt(s.Scale)
	if !(s.Scale > 0) || math.IsInf(s.Scale, 0) {
		return s, fmt.Errorf("the scores of the %d training examples have the deviation %g: there is nothing to learn; the first is %g", len(labels), s.Scale, labels[0])
	}
	return s, nil
}

// standardise gives training labels the scale.
func (in *inputs) standardise(s labelScale) {
	in.scale = s
	in.train.labels = in.train.split.Labels()
	for i, v := range in.train.labels {
		in.train.labels[i] = (v - s.Mean) / s.Scale
	}
}

// scores gives logits of a training the user's scale.
func (s labelScale) scores(logits [][]float32) [][]float32 {
	if s.Scale == 0 {
		return logits
	}
	scores := make([][]float32, len(logits))
	for i, row := range logits {
		scores[i] = []float32{float32(float64(row[0])*s.Scale + s.Mean)}
	}
	return scores
}

// userValues are the run's tensors with a head that gives scores in the user's scale.
func (f *Finished) userValues(c *model.Config) (map[string]*tensors.Tensor, error) {
	s := f.Adapter.labelScale
	if s.Scale == 0 {
		return f.Values, nil
	}
	values := maps.Clone(f.Values)
	for i, name := range c.HeadNames() { // the weight, and the bias, which is shifted too
		shift := float64(i) * s.Mean
		head, ok := values[name]
		if !ok {
			return nil, fmt.Errorf("%s: tensor %q is missing: scores are scaled by it", f.Dir, name)
		}
		var err error
		if head.DType() == dtypes.Float64 {
			values[name], err = scaled[float64](head, s.Scale, shift)
		} else {
			values[name], err = scaled[float32](head, s.Scale, shift)
		}
		if err != nil {
			return nil, fmt.Errorf("scale %s: %w", name, err)
		}
	}
	return values, nil
}

func scaled[T float32 | float64](t *tensors.Tensor, scale, shift float64) (*tensors.Tensor, error) {
	flat, err := tensors.CopyFlatData[T](t)
	if err != nil {
		return nil, err
	}
	for i, v := range flat {
		flat[i] = T(float64(v)*scale + shift)
	}
	return tensors.FromFlatDataAndDimensions(flat, t.Shape().Dimensions...), nil
}
