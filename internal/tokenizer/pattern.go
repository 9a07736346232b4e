package tokenizer

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
)

// gpt2Pattern is the expression of byte-level tokenizers, which Go's expressions cannot say: they do not look ahead. It
// is written out as code in wordsOfGPT2.
const gpt2Pattern = `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`

// pattern is what a Replace or a Split looks for: a text, or an expression.
type pattern struct {
	text       string
	source     string // the expression as the file has it
	expression *regexp.Regexp
}

func (p *pattern) UnmarshalJSON(content []byte) error {
	var object struct {
		String *string
		Regex  *string
	}
	if err := json.Unmarshal(content, &object); err != nil {
		return fmt.Errorf(`pattern is %.40s; want {"String": …} or {"Regex": …}`, content)
	}
	switch {
	case object.String != nil && *object.String != "":
		p.text = *object.String
		return nil
	case object.Regex == nil:
		return fmt.Errorf(`pattern is %.40s; want {"String": …} or {"Regex": …}`, content)
	}
	p.source = *object.Regex
	if p.source == gpt2Pattern {
		return nil
	}
	translated, err := translate(p.source)
	if err == nil {
		p.expression, err = regexp.Compile(translated)
	}
	if err != nil {
		return fmt.Errorf("pattern %.80q is not supported: %w", p.source, err)
	}
	if p.expression.MatchString("") {
		return fmt.Errorf("pattern %.80q is not supported: it matches nothing at all", p.source)
	}
	return nil
}

// classes are the escapes that mean a class of characters, as Go writes them within brackets. Letters and numbers are
// those of Unicode 16, as in the library; Go's own are older.
var classes = map[string]string{
	`\s`:    `\t-\r\x{85}\pZ`,
	`\p{L}`: `\pL` + ranges(newLetters),
	`\p{N}`: `\pN` + ranges(newNumbers),
}

func ranges(list [][2]rune) string {
	var b strings.Builder
	for _, r := range list {
		fmt.Fprintf(&b, `\x{%x}-\x{%x}`, r[0], r[1])
	}
	return b.String()
}

// translate writes an expression of the library's as Go's. What the two read otherwise is refused.
func translate(source string) (string, error) {
	var b strings.Builder
	inside := false // of brackets
	for i := 0; i < len(source); i++ {
		c := source[i]
		switch {
		case c == '\\':
			escape, to, err := translateEscape(source[i:], inside)
			if err != nil {
				return "", err
			}
			b.WriteString(to)
			i += len(escape) - 1
			continue
		case inside && (c == '[' || c == '&'):
			return "", fmt.Errorf("%c within brackets means something else to Go", c)
		case c == '[':
			inside = true
		case c == ']':
			inside = false
		case !inside && (c == '^' || c == '$'):
			return "", fmt.Errorf("%c means a line's end, not the text's", c)
		case !inside && c == '(' && strings.HasPrefix(source[i:], "(?") && !strings.HasPrefix(source[i:], "(?:"):
			return "", fmt.Errorf("%.4s is more than Go's expressions do", source[i:])
		}
		b.WriteByte(c)
	}
	return b.String(), nil
}

// translateEscape takes what a backslash begins.
func translateEscape(source string, inside bool) (escape, to string, err error) {
	for name, class := range classes {
		if strings.HasPrefix(source, name) {
			if inside {
				return name, class, nil
			}
			return name, "[" + class + "]", nil
		}
	}
	if strings.HasPrefix(source, `\S`) && !inside {
		return `\S`, "[^" + classes[`\s`] + "]", nil
	}
	if len(source) > 1 && strings.IndexByte(`nrtAz\.+*?()[]{}|^$-/'"#&,:;<>=!@%~`+"`", source[1]) >= 0 {
		if strings.IndexByte(`/'"#&,:;<>=!@%~`+"`", source[1]) >= 0 {
			return source[:2], regexp.QuoteMeta(source[1:2]), nil
		}
		return source[:2], source[:2], nil
	}
	return "", "", fmt.Errorf("the escape %.6s is not known", source)
}
