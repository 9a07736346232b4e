package modelfiles

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/deeplora/deeplora/internal/readfile"
)

// Poolings of an encoder's last states.
const (
	CLS  = "cls"  // that of the first token
	Mean = "mean" // their mean over the real tokens
	Max  = "max"  // their largest, feature by feature, over the real tokens
)

// Embedding is how a model's folder says that a text's embedding is made of the encoder's last states. Whether it is
// scaled to length 1 at last is not in it: cosines do not see lengths.
type Embedding struct {
	Pooling   string
	From      string // the file that says so; empty: none does, and it is mean, as of most encoders
	MaxLength int    // in tokens; 0: not said
	Lower     bool   // texts are made small before the tokenizer sees them
}

// most is how many bytes one of these files may have.
const most = 1 << 20

// ReadEmbedding reads the files of sentence-transformers. What they ask for beside one pooling, and lengths, is an error
// that names it: an embedding without it would be another.
func ReadEmbedding(files fs.FS) (e Embedding, err error) {
	at, err := poolingOf(files)
	if err != nil {
		return e, fmt.Errorf("%s: %w", Modules, err)
	}
	if e.Pooling, err = readPooling(files, at); err == nil {
		e.From = at
	} else if !errors.Is(err, fs.ErrNotExist) {
		return e, fmt.Errorf("%s: %w", at, err)
	} else if e.Pooling = Mean; has(files, Modules) {
		return e, fmt.Errorf("%s: pooling lies in %s, which is missing; copy it from where the model came from", Modules, at)
	}
	return e, e.readDetails(files)
}

func has(files fs.FS, name string) bool {
	_, err := fs.Stat(files, name)
	return err == nil
}

// poolingOf finds the config of the pooling in the list of modules, and refuses modules that change an embedding.
func poolingOf(files fs.FS) (config string, err error) {
	var modules []struct{ Type, Path string }
	if err := read(files, Modules, &modules); errors.Is(err, fs.ErrNotExist) {
		return PoolingConfig, nil
	} else if err != nil {
		return "", err
	}
	for i, m := range modules {
		switch kind := m.Type[strings.LastIndexByte(m.Type, '.')+1:]; {
		case i == 0 && kind == "Transformer" && (m.Path == "" || m.Path == "."):
		case i == 0 && kind == "Transformer":
			return "", fmt.Errorf("the encoder lies in %s; give that folder, with %s beside its files", m.Path, PoolingConfig)
		case i == 1 && kind == "Pooling":
			config = path.Join(m.Path, "config.json")
		case i > 1 && kind == "Normalize": // scales to length 1, which a cosine does not see
		default:
			return "", fmt.Errorf("module %d is %s (%s); only Transformer, Pooling and Normalize are computed, in this order", i, m.Type, m.Path)
		}
	}
	if config == "" || !fs.ValidPath(config) {
		return "", errors.New("it lists no Pooling")
	}
	return config, nil
}

// poolings are the names that sentence-transformers has for poolings, in pooling_mode and, before it, as flags
// pooling_mode_…: what each is here. Empty: it is not computed.
var poolings = map[string]string{
	"cls": CLS, "mean": Mean, "max": Max, "mean_sqrt_len_tokens": Mean, "weightedmean": "", "lasttoken": "",
	"cls_token": CLS, "mean_tokens": Mean, "max_tokens": Max, // mean_sqrt_len: another length, which a cosine does not see
	"weightedmean_tokens": "", "mean_sqrt_len": Mean,
}

// readPooling reads the one pooling of a config.
func readPooling(files fs.FS, name string) (string, error) {
	var fields map[string]json.RawMessage
	if err := read(files, name, &fields); err != nil {
		return "", err
	}
	var chosen []string
	if mode, ok := fields["pooling_mode"]; ok {
		var one string
		if json.Unmarshal(mode, &one) == nil {
			chosen = []string{one}
		} else if err := json.Unmarshal(mode, &chosen); err != nil {
			return "", fmt.Errorf("pooling_mode is %.40s; want a name, as mean", mode)
		}
	} else {
		flags := map[string]bool{"mean_tokens": true} // the default where nothing is said
		for _, field := range slices.Sorted(maps.Keys(fields)) {
			if flag, ok := strings.CutPrefix(field, "pooling_mode_"); ok {
				var on bool
				if err := json.Unmarshal(fields[field], &on); err != nil {
					return "", fmt.Errorf("%s is %.40s; want true or false", field, fields[field])
				}
				flags[flag] = on
			}
		}
		for _, flag := range slices.Sorted(maps.Keys(flags)) {
			if flags[flag] {
				chosen = append(chosen, flag)
			}
		}
	}
	if len(chosen) != 1 {
		return "", fmt.Errorf("it asks for %d poolings side by side (%s); one of cls, mean and max is computed", len(chosen), strings.Join(chosen, ", "))
	}
	pooling := poolings[chosen[0]]
	if pooling == "" {
		return "", fmt.Errorf("pooling %q is not supported; cls, mean and max are", chosen[0])
	}
	return pooling, nil
}

// readDetails reads what is said of texts before the encoder.
func (e *Embedding) readDetails(files fs.FS) error {
	var sentence struct {
		Length *int `json:"max_seq_length"`
		Lower  bool `json:"do_lower_case"`
	}
	if err := read(files, SentenceConfig, &sentence); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", SentenceConfig, err)
	}
	if e.Lower = sentence.Lower; sentence.Length != nil {
		if e.MaxLength = *sentence.Length; e.MaxLength < 3 {
			return fmt.Errorf("%s: max_seq_length is %d; want at least 3 tokens", SentenceConfig, e.MaxLength)
		}
	}
	var prompts struct {
		Default *string `json:"default_prompt_name"`
	}
	if err := read(files, Prompts, &prompts); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s: %w", Prompts, err)
	}
	if prompts.Default != nil {
		return fmt.Errorf("%s: default_prompt_name is %q: texts would begin with a prompt, which is not supported", Prompts, *prompts.Default)
	}
	return nil
}

func read(files fs.FS, name string, into any) error {
	text, err := readfile.FS(files, name, most)
	if err != nil {
		return err
	}
	return json.Unmarshal(text, into)
}
