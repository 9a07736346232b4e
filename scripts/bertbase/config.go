package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
)

// config is a config.json: the sizes the tensors follow from, and every field as it stands, because
// what is not understood here is kept.
type config struct {
	ModelType        string            `json:"model_type"`
	Vocab            int               `json:"vocab_size"`
	Hidden           int               `json:"hidden_size"`
	Layers           int               `json:"num_hidden_layers"`
	Heads            int               `json:"num_attention_heads"`
	Intermediate     int               `json:"intermediate_size"`
	Positions        int               `json:"max_position_embeddings"`
	TokenTypes       int               `json:"type_vocab_size"`
	PadID            int               `json:"pad_token_id"`
	InitializerRange float64           `json:"initializer_range"`
	LabelNames       map[string]string `json:"id2label"`

	labels int
	fields map[string]any // numbers as json.Number: 1e-12 stays 1e-12
}

// readConfig reads a config.json; what it leaves out has Transformers' default (formats.md 1.1).
func readConfig(path string) (*config, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	c := &config{
		Vocab: 30522, Hidden: 768, Layers: 12, Heads: 12, Intermediate: 3072,
		Positions: 512, TokenTypes: 2, InitializerRange: 0.02, labels: 2,
	}
	if err := json.Unmarshal(text, c); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	fields := json.NewDecoder(bytes.NewReader(text))
	fields.UseNumber()
	if err := fields.Decode(&c.fields); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if c.ModelType != "bert" {
		return nil, fmt.Errorf("%s: model_type is %q, want \"bert\"", path, c.ModelType)
	}
	if len(c.LabelNames) > 0 {
		c.labels = len(c.LabelNames)
	}
	return c, nil
}

// override sets the number of layers and labels, where not 0, and checks the sizes.
func (c *config) override(layers, labels int) error {
	if layers != 0 {
		c.Layers = layers
	}
	if labels != 0 {
		c.labels = labels
		c.nameLabels()
	}
	for _, size := range []struct {
		name  string
		value int
	}{
		{"vocab_size", c.Vocab},
		{"hidden_size", c.Hidden},
		{"num_hidden_layers", c.Layers},
		{"num_attention_heads", c.Heads},
		{"intermediate_size", c.Intermediate},
		{"max_position_embeddings", c.Positions},
		{"type_vocab_size", c.TokenTypes},
		{"the number of labels", c.labels},
	} {
		if size.value < 1 {
			return fmt.Errorf("%s is %d, want 1 or more", size.name, size.value)
		}
	}
	if c.Hidden%c.Heads != 0 {
		return fmt.Errorf("hidden_size %d does not divide by num_attention_heads %d", c.Hidden, c.Heads)
	}
	if c.PadID < 0 || c.PadID >= c.Vocab {
		return fmt.Errorf("pad_token_id %d is not below vocab_size %d", c.PadID, c.Vocab)
	}
	return nil
}

// nameLabels gives the labels their default names and drops a problem type that was another head's.
func (c *config) nameLabels() {
	names, ids := map[string]string{}, map[string]int{}
	for i := range c.labels {
		name := "LABEL_" + strconv.Itoa(i)
		names[strconv.Itoa(i)], ids[name] = name, i
	}
	c.fields["id2label"], c.fields["label2id"] = names, ids
	delete(c.fields, "problem_type")
}

// text is the config.json to write, with sorted fields.
func (c *config) text() ([]byte, error) {
	c.fields["architectures"] = []string{"BertForSequenceClassification"}
	c.fields["num_hidden_layers"] = c.Layers
	delete(c.fields, "_name_or_path") // it would name the model this one is not
	delete(c.fields, "torch_dtype")
	c.fields["dtype"] = "float32"
	text, err := json.MarshalIndent(c.fields, "", "  ")
	return append(text, '\n'), err
}

// file is a small file held in memory.
type file struct {
	name    string
	content []byte
}

// tokenizerFiles reads those files of a tokenizer that dir has, and checks the vocabulary's size where
// it can be told from the number of lines.
func tokenizerFiles(dir string, c *config) ([]file, error) {
	var files []file
	usable := false
	for _, name := range []string{"tokenizer.json", "vocab.txt", "tokenizer_config.json", "special_tokens_map.json"} {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if lines := bytes.Count(content, []byte("\n")); name == "vocab.txt" && lines != c.Vocab {
			return nil, fmt.Errorf("%s/vocab.txt has %d lines, but vocab_size is %d; are tokenizer and config of one model?", dir, lines, c.Vocab)
		}
		usable = usable || name == "tokenizer.json" || name == "vocab.txt"
		files = append(files, file{name, content})
	}
	if !usable {
		return nil, fmt.Errorf("%s has neither tokenizer.json nor vocab.txt; name a tokenizer's directory", dir)
	}
	return files, nil
}
