package main

import (
	"strings"
	"testing"

	"github.com/deeplora/deeplora/train"
	"github.com/deeplora/deeplora/train/loop"
)

// A setting that a resumed run would not take is refused: one that may not change, and one that is given as its default,
// which cannot be told from what nobody gave.
func TestKeptSettings(t *testing.T) {
	for name, c := range map[string]struct {
		setting    string
		saved, set func(c *train.Config)
		refused    bool
	}{
		"may not change":   {"rank", func(*train.Config) {}, func(c *train.Config) { c.Rank = 3 }, true},
		"the same":         {"rank", func(c *train.Config) { c.Rank = 3 }, func(c *train.Config) { c.Rank = 3 }, false},
		"may change":       {"tensorboard", func(*train.Config) {}, func(c *train.Config) { c.TensorBoard = true }, false},
		"back to default":  {"tensorboard", func(c *train.Config) { c.TensorBoard = true }, func(*train.Config) {}, true},
		"back to stopping": {"on-nonfinite", func(c *train.Config) { c.OnNonfinite = loop.NonfiniteSkip }, func(*train.Config) {}, true},
		"not given":        {"", func(c *train.Config) { c.TensorBoard = true }, func(*train.Config) {}, false},
	} {
		saved, given := train.Default(), train.Default()
		c.saved(&saved)
		c.set(&given)
		err := keptSettings(train.Settings(), func(name string) bool { return name == c.setting }, &saved, &given, "out")
		if refused := err != nil && strings.HasPrefix(err.Error(), "--"+c.setting); refused != c.refused {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
