package data

import (
	"errors"
	"fmt"

	"github.com/deeplora/deeplora/internal/tokenizer"
)

// parts are what a tokenizer that is not BERT's is put together from, as tokenizer.json has them.
type parts struct {
	normalizer, preTokenizer []byte // JSON; empty: none
	bpe                      *tokenizer.BPE
	unigram                  *tokenizer.Unigram
}

// pipelineTokenizer is a tokenizer of those parts.
type pipelineTokenizer struct {
	*vocabulary
}

var _ Tokenizer = pipelineTokenizer{}

func (t pipelineTokenizer) Encode(text string) ([]int32, error) {
	if err := checkText(text); err != nil {
		return nil, err
	}
	return t.pipeline.Encode(make([]int32, 0, len(text)/3+4), text), nil
}

// newGoTokenizer makes a tokenizer in Go.
func newGoTokenizer(v *vocabulary) Tokenizer {
	if v.pipeline != nil {
		return pipelineTokenizer{v}
	}
	return newWordPiece(v)
}

// build makes the pipeline of v, yet without added tokens.
func (v *vocabulary) build(p parts) error {
	normalizer, err := tokenizer.ParseNormalizer(p.normalizer)
	if err != nil {
		return inPart("normalizer", err)
	}
	pre, bytes, err := tokenizer.ParsePreTokenizer(p.preTokenizer)
	if err != nil {
		return inPart("pre_tokenizer", err)
	}
	var model tokenizer.Model
	if p.bpe != nil {
		p.bpe.Bytes = bytes
		model, err = p.bpe.Model()
	} else if bytes {
		return inPart("pre_tokenizer", errBytes)
	} else {
		model, err = p.unigram.Model()
	}
	if err != nil {
		return inPart("model", err)
	}
	v.parts = p
	v.ids = model.IDs()
	v.pipeline = &tokenizer.Pipeline{Normalizer: normalizer, PreTokenizer: pre, Model: model}
	if p.unigram != nil {
		v.size = len(p.unigram.Pieces)
		v.tokens = make(map[int32]string, v.size)
		for id, piece := range p.unigram.Pieces {
			v.tokens[int32(id)] = piece.Text
		}
		return nil
	}
	return v.index()
}

var errBytes = errors.New("ByteLevel stands before a model other than BPE, which is not supported")

// inPart says which part of a tokenizer an error is of.
func inPart(part string, err error) error { return fmt.Errorf("%s: %w", part, err) }
