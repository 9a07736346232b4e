package model

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Architecture is one of Transformers' models of an encoder: which tensors belong to it.
type Architecture int

const (
	SequenceClassification Architecture = iota // BertForSequenceClassification and its like: a pooler and a classifier
	MaskedLM                                   // BertForMaskedLM with a pooler, as BertForPreTraining has one
	Base                                       // BertModel and its like, without a pooler
)

// Class is the name in config.json's architectures.
func (a Architecture) Class(c *Config) string {
	name := c.kind().classes[c.ModelType]
	if name == "" {
		name = "Bert"
	}
	return name + map[Architecture]string{SequenceClassification: "ForSequenceClassification", MaskedLM: "ForMaskedLM", Base: "Model"}[a]
}

// check refuses a config whose tensors would be misread as the architecture's.
func (a Architecture) check(c *Config) error {
	switch {
	case a == MaskedLM && c.kind() != &bertFamily:
		return fmt.Errorf("model_type is %q; the head of a masked language model is read of bert alone", c.ModelType)
	case a == MaskedLM && string(c.Raw["tie_word_embeddings"]) == "false":
		return errors.New("tie_word_embeddings is false; a BertForMaskedLM is read with its word embeddings for decoder")
	}
	return nil
}

func (a Architecture) specs(c *Config) []Spec {
	switch a {
	case MaskedLM:
		return c.maskedLMSpecs()
	case Base:
		return normsLast(c.family().modules(c))
	default:
		return c.Specs()
	}
}

// tensorNames tells the names of an architecture's tensors from others in its files.
type tensorNames struct {
	prefix  string   // of the encoder's
	tops    []string // how the encoder's begin without it: up to the first dot
	heads   []string // how those of heads begin
	ignored []string // the beginnings of names of tensors that the architecture lacks
	kernels []string // of the layers: a file that has none of them holds no encoder of this family
}

func (a Architecture) names(c *Config) tensorNames {
	n := tensorNames{prefix: c.kind().prefix}
	top := func(name string) string { first, _, _ := strings.Cut(name, "."); return first }
	whole := *c
	whole.Pooling = PoolHead
	for _, spec := range whole.Specs() {
		if short, ok := strings.CutPrefix(spec.Name, n.prefix); ok {
			n.tops = append(n.tops, top(short))
		} else {
			n.heads = append(n.heads, top(spec.Name))
		}
	}
	for _, k := range c.Kernels() {
		if short, ok := strings.CutPrefix(k.Weight(), n.prefix); ok && !k.Lookup {
			n.kernels = append(n.kernels, short)
		}
	}
	for _, m := range whole.pooler() {
		if a == Base || !c.Pooling.HasPooler() {
			n.ignored = append(n.ignored, m.name+".")
		}
	}
	if a != SequenceClassification {
		n.ignored = append(n.ignored, whole.output().name+".")
	}
	for _, unused := range c.kind().unused {
		if used := func(s Spec) bool { return strings.HasPrefix(s.Name, n.prefix+unused) }; !slices.ContainsFunc(c.Specs(), used) {
			n.ignored = append(n.ignored, n.prefix+unused)
		}
	}
	if c.kind() == &bertFamily {
		n.heads = append(n.heads, "cls")
	}
	if c.otherClassifier() {
		n.heads = slices.DeleteFunc(n.heads, func(h string) bool { return h == classifier })
	}
	return n
}

// canonical is a tensor's name as this package has it, from its name in a file, and whether it is the encoder's.
func (n tensorNames) canonical(name string) (to string, encoders bool) {
	first, _, _ := strings.Cut(name, ".")
	if !strings.HasPrefix(name, n.prefix) && slices.Contains(n.heads, first) {
		return modernNorm(name), false
	}
	return n.prefix + modernNorm(strings.TrimPrefix(name, n.prefix)), true
}

// ignores reports whether a tensor, by its canonical name, belongs to a part that the architecture, or its pooling, lacks. The
// decoder of a masked-LM head is the word embeddings once more, and its bias cls.predictions.bias.
func (a Architecture) ignores(name string, n tensorNames) bool {
	switch {
	case strings.HasPrefix(name, "cls.predictions.") && !strings.HasPrefix(name, "cls.predictions.decoder."):
		return a != MaskedLM
	case strings.HasPrefix(name, "cls."):
		return true
	default:
		return slices.ContainsFunc(n.ignored, func(p string) bool { return strings.HasPrefix(name, p) })
	}
}
