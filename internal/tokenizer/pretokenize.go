package tokenizer

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// PreTokenizer cuts a text into words.
type PreTokenizer interface {
	// Split calls yield with each word of s, in order. first: s begins where the whole text does, and so with a word.
	// No word is empty.
	Split(s string, first bool, yield func(word string, first bool))
}

// whole is one word.
type whole struct{}

func (whole) Split(s string, first bool, yield func(string, bool)) {
	if s != "" {
		yield(s, first)
	}
}

// after cuts each word of the first once more.
type after struct{ first, then PreTokenizer }

func (a after) Split(s string, first bool, yield func(string, bool)) {
	a.first.Split(s, first, func(word string, first bool) { a.then.Split(word, first, yield) })
}

// ParsePreTokenizer reads the pre_tokenizer of a tokenizer.json; null is one that leaves a text whole. bytes says that
// words are to be read byte by byte: they are what ByteLevel gives, which must be the last.
func ParsePreTokenizer(raw json.RawMessage) (p PreTokenizer, bytes bool, err error) {
	kind, err := typeOf(raw)
	if err != nil {
		return nil, false, err
	}
	switch kind {
	case "":
		return whole{}, false, nil
	case "Sequence":
		return parseSequence(raw)
	case "ByteLevel":
		p, err = parseByteLevel(raw)
		return p, true, err
	case "Metaspace":
		p, err = parseMetaspace(raw)
	case "Split":
		p, err = parseSplit(raw)
	case "Punctuation":
		p, err = parsePunctuation(raw)
	case "Digits":
		p, err = parseDigits(raw)
	case "BertPreTokenizer":
		p, err = bertWords{}, onlyType(raw, kind)
	case "Whitespace":
		p, err = wordsAndRests{}, onlyType(raw, kind)
	case "WhitespaceSplit":
		p, err = fieldsOnly{}, onlyType(raw, kind)
	default:
		err = fmt.Errorf("type %.40s is not supported; want BertPreTokenizer, ByteLevel, Metaspace, Whitespace, WhitespaceSplit, Split, Punctuation, Digits or a Sequence of them", kind)
	}
	return p, false, err
}

func parseSequence(raw json.RawMessage) (PreTokenizer, bool, error) {
	var sequence struct {
		Type  string            `json:"type"`
		Parts []json.RawMessage `json:"pretokenizers"`
	}
	if err := parseStrictly(raw, &sequence, "Sequence"); err != nil {
		return nil, false, err
	}
	var all PreTokenizer = whole{}
	last := false
	for i, part := range sequence.Parts {
		p, bytes, err := ParsePreTokenizer(part)
		switch {
		case err != nil:
			return nil, false, err
		case last:
			return nil, false, fmt.Errorf("ByteLevel is not the last of the Sequence, which is not supported")
		case i == 0:
			all = p
		default:
			all = after{all, p}
		}
		last = bytes
	}
	return all, last, nil
}

// bertWords cuts at white space and around each mark of punctuation.
type bertWords struct{}

func (bertWords) Split(s string, first bool, yield func(string, bool)) {
	at := 0 // words come in order, each as it stands in s
	SplitWords([]byte(s), func(word []byte) {
		from := at + strings.Index(s[at:], string(word))
		at = from + len(word)
		yield(s[from:at], first && from == 0)
	})
}

// fieldsOnly cuts at white space.
type fieldsOnly struct{}

func (fieldsOnly) Split(s string, first bool, yield func(string, bool)) {
	from := 0
	for i, r := range s {
		if !unicode.IsSpace(r) {
			continue
		}
		if from < i {
			yield(s[from:i], first && from == 0)
		}
		from = i + utf8.RuneLen(r)
	}
	if from < len(s) {
		yield(s[from:], first && from == 0)
	}
}

// wordsAndRests cuts out runs of letters and digits, and runs of what is neither these nor white space.
type wordsAndRests struct{}

func (wordsAndRests) Split(s string, first bool, yield func(string, bool)) {
	const space, word, rest = 0, 1, 2
	from, kind := 0, space
	for i, r := range s {
		now := rest
		switch {
		case isWordCharacter(r):
			now = word
		case unicode.IsSpace(r):
			now = space
		}
		if now != kind {
			if kind != space {
				yield(s[from:i], first && from == 0)
			}
			from, kind = i, now
		}
	}
	if kind != space {
		yield(s[from:], first && from == 0)
	}
}

// metaspace writes spaces as a letter, ▁, and cuts before each.
type metaspace struct {
	replacement string
	prepend     string // always, first, never: to words that do not begin with it
	split       bool
}

func parseMetaspace(raw json.RawMessage) (PreTokenizer, error) {
	var p struct {
		Type        string  `json:"type"`
		Replacement *string `json:"replacement"`
		Prefix      *bool   `json:"add_prefix_space"` // the older name, beside prepend_scheme
		Prepend     *string `json:"prepend_scheme"`
		Split       *bool   `json:"split"`
		Rep         string  `json:"str_rep"` // the replacement again
	}
	if err := parseStrictly(raw, &p, "Metaspace"); err != nil {
		return nil, err
	}
	m := metaspace{prepend: "always", split: p.Split == nil || *p.Split}
	if p.Replacement == nil || utf8.RuneCountInString(*p.Replacement) != 1 {
		return nil, fmt.Errorf("%s: replacement is not one character", "Metaspace")
	}
	m.replacement = *p.Replacement
	if p.Prepend != nil {
		m.prepend = *p.Prepend
	}
	if !slices.Contains([]string{"always", "first", "never"}, m.prepend) {
		return nil, fmt.Errorf("%s: prepend_scheme is %.40q; want always, first or never", "Metaspace", m.prepend)
	}
	if p.Prefix != nil && !*p.Prefix {
		if p.Prepend != nil && m.prepend != "never" {
			return nil, fmt.Errorf("%s: add_prefix_space is false, prepend_scheme %s; correct the one that is wrong", "Metaspace", m.prepend)
		}
		m.prepend = "never"
	}
	return m, nil
}

func (m metaspace) Split(s string, first bool, yield func(string, bool)) {
	if s == "" {
		return
	}
	s = strings.ReplaceAll(s, " ", m.replacement)
	if (m.prepend == "always" || m.prepend == "first" && first) && !strings.HasPrefix(s, m.replacement) {
		s = m.replacement + s
	}
	from := 0
	for m.split {
		at := from
		if strings.HasPrefix(s[at:], m.replacement) {
			at += len(m.replacement)
		}
		next := strings.Index(s[at:], m.replacement)
		if next < 0 {
			break
		}
		yield(s[from:at+next], first && from == 0)
		from = at + next
	}
	yield(s[from:], first && from == 0)
}

// span is a part of a text: a match of what is looked for, or what lies between.
type span struct {
	from, to int
	match    bool
}

// cut calls yield with the parts of s that are kept, by the library's names of what becomes of matches.
func cut(s string, spans []span, behavior string, first bool, yield func(string, bool)) {
	for _, part := range behaviors[behavior](spans) {
		if part.from < part.to {
			yield(s[part.from:part.to], first && part.from == 0)
		}
	}
}

var behaviors = map[string]func([]span) []span{
	"Isolated": func(spans []span) []span { return spans },
	"Removed": func(spans []span) []span {
		return slices.DeleteFunc(spans, func(s span) bool { return s.match })
	},
	"Contiguous": func(spans []span) []span {
		return merge(spans, func(before, s span) bool { return before.match == s.match })
	},
	"MergedWithPrevious": func(spans []span) []span {
		return merge(spans, func(before, s span) bool { return s.match && !before.match })
	},
	"MergedWithNext": func(spans []span) []span {
		for i := len(spans) - 2; i >= 0; i-- {
			if spans[i].match && !spans[i+1].match {
				spans[i+1].from, spans[i].to = spans[i].from, spans[i].from
			}
		}
		return spans
	},
}

// merge joins spans to the one before them where joins says so of the two, as they were.
func merge(spans []span, joins func(before, s span) bool) []span {
	var out []span
	for i, s := range spans {
		if i > 0 && joins(spans[i-1], s) {
			out[len(out)-1].to = s.to
			continue
		}
		out = append(out, s)
	}
	return out
}

// each cuts at single characters.
type each struct {
	is       func(rune) bool
	behavior string
}

func (e each) Split(s string, first bool, yield func(string, bool)) {
	var spans []span
	from := 0
	for i, r := range s {
		if e.is(r) {
			if from < i {
				spans = append(spans, span{from, i, false})
			}
			from = i + utf8.RuneLen(r)
			spans = append(spans, span{i, from, true})
		}
	}
	if from < len(s) {
		spans = append(spans, span{from, len(s), false})
	}
	cut(s, spans, e.behavior, first, yield)
}

func parsePunctuation(raw json.RawMessage) (PreTokenizer, error) {
	p := struct {
		Type     string `json:"type"`
		Behavior string `json:"behavior"`
	}{Behavior: "Isolated"}
	if err := parseStrictly(raw, &p, "Punctuation"); err != nil {
		return nil, err
	}
	return each{isPunctuation, p.Behavior}, checkBehavior("Punctuation", p.Behavior)
}

func parseDigits(raw json.RawMessage) (PreTokenizer, error) {
	var p struct {
		Type       string `json:"type"`
		Individual *bool  `json:"individual_digits"`
	}
	if err := parseStrictly(raw, &p, "Digits"); err != nil {
		return nil, err
	}
	if p.Individual == nil {
		return nil, lacks("Digits", "individual_digits")
	}
	if *p.Individual {
		return each{isDigit, "Isolated"}, nil
	}
	return each{isDigit, "Contiguous"}, nil
}

func checkBehavior(kind, behavior string) error {
	if _, ok := behaviors[behavior]; !ok {
		return fmt.Errorf("%s: behavior is %.40q; want Isolated, Removed, Contiguous, MergedWithPrevious or MergedWithNext", kind, behavior)
	}
	return nil
}

// matches cuts at what a pattern finds.
type matches struct {
	pattern
	behavior string
	invert   bool
}

func parseSplit(raw json.RawMessage) (PreTokenizer, error) {
	var p struct {
		Type     string   `json:"type"`
		Pattern  *pattern `json:"pattern"`
		Behavior string   `json:"behavior"`
		Invert   *bool    `json:"invert"`
	}
	if err := parseStrictly(raw, &p, "Split"); err != nil {
		return nil, err
	}
	if p.Pattern == nil || p.Invert == nil {
		return nil, lacks("Split", "one of pattern, invert")
	}
	if err := checkBehavior("Split", p.Behavior); err != nil {
		return nil, err
	}
	return matches{*p.Pattern, p.Behavior, *p.Invert}, nil
}

func (m matches) Split(s string, first bool, yield func(string, bool)) {
	var spans []span
	from := 0
	found := func(start, end int) {
		if from < start {
			spans = append(spans, span{from, start, m.invert})
		}
		spans = append(spans, span{start, end, !m.invert})
		from = end
	}
	switch {
	case m.text != "":
		for at := strings.Index(s, m.text); at >= 0; {
			found(at, at+len(m.text))
			next := strings.Index(s[from:], m.text)
			if at = next; at >= 0 {
				at += from
			}
		}
	case m.expression == nil:
		wordsOfGPT2(s, found)
	default:
		for _, at := range m.expression.FindAllStringIndex(s, -1) {
			found(at[0], at[1])
		}
	}
	if from < len(s) {
		spans = append(spans, span{from, len(s), m.invert})
	}
	cut(s, spans, m.behavior, first, yield)
}
