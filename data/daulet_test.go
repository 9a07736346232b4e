//go:build daulet

package data

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/internal/testshared"
	"pgregory.net/rapid"
)

// engines are the tokenizers that parity is asked of.
var engines = map[string]func(*vocabulary) (Tokenizer, error){
	"go":     func(v *vocabulary) (Tokenizer, error) { return newGoTokenizer(v), nil },
	"daulet": func(v *vocabulary) (Tokenizer, error) { return newRustTokenizer(v) },
}

func TestDauletIsTheDefault(t *testing.T) {
	if tok, ok := letterTokenizer(t).(*rustTokenizer); !ok {
		t.Errorf("OpenTokenizer gives a %T", tok)
	}
}

func both(t testing.TB, v *vocabulary) (ours, theirs Tokenizer) {
	theirs, err := newRustTokenizer(v)
	if err != nil {
		t.Fatal(err)
	}
	return newGoTokenizer(v), theirs
}

// Every field of every file under the GLUE folder, headers and scores included, and each line whole.
func TestDauletAgreesOnRealText(t *testing.T) {
	var fields []string
	err := filepath.WalkDir(testshared.Path(t, "glue"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		for line := range strings.Lines(string(content)) {
			fields = append(append(fields, line), strings.Split(line, "\t")...)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, dir := range realTokenizers(t) {
		v, err := readVocabulary(folder{os.DirFS(dir), dir})
		if err != nil {
			t.Fatal(err)
		}
		ours, theirs := both(t, v)
		differ := 0
		for _, text := range fields {
			got, err := ours.Encode(text)
			want, err2 := theirs.Encode(text)
			if err = errors.Join(err, err2); err != nil || !slices.Equal(got, want) {
				if differ++; differ < 5 {
					t.Errorf("%s: %q gives %v, want %v (%v)", name, text, got, want, err)
				}
			}
		}
		t.Logf("%s: %d of %d texts differ", name, differ, len(fields))
	}
}

// Random text of difficult characters, tokenizers of every setting, and added tokens of every kind.
func TestDauletAgreesOnHardText(t *testing.T) {
	hard := rapid.StringOfN(rapid.SampledFrom([]rune("aabbccABC  .#[]-\t\n\x00\x01\f\u0085\u00a0\u00ad\u0301\u0327é É İẞßſ\u200b\u200d\u2028\u3000一\uf900\U0002b820\U0002b920가\u1112\u1161"+
		"\u2e43\u166d\u08d4\u1734\u1885\u302e\U0001d166\u1baa\ufeff\ufffd\ue000\u0378👍🏽_0")), 0, 40, -1)
	word := rapid.SampledFrom([]string{"ab", "AB", "a b", "é", "E\u0301", "[X]", "bab", "c", "一", " c", ".", "a.b"})
	rapid.Check(t, func(t *rapid.T) {
		v := &vocabulary{unk: "[UNK]", prefix: "##", maxChars: rapid.IntRange(1, 12).Draw(t, "max chars")}
		v.clean = cleaner{
			Clean: rapid.Bool().Draw(t, "clean"), Chinese: rapid.Bool().Draw(t, "chinese"), Strip: rapid.Bool().Draw(t, "strip"), Lower: rapid.Bool().Draw(t, "lower"),
		}
		v.ids = idsOf(strings.Fields("[PAD] [UNK] a b c A B C ##a ##b ##c ##ab ab abc é e ##\u0301 \u2e43 ##\u2e43 . # 一 ß ##\u0307 i ##_ _"))
		if err := v.index(); err != nil {
			t.Fatal(err)
		}
		var added []addedToken
		next := int32(len(v.ids))
		for _, content := range rapid.SliceOfNDistinct(word, 0, 4, rapid.ID).Draw(t, "added") {
			a := addedToken{
				Content: content, SingleWord: rapid.Bool().Draw(t, "single word"), Lstrip: rapid.Bool().Draw(t, "lstrip"),
				Rstrip: rapid.Bool().Draw(t, "rstrip"), Normalized: rapid.Bool().Draw(t, "normalized"), Special: rapid.Bool().Draw(t, "special"),
			}
			var inModel bool
			if a.ID, inModel = v.ids[content]; !inModel {
				a.ID = next
				next++
			}
			added = append(added, a)
		}
		if err := v.addAll(added); err != nil {
			t.Fatal(err)
		}
		v.special.UNK = v.ids[v.unk]
		text := hard.Draw(t, "text")
		ours := newGoTokenizer(v)
		theirs, err := newRustTokenizer(v)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ours.Encode(text)
		want, err2 := theirs.Encode(text)
		if err = errors.Join(err, err2); err != nil || !slices.Equal(got, want) {
			t.Fatalf("%q gives %v, want %v (%v)", text, got, want, err)
		}
	})
}

// The archive is of the sources that the Go module was written for.
func TestDauletRefusesWhatOursRefuses(t *testing.T) {
	tok := letterTokenizer(t)
	if _, err := tok.Encode("\xff"); err == nil {
		t.Error("invalid UTF-8 is encoded")
	}
	if closer, ok := tok.(io.Closer); ok {
		t.Errorf("%T wants closing, which no caller does", closer)
	}
}
