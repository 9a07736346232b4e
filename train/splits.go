package train

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"

	"github.com/deeplora/deeplora/data"
)

// This file is how a finished run finds its examples again.

// Split reads a split to evaluate the run on. from is a directory, or what else Config.Data may be; empty: what the run was
// trained and validated with. Where from is the run's own training file, as one that was moved, split validation is the rows
// of it that were kept for that: all others have been trained on.
func (p *Predictor) Split(ctx context.Context, sources Sources, from, split string) (*data.Split, error) {
	if from == "" && split == data.Validation {
		if held, err := p.heldPart(ctx, sources); held != nil || err != nil {
			return held, err
		}
	}
	s, err := p.split(ctx, sources, from, split)
	if err != nil || from == "" || split != data.Validation || p.from == nil {
		return s, err
	}
	m, err := p.from.Manifest()
	if errors.Is(err, fs.ErrNotExist) || err == nil && (m.Held == nil || m.SHA256 != s.Source.SHA256) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	_, held, _, err := m.HeldOut(s)
	if err == nil {
		held.Notices = append(held.Notices, fmt.Sprintf("%s is what the run was trained on: these are the rows of it that were kept for validation", s.Source.File))
	}
	return held, err
}

func (p *Predictor) split(ctx context.Context, sources Sources, from, split string) (*data.Split, error) {
	c := &p.Run.Config
	switch {
	case c.Data == memoryData && from != "": // whose task says no columns
		return sources.Files(ctx, *c, from, p.Task, split)
	case !p.Task.Own() || p.from == nil:
		return sources.Split(ctx, cmp.Or(from, c.Data), p.Task, split)
	case from != "":
		return sources.Files(ctx, *c, from, p.Task, split)
	case split == data.Train:
		return p.from.heldOut(ctx, sources, split)
	}
	s, err := sources.ownFile(ctx, c, p.Task, split)
	switch {
	case err == nil && s == nil && split == data.Validation:
		return p.from.heldOut(ctx, sources, split)
	case err == nil && s == nil:
		return nil, fmt.Errorf("the run has no %s file; give --data", split)
	}
	return s, err
}

// Trained reads the examples that the run was trained on, in the order of their draw: those of its manifest, read from the
// file that they were drawn from. from is a directory or a file where that lies now, or what else Config.Data may be; empty:
// where the run says. It is an error if the file is another, or if the run has no manifest, as an imported one.
func (p *Predictor) Trained(ctx context.Context, sources Sources, from string) (*data.Split, error) {
	if p.from == nil {
		return nil, errors.New("a checkpoint does not say what it was trained on")
	}
	m, err := p.from.Manifest()
	if err != nil {
		return nil, err
	}
	c := &p.Run.Config
	var all *data.Split
	switch {
	case p.Task.Own() && from == "":
		all, err = sources.ownFile(ctx, c, p.Task, data.Train)
	case p.Task.Own():
		all, err = sources.Files(ctx, *c, from, p.Task, data.Train)
	default:
		all, err = sources.Split(ctx, cmp.Or(from, c.Data), p.Task, data.Train)
	}
	if err != nil {
		return nil, err
	}
	if all, _, _, err = m.HeldOut(all); err != nil {
		return nil, err
	}
	if c.Overlong == overlongDrop { // before the draw, as in training
		e, err := encodeSplit(p.Tokenizer, all, c.MaxLength, c.Overlong)
		if err != nil {
			return nil, err
		}
		all = e.split
	}
	return m.Replay(all)
}

// Manifest reads the run's draw. An imported adapter has none: the error is fs.ErrNotExist.
func (f *Finished) Manifest() (*data.Manifest, error) {
	return data.ReadManifest(filepath.Join(f.Dir, manifestJSON))
}

// Result reads what the run wrote when it finished. Of an imported adapter it has no metrics.
func (f *Finished) Result() (Result, error) { return ReadResult(f.Dir) }
