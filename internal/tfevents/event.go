package tfevents

import (
	"fmt"
	"math"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"
)

// Scalar is a number under a name. TensorBoard puts the tags of a prefix, as "eval/", together.
type Scalar struct {
	Tag   string
	Value float32
}

// Event is the scalars of a step.
type Event struct {
	Step    int64
	Scalars []Scalar
}

func (e Event) equal(other Event) bool {
	return e.Step == other.Step && slices.EqualFunc(e.Scalars, other.Scalars, func(a, b Scalar) bool {
		return a.Tag == b.Tag && math.Float32bits(a.Value) == math.Float32bits(b.Value)
	})
}

// Fields of the messages, by their numbers in the .proto files.
const (
	eventTime, eventStep, eventVersion, eventSummary, eventSession = 1, 2, 3, 5, 7

	summaryValue                 = 1
	valueTag, valueScalar        = 1, 2
	sessionStatus, sessionStarts = 1, 1
	formatVersion                = "brain.Event:2" // what the first event of a file must say
)

// begin is an event without its content.
func begin(at time.Time, step int64) []byte {
	text := protowire.AppendTag(nil, eventTime, protowire.Fixed64Type)
	text = protowire.AppendFixed64(text, math.Float64bits(float64(at.UnixMicro())/1e6))
	if step == 0 { // a field's default is not written
		return text
	}
	return protowire.AppendVarint(protowire.AppendTag(text, eventStep, protowire.VarintType), uint64(step))
}

func appendMessage(text []byte, field protowire.Number, message []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(text, field, protowire.BytesType), message)
}

func encodeVersion(at time.Time) []byte {
	return appendMessage(begin(at, 0), eventVersion, []byte(formatVersion))
}

// encodeSession is the event that has readers forget what they have read of this step and those after it.
func encodeSession(at time.Time, step int64) []byte {
	started := protowire.AppendVarint(protowire.AppendTag(nil, sessionStatus, protowire.VarintType), sessionStarts)
	return appendMessage(begin(at, step), eventSession, started)
}

func encode(at time.Time, e Event) []byte {
	var summary []byte
	for _, s := range e.Scalars {
		value := appendMessage(nil, valueTag, []byte(s.Tag))
		value = protowire.AppendFixed32(protowire.AppendTag(value, valueScalar, protowire.Fixed32Type), math.Float32bits(s.Value))
		summary = appendMessage(summary, summaryValue, value)
	}
	return appendMessage(begin(at, e.Step), eventSummary, summary)
}

// decode reads the step and the scalars of an event; an event of another kind has no scalars.
func decode(text []byte) (e Event, err error) {
	err = fields(text, func(n protowire.Number, number uint64, message []byte) error {
		switch n {
		case eventStep:
			e.Step = int64(number)
		case eventSummary:
			return fields(message, func(n protowire.Number, _ uint64, value []byte) error {
				if n != summaryValue {
					return nil
				}
				s, err := decodeScalar(value)
				e.Scalars = append(e.Scalars, s)
				return err
			})
		}
		return nil
	})
	return e, err
}

func decodeScalar(text []byte) (s Scalar, err error) {
	err = fields(text, func(n protowire.Number, number uint64, tag []byte) error {
		switch n {
		case valueTag:
			s.Tag = string(tag)
		case valueScalar:
			s.Value = math.Float32frombits(uint32(number))
		}
		return nil
	})
	return s, err
}

// fields hands the fields of a message to visit: numbers as their bits, messages and strings as their bytes.
func fields(text []byte, visit func(n protowire.Number, number uint64, message []byte) error) error {
	for len(text) > 0 {
		n, kind, size := protowire.ConsumeTag(text)
		if size < 0 {
			return fmt.Errorf("%w: %w", errDamaged, protowire.ParseError(size))
		}
		text = text[size:]
		var number uint64
		var message []byte
		switch kind {
		case protowire.VarintType:
			number, size = protowire.ConsumeVarint(text)
		case protowire.Fixed32Type:
			var bits uint32
			bits, size = protowire.ConsumeFixed32(text)
			number = uint64(bits)
		case protowire.Fixed64Type:
			number, size = protowire.ConsumeFixed64(text)
		case protowire.BytesType:
			message, size = protowire.ConsumeBytes(text)
		default:
			size = protowire.ConsumeFieldValue(n, kind, text)
		}
		if size < 0 {
			return fmt.Errorf("%w: %w", errDamaged, protowire.ParseError(size))
		}
		if err := visit(n, number, message); err != nil {
			return err
		}
		text = text[size:]
	}
	return nil
}
