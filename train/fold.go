package train

import (
	"context"
	"fmt"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/settings"
)

// This file is how a run is measured on a part of its own draw, so that a setting can be chosen without a look at the
// validation file (Config.Fold).

// parseFold reads "2/4": the second of four parts.
func parseFold(text string) (part, parts int, err error) {
	_, err = fmt.Sscanf(text, "%d/%d", &part, &parts)
	if err != nil || fmt.Sprintf("%d/%d", part, parts) != text || part < 1 || part > parts || parts < 2 {
		return 0, 0, fmt.Errorf("%q is not a part of several; want one such as 1/4, the first of four", text)
	}
	return part, parts, nil
}

func checkFold(value any) error {
	_, _, err := parseFold(value.(string))
	return err
}

// hold takes the part of the draw that the settings name out of training.
func (in *inputs) hold(c *Config, drawn *data.Split) (left *data.Split, err error) {
	part, parts, err := parseFold(c.Fold)
	if err != nil {
		return nil, err
	}
	if left, in.held, err = in.manifest.Fold(drawn, part, parts, c.Seed); err != nil {
		return nil, settings.Error(fmt.Errorf("%s: %w", drawn.Source.File, err))
	}
	in.noteHeld()
	return left, nil
}

// replay draws what the manifest says, and holds what it holds.
func (in *inputs) replay(c *Config, all *data.Split) (drawn *data.Split, err error) {
	m := in.manifest
	if !folded(m) {
		return m.Replay(all)
	}
	fold := fmt.Sprintf("%d/%d", m.Held.Part, m.Held.Parts)
	if c.Fold != "" && c.Fold != fold {
		return nil, settings.Error(fmt.Errorf("fold: it is %s, and part %s of the draw is held by %s; leave --fold out", c.Fold, fold, c.Manifest))
	}
	c.Fold = fold
	left, held, _, err := m.HeldOut(all)
	if err != nil {
		return nil, err
	}
	in.held = held
	in.noteHeld()
	return m.Replay(left)
}

// heldFromDraw reports whether a run is measured on a part of its draw. A manifest that cannot be read is for its reader to
// say.
func (c *Config) heldFromDraw() bool {
	if c.Fold != "" || c.Manifest == "" {
		return c.Fold != ""
	}
	m, err := data.ReadManifest(c.Manifest)
	return err == nil && folded(m)
}

func folded(m *data.Manifest) bool { return m.Held != nil && m.Held.Parts > 0 }

// noteHeld has the run say what it is measured on.
func (in *inputs) noteHeld() {
	h := in.manifest.Held
	in.held.Notices = append(in.held.Notices, fmt.Sprintf("%s: %d of the %d rows drawn, part %d of %d, are kept from training, and the run is measured on them in the place of a validation file",
		in.held.Source.File, len(in.held.Examples), in.manifest.N+len(in.held.Examples), h.Part, h.Parts))
}

// heldPart reads what a finished run was measured on, if that is a part of its draw; nil: it is not.
func (p *Predictor) heldPart(ctx context.Context, sources Sources) (*data.Split, error) {
	c := &p.Run.Config
	if c.Fold == "" || p.from == nil || c.Data == memoryData {
		return nil, nil
	}
	m, err := p.from.Manifest()
	if err != nil {
		return nil, err
	}
	all, err := p.split(ctx, sources, c.Data, data.Train)
	if err != nil {
		return nil, err
	}
	_, held, _, err := m.HeldOut(all)
	return held, err
}
