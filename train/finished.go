package train

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/jsonfile"
)

// Finished reads what a finished run is, without its model or its tensors. An error for one that has not
// finished names the way to go on.
func Finished(dir string) (RunConfig, AdapterInfo, error) {
	var info AdapterInfo
	c, err := ReadRunConfig(dir)
	if err != nil {
		return c, info, err
	}
	if err = jsonfile.Read(filepath.Join(dir, adapterDir, adapterJSON), &info); errors.Is(err, fs.ErrNotExist) {
		err = unfinished(dir)
	}
	return c, info, err
}

// finishedAdapter is Finished with the adapter's tensors, verified.
func finishedAdapter(dir string) (RunConfig, AdapterInfo, map[string]*tensors.Tensor, error) {
	c, err := ReadRunConfig(dir)
	if err != nil {
		return c, AdapterInfo{}, nil, err
	}
	info, values, err := readAdapter(filepath.Join(dir, adapterDir))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		err = unfinished(dir)
	case errors.Is(err, ErrCorrupt) && IsRun(dir, checkpointsDir):
		err = fmt.Errorf("%w; remove %s, and deeplora train --resume --out %s writes it again from the last checkpoint", err, filepath.Join(dir, resultJSON), dir)
	}
	return c, info, values, err
}

func unfinished(dir string) error {
	return fmt.Errorf("%s has no adapter yet: the run has not finished; go on with deeplora train --resume --out %s", dir, dir)
}

// Labels are the names of the model's classes, in the order of its logits.
func (s *Saved) Labels() []string { return s.Config().Labels() }

// Predict gives a row of logits [labels] for every example of a split, in their order. No example is left out:
// overlong ones are truncated, and counted.
func (s *Saved) Predict(ctx context.Context, split *data.Split, progress func(done, total int)) (logits [][]float32, truncated int, err error) {
	e, err := encodeSplit(s.Tokenizer, split, s.Run.MaxLength, OverlongTruncate)
	if err != nil {
		return nil, 0, err
	}
	logits, err = s.Logits(ctx, e.rows, evaluationLayout(&s.Run.Config), progress)
	return logits, e.cut, err
}
