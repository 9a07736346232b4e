package tokenizer

import (
	"errors"
	"fmt"
	"math"
	"unicode/utf8"

	"google.golang.org/protobuf/encoding/protowire"
)

// SentencePiece is what a file of SentencePiece's says of its model.
type SentencePiece struct {
	Pieces       []SentencePieceToken
	Kind         uint64 // UnigramKind, or another
	UnknownID    int
	ByteFallback bool
	Charsmap     []byte // compiled rewritings
}

// SentencePieceToken is a token with its score.
type SentencePieceToken struct {
	Piece
	Kind uint64 // NormalPiece and so on
}

// UnigramKind is the kind of a model that Unigram computes.
const UnigramKind = 1

// Kinds of tokens.
const (
	NormalPiece  = 1
	ControlPiece = 3 // <s>: never a part of text
	UserPiece    = 4 // taken whole wherever it stands
)

// ReadSentencePiece reads a SentencePiece model, a message of protocol buffers.
func ReadSentencePiece(content []byte) (*SentencePiece, error) {
	s := &SentencePiece{Kind: UnigramKind}
	err := fields(content, func(number protowire.Number, value wireValue) error {
		switch number {
		case 1:
			piece, err := readPiece(value.bytes)
			if err != nil {
				return fmt.Errorf("token %d: %w", len(s.Pieces), err)
			}
			s.Pieces = append(s.Pieces, piece)
		case 2:
			return fields(value.bytes, s.trainer)
		case 3:
			return fields(value.bytes, func(number protowire.Number, value wireValue) error {
				if number == 2 {
					s.Charsmap = value.bytes
				}
				return nil
			})
		}
		return nil
	})
	if err == nil && len(s.Pieces) == 0 {
		err = errors.New("it has no tokens")
	}
	if err != nil {
		return nil, fmt.Errorf("no SentencePiece model, or a damaged one: %w", err)
	}
	return s, nil
}

// trainer takes what the message of training says.
func (s *SentencePiece) trainer(number protowire.Number, value wireValue) error {
	switch number {
	case 3:
		s.Kind = value.number
	case 35:
		s.ByteFallback = value.number != 0
	case 40:
		if value.number > math.MaxInt32 {
			return fmt.Errorf("unk_id is %d", int64(value.number))
		}
		s.UnknownID = int(value.number)
	}
	return nil
}

func readPiece(content []byte) (t SentencePieceToken, err error) {
	t.Kind = NormalPiece
	err = fields(content, func(number protowire.Number, value wireValue) error {
		switch number {
		case 1:
			t.Text = string(value.bytes)
		case 2:
			t.Score = float64(math.Float32frombits(uint32(value.number)))
		case 3:
			t.Kind = value.number
		}
		return nil
	})
	if err == nil && !utf8.ValidString(t.Text) {
		err = fmt.Errorf("%.40q is not UTF-8", t.Text)
	}
	return t, err
}

// wireValue is a field's value: bytes, or a number.
type wireValue struct {
	bytes  []byte
	number uint64
}

// fields calls each with every field of a message.
func fields(content []byte, each func(protowire.Number, wireValue) error) error {
	for len(content) > 0 {
		number, kind, n := protowire.ConsumeTag(content)
		if n < 0 {
			return protowire.ParseError(n)
		}
		content = content[n:]
		var value wireValue
		switch kind {
		case protowire.VarintType:
			value.number, n = protowire.ConsumeVarint(content)
		case protowire.Fixed32Type:
			var bits uint32
			bits, n = protowire.ConsumeFixed32(content)
			value.number = uint64(bits)
		case protowire.BytesType:
			value.bytes, n = protowire.ConsumeBytes(content)
		default:
			n = protowire.ConsumeFieldValue(number, kind, content)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		content = content[n:]
		if err := each(number, value); err != nil {
			return err
		}
	}
	return nil
}
