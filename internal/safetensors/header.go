package safetensors

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"unicode/utf8"
)

const (
	prefixBytes    = 8           // the header's length, little-endian
	maxHeaderBytes = 100_000_000 // the reference implementation's limit
	metadataKey    = "__metadata__"
)

// Info describes one tensor.
type Info struct {
	Name  string
	DType DType
	Shape []int // [] is a scalar; a zero dimension is an empty tensor
	Bytes int64 // elements times the element's size

	begin int64 // from the start of the data
}

// Len is the number of elements.
func (i Info) Len() int { return int(i.Bytes) / i.DType.Size() }

// header is a checked header: tensors in the order of their data, without gap or overlap.
type header struct {
	tensors  []Info
	metadata map[string]string
	dataSize int64
}

// parseHeader reads the JSON of a header. Its errors are those of the text alone; whether the tensors
// fill the file is for the caller to compare.
func parseHeader(text []byte) (header, error) {
	var h header
	if len(text) == 0 || text[0] != '{' {
		return h, errors.New("the header does not begin with '{'")
	}
	if !utf8.Valid(text) { // encoding/json would put U+FFFD in its place and names could meet
		return h, errors.New("the header is not valid UTF-8")
	}
	p := &parser{json: json.NewDecoder(bytes.NewReader(text))}
	p.json.UseNumber()
	err := p.object("the header", func(name string) error {
		if name == metadataKey {
			return p.metadata(&h)
		}
		info, err := p.tensor()
		if err != nil {
			return tensorFault(name, err)
		}
		info.Name = name
		h.tensors = append(h.tensors, info)
		return nil
	})
	if err != nil {
		return h, err
	}
	if _, err := p.json.Token(); !errors.Is(err, io.EOF) {
		return h, errors.New("the header goes on after its closing '}'; only padding may follow")
	}
	return h, h.layout()
}

// layout orders the tensors by their data and checks that they lie one behind the other.
func (h *header) layout() error {
	slices.SortStableFunc(h.tensors, func(a, b Info) int {
		return cmp.Or(cmp.Compare(a.begin, b.begin), cmp.Compare(a.Bytes, b.Bytes)) // empty ones first
	})
	previous := "the start of the data"
	for _, t := range h.tensors {
		switch {
		case t.begin > h.dataSize:
			return tensorFault(t.Name, fmt.Errorf("begins at %d, want %d: a gap after %s", t.begin, h.dataSize, previous))
		case t.begin < h.dataSize:
			return tensorFault(t.Name, fmt.Errorf("begins at %d, want %d: it overlaps %s", t.begin, h.dataSize, previous))
		}
		h.dataSize += t.Bytes // no overflow: parser.tensor held begin + Bytes to an int64
		previous = fmt.Sprintf("tensor %q", t.Name)
	}
	return nil
}

// parser reads the three levels a header has. It works on tokens because decoding into maps keeps the
// last of two equal names without a word.
type parser struct{ json *json.Decoder }

// object reads an object and calls value for each name, which must read the value. what names the
// object in errors.
func (p *parser) object(what string, value func(name string) error) error {
	if err := p.delim('{'); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return p.members(what, value)
}

// members reads an object of which the brace has been read.
func (p *parser) members(what string, value func(name string) error) error {
	seen := map[string]bool{}
	for p.json.More() {
		token, err := p.json.Token()
		if err != nil {
			return fmt.Errorf("%s: %w", what, jsonFault(err))
		}
		name := token.(string) // the decoder lets nothing else stand before a colon
		if seen[name] {
			return fmt.Errorf("%s has %q twice", what, name)
		}
		seen[name] = true
		if err := value(name); err != nil {
			return err
		}
	}
	if err := p.delim('}'); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// metadata reads the texts of a writer; one that has none may leave null.
func (p *parser) metadata(h *header) error {
	h.metadata = map[string]string{}
	token, err := p.json.Token()
	switch {
	case err != nil:
		return fmt.Errorf("%s: %w", metadataKey, jsonFault(err))
	case token == nil:
		return nil
	case token != json.Delim('{'):
		return fmt.Errorf("%s: got %v, want \"{\"", metadataKey, token)
	}
	return p.members(metadataKey, func(key string) error {
		value, err := p.text()
		if err != nil {
			return fmt.Errorf("%s: %q: %w", metadataKey, key, err)
		}
		h.metadata[key] = value
		return nil
	})
}

// tensor reads {"dtype": …, "shape": […], "data_offsets": [begin, end]} and checks the three against
// one another.
func (p *parser) tensor() (Info, error) {
	var info Info
	var dtype string
	var shape, offsets []uint64
	keys := 0
	err := p.object("its entry", func(key string) (err error) {
		keys++
		switch key {
		case "dtype":
			dtype, err = p.text()
		case "shape":
			shape, err = p.integers()
		case "data_offsets":
			offsets, err = p.integers()
		default:
			return fmt.Errorf("unknown field %q; want dtype, shape and data_offsets", key)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		return nil
	})
	if err != nil {
		return info, err
	}
	if keys != 3 {
		return info, errors.New("a field is missing; want dtype, shape and data_offsets")
	}
	if len(offsets) != 2 {
		return info, fmt.Errorf("data_offsets holds %d numbers, want begin and end", len(offsets))
	}
	begin, end := offsets[0], offsets[1]
	if begin > end || end > math.MaxInt64 {
		return info, fmt.Errorf("data_offsets [%d %d]: want begin <= end, both below 2^63", begin, end)
	}
	info.DType = DType(dtype)
	if info.DType.Size() == 0 {
		return info, fmt.Errorf("dtype %s is not supported; convert it to one of %s", quoteShort(dtype), knownDTypes())
	}
	size, err := byteSize(shape, info.DType)
	if err != nil {
		return info, err
	}
	if end-begin != size {
		return info, fmt.Errorf("%s%s takes %d bytes, but data_offsets [%d %d] hold %d", dtype, shapeText(shape), size, begin, end, end-begin)
	}
	info.Shape = make([]int, len(shape))
	for i, n := range shape {
		info.Shape[i] = int(n)
	}
	info.begin, info.Bytes = int64(begin), int64(size)
	return info, nil
}

// byteSize is the product of shape and the element's size, which must fit in an int.
func byteSize(shape []uint64, dtype DType) (uint64, error) {
	size := uint64(dtype.Size())
	for _, n := range shape {
		high, low := bits.Mul64(size, n)
		if high != 0 || low > math.MaxInt || n > math.MaxInt {
			return 0, fmt.Errorf("shape %s is too large: its bytes do not fit in an integer", shapeText(shape))
		}
		size = low
	}
	return size, nil
}

func (p *parser) text() (string, error) {
	token, err := p.json.Token()
	if err != nil {
		return "", jsonFault(err)
	}
	s, ok := token.(string)
	if !ok {
		return "", fmt.Errorf("%v is not a string", token)
	}
	return s, nil
}

// integers reads an array of plain non-negative integers: 1.0 and 1e3 are none.
func (p *parser) integers() ([]uint64, error) {
	if err := p.delim('['); err != nil {
		return nil, err
	}
	list := []uint64{}
	for p.json.More() {
		token, err := p.json.Token()
		if err != nil {
			return nil, jsonFault(err)
		}
		number, ok := token.(json.Number)
		if !ok {
			return nil, fmt.Errorf("%v is not a number", token)
		}
		n, err := strconv.ParseUint(number.String(), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("%s is not an integer of 0 or more", quoteShort(number.String()))
		}
		list = append(list, n)
	}
	return list, p.delim(']')
}

func (p *parser) delim(want json.Delim) error {
	token, err := p.json.Token()
	if err != nil {
		return jsonFault(err)
	}
	if token != want {
		return fmt.Errorf("got %v, want %q", token, want.String())
	}
	return nil
}

func jsonFault(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errors.New("the JSON ends too early")
	}
	return fmt.Errorf("the JSON is broken: %w", err)
}

func tensorFault(name string, err error) error {
	return fmt.Errorf("tensor %s: %w", quoteShort(name), err)
}

// quoteShort quotes text from a file, cut to a length that fits a message.
func quoteShort(s string) string {
	const limit = 200
	if len(s) > limit {
		return strconv.Quote(s[:limit]) + "…"
	}
	return strconv.Quote(s)
}

// shapeText is shape for a message: no real tensor has more than a few dimensions.
func shapeText(shape []uint64) string {
	const limit = 8
	if len(shape) > limit {
		return fmt.Sprintf("%v… (%d dimensions)", shape[:limit], len(shape))
	}
	return fmt.Sprint(shape)
}
