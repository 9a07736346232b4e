package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/deeplora/deeplora/internal/jsonfile"
	"github.com/deeplora/deeplora/internal/readfile"
	"github.com/deeplora/deeplora/internal/settings"
	"github.com/deeplora/deeplora/model"
)

// poolingAuto is the Pooling that the model's folder declares.
const poolingAuto = "auto"

// poolingFile is where sentence-transformers says how an encoder pools.
const poolingFile = "1_Pooling/config.json"

var poolings = []string{poolingAuto, string(model.PoolHead), "cls", "mean", "max"}

// ResolvePooling replaces auto by what the model's files declare, or else by head, and says which.
func (c *Config) ResolvePooling(files fs.FS) (notice string, err error) {
	if c.Pooling != poolingAuto {
		return "", nil
	}
	declared, err := declaredPooling(files)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.Pooling = string(model.PoolHead)
		return fmt.Sprintf("pooling %s, the first token through the pooler: the model has no %s that says otherwise", c.Pooling, poolingFile), nil
	case err != nil:
		return "", settings.Error(fmt.Errorf("%s: %w; --pooling %s says what to take instead", poolingFile, err, strings.Join(poolings[1:], "|")))
	}
	if c.Pooling = string(declared); c.TrainPooler && !declared.HasPooler() {
		return "", settings.Error(fmt.Errorf("train-pooler: %s declares pooling %s, which has no pooler; --pooling head takes it", poolingFile, declared))
	}
	return fmt.Sprintf("pooling %s, as the model's %s declares", c.Pooling, poolingFile), nil
}

// declared are the poolings by the names that sentence-transformers has for them: in "pooling_mode", and before it as flags.
var declared = map[string]model.Pooling{
	"cls": "cls", "mean": "mean", "max": "max",
	"cls_token": "cls", "mean_tokens": "mean", "max_tokens": "max",
}

// declaredPooling reads the one pooling that a model's folder declares.
func declaredPooling(files fs.FS) (model.Pooling, error) {
	text, err := readfile.FS(files, poolingFile, 1<<20)
	if err != nil {
		return "", err
	}
	fields, err := jsonfile.Fields(text)
	if err != nil {
		return "", err
	}
	var modes []string
	flags := map[string]bool{"mean_tokens": true} // sentence-transformers' default where a file does not say
	for _, f := range fields {
		if f.Name == "pooling_mode" {
			if modes, err = wordOrWords(f.Value); err != nil {
				return "", fmt.Errorf("pooling_mode: %w", err)
			}
		}
		if name, ok := strings.CutPrefix(f.Name, "pooling_mode_"); ok {
			var set bool
			if err := json.Unmarshal(f.Value, &set); err != nil {
				return "", fmt.Errorf("%s is %s; want true or false", f.Name, f.Value)
			}
			flags[name] = set
		}
	}
	if modes == nil {
		for name, set := range flags {
			if set {
				modes = append(modes, name)
			}
		}
		slices.Sort(modes)
	}
	if len(modes) != 1 {
		return "", fmt.Errorf("%d poolings are declared (%s), one after the other in a longer vector; one is supported", len(modes), strings.Join(modes, ", "))
	}
	pooling, known := declared[modes[0]]
	if !known {
		return "", fmt.Errorf("pooling %q is declared; cls, mean and max are supported", modes[0])
	}
	return pooling, nil
}

func wordOrWords(value json.RawMessage) (words []string, err error) {
	if err = json.Unmarshal(value, &words); err == nil && words != nil {
		return words, nil
	}
	var word string
	if err := json.Unmarshal(value, &word); err != nil {
		return nil, fmt.Errorf("%s; want a name", value)
	}
	return []string{word}, nil
}

// poolerNames are the tensors of the pooler.
var poolerNames = []string{model.PoolerWeight, model.PoolerBias}

// trainDrawn has a pooler that was drawn new trained with the head, where that is trained.
func (c *Config) trainDrawn(checkpoint *model.Checkpoint) {
	if _, whole := lookupWhole(c.Method); (c.TrainHead || whole) && slices.Contains(checkpoint.Fresh, model.PoolerWeight) {
		c.TrainPooler = true
	}
}
