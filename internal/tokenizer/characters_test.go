package tokenizer

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"strings"
	"testing"
	"unicode/utf8"
)

// Every part that has tables of characters, on every code point, against Hugging Face's library
// (scripts/goldens/characters.py).
func TestEveryCharacter(t *testing.T) {
	content, err := os.ReadFile("testdata/characters.json")
	if err != nil {
		t.Fatal(err)
	}
	var golden struct {
		Block int
		Parts map[string][]string
	}
	if err := json.Unmarshal(content, &golden); err != nil {
		t.Fatal(err)
	}
	normalizers := map[string]string{
		"NFC": `{"type": "NFC"}`, "NFD": `{"type": "NFD"}`, "NFKC": `{"type": "NFKC"}`, "NFKD": `{"type": "NFKD"}`,
		"Lowercase": `{"type": "Lowercase"}`, "StripAccents": `{"type": "StripAccents"}`, "Nmt": `{"type": "Nmt"}`,
		"Letters": `{"type": "Replace", "pattern": {"Regex": "\\p{L}"}, "content": "L"}`,
		"Numbers": `{"type": "Replace", "pattern": {"Regex": "\\p{N}"}, "content": "N"}`,
		"Spaces":  `{"type": "Replace", "pattern": {"Regex": "\\s"}, "content": "_"}`,
	}
	cutters := map[string]string{
		"ByteLevel": `{"type": "ByteLevel", "add_prefix_space": false}`, "Digits": `{"type": "Digits", "individual_digits": true}`,
		"Punctuation": `{"type": "Punctuation"}`, "WhitespaceSplit": `{"type": "WhitespaceSplit"}`,
	}
	if len(golden.Parts) != len(normalizers)+len(cutters) {
		t.Fatalf("%d parts", len(golden.Parts))
	}
	for name, blocks := range golden.Parts {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var run func(probe string) string
			if raw := normalizers[name]; raw != "" {
				n, err := ParseNormalizer([]byte(raw))
				if err != nil {
					t.Fatal(err)
				}
				run = n.Normalize
			} else {
				p, _, err := ParsePreTokenizer([]byte(cutters[name]))
				if err != nil {
					t.Fatal(err)
				}
				run = func(probe string) string {
					var words []string
					p.Split(probe, true, func(word string, _ bool) { words = append(words, word) })
					return strings.Join(words, "\x1f")
				}
			}
			for i, want := range blocks {
				if start := i * golden.Block; !plain(start) {
					if got := hashCharacters(run, rune(start), golden.Block); got != want {
						t.Errorf("U+%04X to U+%04X: hash %s, want %s", start, start+golden.Block-1, got, want)
					}
				}
			}
		})
	}
}

func hashCharacters(run func(string) string, start rune, size int) string {
	h := sha256.New()
	for r := start; r < start+rune(size); r++ {
		if utf8.ValidRune(r) { // no surrogate
			h.Write([]byte(run("a"+string(r)+"\u0301\u0323"+string(r)+"b") + "\n"))
		}
	}
	return hex.EncodeToString(h.Sum(nil))[:12]
}
