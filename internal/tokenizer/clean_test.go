package tokenizer

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// The golden is Hugging Face's own library on every code point (scripts/goldens/normalizer.py), and so
// holds Go's Unicode tables, which move with the compiler, to the frozen classes too.
func TestCleanMatchesEveryCodePoint(t *testing.T) {
	content, err := os.ReadFile("testdata/normalizer.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Block       int
		Normalizers map[string]struct {
			Options struct {
				Clean   bool `json:"clean_text"`
				Chinese bool `json:"handle_chinese_chars"`
				Strip   bool `json:"strip_accents"`
				Lower   bool `json:"lowercase"`
			}
			Blocks []string
		}
	}
	if err := json.Unmarshal(content, &golden); err != nil {
		t.Fatal(err)
	}
	if len(golden.Normalizers) != 5 {
		t.Fatalf("%d normalizers; want 5", len(golden.Normalizers))
	}
	for name, n := range golden.Normalizers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := Cleaner(n.Options)
			if len(n.Blocks) != 0x110000/golden.Block {
				t.Fatalf("%d blocks", len(n.Blocks))
			}
			for i, want := range n.Blocks {
				if plain(i * golden.Block) {
					continue
				}
				if got := hashBlock(c, rune(i*golden.Block), golden.Block); got != want {
					t.Errorf("U+%04X to U+%04X: hash %s, want %s", i*golden.Block, (i+1)*golden.Block-1, got, want)
				}
			}
		})
	}
}

// plain reports the blocks that hold nothing but unassigned or private code points, up to a plane's last.
// They are in the golden, but two thirds of the time for nothing.
func plain(start int) bool {
	plane, last := start>>16, start&0xffff == 0xf000
	return (4 <= plane && plane <= 13 || plane >= 15) && !last
}

func hashBlock(c Cleaner, start rune, size int) string {
	h := sha256.New()
	for r := start; r < start+rune(size); r++ {
		if utf8.ValidRune(r) { // no surrogate
			probe := "a" + string(r) + "\U0001D166\u302e" + string(r) + "\u1baab"
			h.Write([]byte(strings.Join(words(c, probe), "\x1f") + "\n"))
		}
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

func words(c Cleaner, text string) []string {
	var words []string
	SplitWords(c.AppendTo(nil, text), func(w []byte) { words = append(words, string(w)) })
	return words
}

func TestCleanWords(t *testing.T) {
	cased := Cleaner{Clean: true, Chinese: true}
	uncased := Cleaner{Clean: true, Chinese: true, Strip: true, Lower: true}
	for _, c := range []struct {
		name    string
		cleaner Cleaner
		text    string
		want    []string
	}{
		{"soft hyphen and joiner vanish", cased, "un\u00adbelie\u200dvable", []string{"unbelievable"}},
		{"form feed vanishes, tab separates", cased, "a\fb\tc", []string{"ab", "c"}},
		{"line separator is a blank", cased, "a\u2028b", []string{"a", "b"}},
		{"accents kept when cased", cased, "Café", []string{"Café"}},
		{"accents stripped, composed or not", uncased, "Café CAFE\u0301", []string{"cafe", "cafe"}},
		{"dotted capital i", uncased, "İstanbul", []string{"istanbul"}},
		{"dotted capital i, accents kept", Cleaner{Lower: true}, "İ", []string{"i\u0307"}},
		{"ideographs are words", cased, "a北京b", []string{"a", "北", "京", "b"}},
		{"each mark of punctuation is a word", cased, "so...$5", []string{"so", ".", ".", ".", "$", "5"}},
		{"punctuation of Unicode 9 is none", cased, "x\u2e43y", []string{"x\u2e43y"}},
		// norm.NFD would put U+034F behind the thirtieth mark, and sort what follows apart.
		{"forty marks are one run", uncased, "a" + strings.Repeat("\u302e", 40) + "\U0001D166", []string{"a\U0001D166" + strings.Repeat("\u302e", 40)}},
		{"nothing is left", uncased, "\u0301\ufeff\u0000", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := words(c.cleaner, c.text); !slices.Equal(got, c.want) {
				t.Errorf("%q gives %q; want %q", c.text, got, c.want)
			}
		})
	}
}
