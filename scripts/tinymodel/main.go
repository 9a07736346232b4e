// Command tinymodel makes the encoder that is embedded in the program: a small BERT with seeded random
// weights and a vocabulary of the most frequent words of STS-B's training sentences. It stands in until a
// pretrained one is there; the same files come out for the same input.
//
//	go run ./scripts/tinymodel --data ./glue/STS-B --out internal/builtin/tiny
package main

import (
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/atomicfile"
	"github.com/deeplora/deeplora/internal/rng"
	"github.com/deeplora/deeplora/internal/safetensors"
	"github.com/deeplora/deeplora/model"
)

const seed = 0

// config is the encoder's config.json.
var config = map[string]any{
	"architectures": []string{"BertModel"}, "model_type": "bert",
	"hidden_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 512, "hidden_act": "gelu",
	"max_position_embeddings": 128, "type_vocab_size": 2, "layer_norm_eps": 1e-12, "initializer_range": 0.02,
	"hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1, "pad_token_id": 0, "position_embedding_type": "absolute",
}

func main() {
	from := flag.String("data", "", "folder with STS-B's train.tsv")
	out := flag.String("out", "", "folder to write")
	size := flag.Int("vocab-size", 4096, "tokens of the vocabulary")
	flag.Parse()
	if err := run(*from, *out, *size); err != nil {
		fmt.Fprintln(os.Stderr, "tinymodel:", err)
		os.Exit(1)
	}
}

func run(from, out string, size int) error {
	task, err := data.LookupTask("stsb")
	if err != nil {
		return err
	}
	train, err := data.Load(from, task, data.Train)
	if err != nil {
		return err
	}
	vocabulary := words(train.Examples, size)
	if err := os.MkdirAll(out, 0o755); err != nil {
		return err
	}
	if err := writeText(out, "vocab.txt", strings.Join(vocabulary, "\n")+"\n"); err != nil {
		return err
	}
	tokenizer := map[string]any{"do_lower_case": true, "tokenizer_class": "BertTokenizer", "model_max_length": 128}
	if err := writeJSON(out, "tokenizer_config.json", tokenizer); err != nil {
		return err
	}
	config["vocab_size"] = len(vocabulary)
	if err := writeJSON(out, "config.json", config); err != nil {
		return err
	}
	return writeWeights(out)
}

// words is a WordPiece vocabulary: BERT's special tokens, every letter and sign alone and as a continuation,
// then the most frequent words.
func words(examples []data.Example, size int) []string {
	counts, signs := map[string]int{}, map[string]bool{}
	for _, e := range examples {
		for _, text := range []string{e.Text, e.Pair} {
			for _, w := range split(strings.ToLower(text)) {
				counts[w]++
			}
		}
	}
	for r := rune(33); r < 127; r++ {
		if !unicode.IsUpper(r) {
			signs[string(r)] = true
		}
	}
	vocabulary := []string{"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"}
	for _, s := range slices.Sorted(maps.Keys(signs)) {
		vocabulary = append(vocabulary, s)
		if unicode.IsLetter(rune(s[0])) || unicode.IsDigit(rune(s[0])) {
			vocabulary = append(vocabulary, "##"+s)
		}
	}
	frequent := slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	})
	for _, w := range frequent {
		if len(vocabulary) == size {
			break
		}
		if !signs[w] {
			vocabulary = append(vocabulary, w)
		}
	}
	return vocabulary
}

// split cuts a text where BERT's pre-tokenizer does, for plain ASCII text; other words are left to pieces.
func split(text string) []string {
	var words []string
	for _, field := range strings.Fields(text) {
		for _, w := range strings.FieldsFunc(field, func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) }) {
			if strings.IndexFunc(w, func(r rune) bool { return r > 126 }) < 0 {
				words = append(words, w)
			}
		}
	}
	return words
}

// writeWeights draws the weights as Transformers initialises a new model, in float16.
func writeWeights(out string) error {
	c, err := model.ReadConfig(os.DirFS(out), "config.json")
	if err != nil {
		return err
	}
	var entries []safetensors.Entry
	for _, spec := range c.Specs() {
		if strings.HasPrefix(spec.Name, "classifier.") {
			continue
		}
		n := 1
		for _, d := range spec.Shape {
			n *= d
		}
		values := make([]float32, n)
		stream := rng.New(seed, "tinymodel", spec.Name)
		for i := range values {
			switch {
			case len(spec.Shape) == 2:
				values[i] = float32(c.InitializerRange * stream.Normal())
			case strings.HasSuffix(spec.Name, "LayerNorm.weight"):
				values[i] = 1
			}
		}
		entries = append(entries, safetensors.Entry{Name: strings.TrimPrefix(spec.Name, "bert."), Shape: spec.Shape, Data: safetensors.F16(values)})
	}
	return atomicfile.Write(filepath.Join(out, "model.safetensors"), func(w io.Writer) error {
		return safetensors.Write(w, entries, map[string]string{"format": "pt"})
	})
}

func writeJSON(dir, name string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	return writeText(dir, name, string(text)+"\n")
}

func writeText(dir, name, text string) error {
	return atomicfile.Write(filepath.Join(dir, name), func(w io.Writer) error {
		_, err := io.WriteString(w, text)
		return err
	})
}
