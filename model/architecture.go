package model

import (
	"errors"
	"strings"
)

// Architecture is one of Transformers' models of an encoder: which tensors belong to it.
type Architecture int

const (
	SequenceClassification Architecture = iota // BertForSequenceClassification: a pooler and a classifier
	MaskedLM                                   // BertForMaskedLM with a pooler, as BertForPreTraining has one
	Encoder                                    // BertModel without its pooler
)

// String is the name in config.json's architectures.
func (a Architecture) String() string {
	switch a {
	case MaskedLM:
		return "BertForMaskedLM"
	case Encoder:
		return "BertModel"
	default:
		return "BertForSequenceClassification"
	}
}

// check refuses a config whose tensors would be misread as the architecture's.
func (a Architecture) check(c *Config) error {
	if a == MaskedLM && string(c.Raw["tie_word_embeddings"]) == "false" {
		return errors.New("tie_word_embeddings is false; a BertForMaskedLM is read with its word embeddings for decoder")
	}
	return nil
}

func (a Architecture) specs(c *Config) []Spec {
	switch a {
	case MaskedLM:
		return c.maskedLMSpecs()
	case Encoder:
		specs := c.encoderSpecs()
		kept := specs[:0]
		for _, s := range specs {
			if !strings.HasPrefix(s.Name, poolerDense+".") {
				kept = append(kept, s)
			}
		}
		return kept
	default:
		return c.Specs()
	}
}

// ignores reports whether a tensor, by its name in a file, belongs to a part that the architecture, or its pooling, lacks. The
// decoder of a masked-LM head is the word embeddings once more, and its bias cls.predictions.bias.
func (a Architecture) ignores(name string, p Pooling) bool {
	switch {
	case strings.HasPrefix(name, "cls.predictions.") && !strings.HasPrefix(name, "cls.predictions.decoder."):
		return a != MaskedLM
	case strings.HasPrefix(name, "cls."):
		return true
	case strings.HasPrefix(name, classifier+"."):
		return a != SequenceClassification
	default:
		return (a == Encoder || !p.HasPooler()) && strings.HasPrefix(strings.TrimPrefix(name, "bert."), "pooler.")
	}
}
