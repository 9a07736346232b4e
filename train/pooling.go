package train

import (
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/modelfiles"
	"github.com/deeplora/deeplora/internal/settings"
	"github.com/deeplora/deeplora/model"
)

// poolingAuto is the Pooling that the model's folder declares.
const poolingAuto = "auto"

var poolings = []string{poolingAuto, string(model.PoolHead), "cls", "mean", "max"}

// ResolvePooling replaces auto by what the model's files declare, or else by head, and says which.
func (c *Config) ResolvePooling(files fs.FS) (notice string, err error) {
	if c.Pooling != poolingAuto {
		return "", nil
	}
	declared, err := modelfiles.ReadEmbedding(files)
	switch {
	case err != nil:
		return "", settings.Error(fmt.Errorf("%w; --pooling %s says what to take instead", err, strings.Join(poolings[1:], "|")))
	case declared.From == "":
		c.Pooling = string(model.PoolHead)
		return fmt.Sprintf("pooling %s, the first token through the pooler: the model has no %s that says otherwise", c.Pooling, modelfiles.PoolingConfig), nil
	}
	if c.Pooling = declared.Pooling; c.TrainPooler && !model.Pooling(c.Pooling).HasPooler() {
		return "", settings.Error(fmt.Errorf("train-pooler: %s declares pooling %s, which has no pooler; --pooling head takes it", declared.From, c.Pooling))
	}
	return fmt.Sprintf("pooling %s, as the model's %s declares", c.Pooling, declared.From), nil
}

func containsAny(list, names []string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return slices.Contains(list, name) })
}

// brings reports whether one of the tensors is among values.
func brings(values map[string]*tensors.Tensor, names []string) bool {
	return slices.ContainsFunc(names, func(name string) bool { return values[name] != nil })
}

// trainDrawn has a pooler that was drawn new trained with the head, where that is trained.
func (c *Config) trainDrawn(checkpoint *model.Checkpoint) {
	if _, whole := lookupWhole(c.Method); (c.TrainHead || whole) && containsAny(checkpoint.Fresh, checkpoint.Config.PoolerNames()) {
		c.TrainPooler = true
	}
}
