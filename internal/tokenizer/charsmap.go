package tokenizer

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/rivo/uniseg"
)

// charsmap is SentencePiece's compiled list of rewritings: a double-array trie of what is looked for, whose values are
// places in the text of what stands in its stead.
type charsmap struct {
	trie []uint32
	text string // what is written, each closed by a NUL
	// ascii is what each of ASCII's characters becomes: nothing where it stays.
	ascii [utf8.RuneSelf]*string
}

func parseCharsmap(raw json.RawMessage) (Normalizer, error) {
	var n struct {
		Type string  `json:"type"`
		Map  *string `json:"precompiled_charsmap"`
	}
	if err := parseStrictly(raw, &n, "Precompiled"); err != nil {
		return nil, err
	}
	if n.Map == nil {
		return nil, lacks("Precompiled", "precompiled_charsmap")
	}
	content, err := base64.StdEncoding.DecodeString(*n.Map)
	if err != nil {
		return nil, fmt.Errorf("%s: precompiled_charsmap is no base64: %w", "Precompiled", err)
	}
	return newCharsmap(content)
}

func newCharsmap(content []byte) (*charsmap, error) {
	if len(content) < 4 {
		return nil, fmt.Errorf("precompiled_charsmap has %d bytes; want at least 4", len(content))
	}
	size, rest := binary.LittleEndian.Uint32(content), content[4:]
	if uint64(size) > uint64(len(rest)) || size < 4 || size%4 != 0 {
		return nil, fmt.Errorf("precompiled_charsmap has a trie of %d bytes, and %d bytes behind its length; the file is damaged", size, len(rest))
	}
	m := &charsmap{trie: make([]uint32, size/4), text: string(rest[size:])}
	for i := range m.trie {
		m.trie[i] = binary.LittleEndian.Uint32(rest[4*i:])
	}
	if !utf8.ValidString(m.text) {
		return nil, fmt.Errorf("precompiled_charsmap writes what is not UTF-8; the file is damaged")
	}
	for c := range m.ascii {
		if to, ok := m.find(string(rune(c))); ok {
			m.ascii[c] = &to
		}
	}
	return m, nil
}

// unit is a cell of the trie: bits 0 to 7 the byte that leads to it, bit 8 that a value follows, bits 10 and on the
// distance to its children, in 256s where bit 9 is set.
func (m *charsmap) unit(at uint32) (uint32, bool) {
	if uint64(at) >= uint64(len(m.trie)) {
		return 0, false
	}
	return m.trie[at], true
}

func offset(unit uint32) uint32 { return (unit >> 10) << ((unit & (1 << 9)) >> 6) }

// find gives what the shortest entry that key begins with is rewritten as. The shortest, not the longest: that is how
// the library does it, and what vocabularies were made with.
func (m *charsmap) find(key string) (string, bool) {
	unit := m.trie[0]
	at := offset(unit)
	for i := range len(key) {
		c := uint32(key[i])
		if c == 0 {
			return "", false
		}
		at ^= c
		var ok bool
		if unit, ok = m.unit(at); !ok || unit&(1<<31|0xff) != c {
			return "", false
		}
		at ^= offset(unit)
		if unit>>8&1 == 1 {
			value, ok := m.unit(at)
			if !ok {
				return "", false
			}
			return m.entry(value & (1<<31 - 1))
		}
	}
	return "", false
}

// entry is the text that begins at a place of m.text.
func (m *charsmap) entry(at uint32) (string, bool) {
	if uint64(at) > uint64(len(m.text)) || int(at) < len(m.text) && !utf8.RuneStart(m.text[at]) {
		return "", false // of a damaged file
	}
	text, _, _ := strings.Cut(m.text[at:], "\x00")
	return text, true
}

// Normalize rewrites whole characters as people see them where they are short, else code points: what the library does.
func (m *charsmap) Normalize(s string) string {
	from := m.unchanged(s)
	if from == len(s) {
		return s
	}
	dst := append(make([]byte, 0, len(s)+16), s[:from]...)
	for i := from; i < len(s); {
		if c := s[i]; m.alone(s, i) {
			if to := m.ascii[c]; to != nil {
				dst = append(dst, *to...)
			} else {
				dst = append(dst, c)
			}
			i++
			continue
		}
		character, _, _, _ := uniseg.FirstGraphemeClusterInString(s[i:], -1)
		dst = m.appendCharacter(dst, character)
		i += len(character)
	}
	return string(dst)
}

// unchanged counts the bytes at the beginning that are surely left alone.
func (m *charsmap) unchanged(s string) int {
	for i := range len(s) {
		if !m.alone(s, i) || m.ascii[s[i]] != nil {
			return i
		}
	}
	return len(s)
}

// alone reports an ASCII character that no mark follows: a character of its own, but for the two of a line's end.
func (m *charsmap) alone(s string, i int) bool {
	if s[i] >= utf8.RuneSelf {
		return false
	}
	return i+1 == len(s) || s[i+1] < utf8.RuneSelf && (s[i] != '\r' || s[i+1] != '\n')
}

func (m *charsmap) appendCharacter(dst []byte, character string) []byte {
	if len(character) < 6 {
		if to, ok := m.find(character); ok {
			return append(dst, to...)
		}
	}
	for _, r := range character {
		one := string(r)
		if to, ok := m.find(one); ok {
			one = to
		}
		dst = append(dst, one...)
	}
	return dst
}
