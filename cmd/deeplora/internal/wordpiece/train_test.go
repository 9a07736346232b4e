package wordpiece

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"pgregory.net/rapid"

	"github.com/deeplora/deeplora/data"
)

func TestErrors(t *testing.T) {
	text := []string{"one two", "three"} // eho ntw r, inside words e h n o r w
	for _, c := range []struct {
		name  string
		texts []string
		o     Options
		want  string
	}{
		{"no text", nil, Options{Size: 100}, "vocabulary: no words in the text"},
		{"white space alone", []string{" \t", ""}, Options{Size: 100}, "no words in the text"},
		{"not UTF-8", []string{"fine", "a\xffb"}, Options{Size: 100}, "text 2: byte 0xff at offset 1 is not valid UTF-8"},
		{"special tokens alone", text, Options{Size: 5}, "size is 5; want more than the 5 special tokens"},
		{"no size", text, Options{}, "size is 0; want more"},
		{"too small", text, Options{Size: 17}, "size is 17, but special tokens and single characters of this text are 18 (5, 7, and 6 with ##)"},
		{"min frequency", text, Options{Size: 100, MinFrequency: -1}, "min frequency is -1; want 1 or more, or 0 for 2"},
		{"alphabet", text, Options{Size: 100, LimitAlphabet: -1}, "limit of the alphabet is -1; want 1 or more, or 0 for 1000"},
	} {
		t.Run(c.name, func(t *testing.T) {
			vocab, err := Train(slices.Values(c.texts), c.o)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("%d tokens and error %v, want %q", len(vocab), err, c.want)
			}
		})
	}
	if vocab, err := Train(slices.Values(text), Options{Size: 18}); err != nil || len(vocab) != 18 {
		t.Errorf("the smallest size gives %d tokens and error %v, want 18", len(vocab), err)
	}
}

func TestDefaultsAreThoseOfTokenizers(t *testing.T) {
	texts := smallText(t, "sts-b")
	short, err := Train(slices.Values(texts), Options{Size: 800, Lowercase: true})
	if err != nil {
		t.Fatal(err)
	}
	long, err := Train(slices.Values(texts), Options{Size: 800, Lowercase: true, MinFrequency: 2, LimitAlphabet: 1000})
	if err != nil {
		t.Fatal(err)
	}
	differ(t, short, long)
}

// texts draws texts of few letters, so that words and pairs come again, of several scripts and cases.
func drawTexts(t *rapid.T) []string {
	letters := rapid.SampledFrom([]rune("aab\u00e9BZ ab  .-1\u4eac\u0301\U0001f642\u00df")) // é, 京, an accent, 🙂, ß
	text := rapid.Map(rapid.SliceOfN(letters, 0, 40), func(r []rune) string { return string(r) })
	return rapid.SliceOfN(text, 1, 30).Draw(t, "texts")
}

// A vocabulary of all characters leaves nothing of its own text unknown, and does not depend on the order of texts.
func TestVocabularySpellsItsText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		texts := drawTexts(t)
		o := Options{Size: rapid.IntRange(40, 200).Draw(t, "size"), Lowercase: rapid.Bool().Draw(t, "lowercase"), MinFrequency: 1}
		vocab, err := Train(slices.Values(texts), o)
		if err != nil {
			if strings.Contains(err.Error(), "no words") {
				return
			}
			t.Fatal(err)
		}
		if len(vocab) > o.Size {
			t.Fatalf("%d tokens, want at most %d", len(vocab), o.Size)
		}
		shuffled := rapid.Permutation(texts).Draw(t, "shuffled")
		if again, err := Train(slices.Values(shuffled), o); err != nil || !slices.Equal(again, vocab) {
			t.Fatalf("texts in another order give %q, want %q (%v)", again, vocab, err)
		}
		tok := open(t, vocab, o.Lowercase)
		for _, text := range texts {
			ids, err := tok.Encode(text)
			if err != nil || slices.Contains(ids, tok.Special().UNK) {
				t.Fatalf("%q is %v with vocabulary %q (%v)", text, ids, vocab, err)
			}
		}
	})
}

// open reads the tokenizer of a vocabulary as it would be written.
func open(t interface{ Fatal(...any) }, vocab []string, lowercase bool) data.Tokenizer {
	files, err := Files(vocab, lowercase, 128)
	if err != nil {
		t.Fatal(err)
	}
	folder := fstest.MapFS{}
	for name, content := range files {
		folder[name] = &fstest.MapFile{Data: content}
	}
	tok, err := data.OpenTokenizer(folder, "")
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

// FuzzTrain holds that whatever text is refused or gives a vocabulary that its files can carry.
func FuzzTrain(f *testing.F) {
	f.Add("the cat sat on the mat", 100, true)
	f.Add("\u6771\u4eac [UNK] ##a \u00a0\u2028\u0130\U0001f642", 60, false)
	f.Add("a\xff", 50, true)
	f.Fuzz(func(t *testing.T, text string, size int, lowercase bool) {
		vocab, err := Train(slices.Values(strings.Split(text, "\n")), Options{Size: size, Lowercase: lowercase, MinFrequency: 1})
		if err != nil {
			return
		}
		if len(vocab) > size {
			t.Fatalf("%d tokens, want at most %d", len(vocab), size)
		}
		tok := open(t, vocab, lowercase)
		for id, token := range vocab {
			if tok.Token(int32(id)) != token {
				t.Fatalf("id %d is %q in the files, want %q", id, tok.Token(int32(id)), token)
			}
		}
	})
}

func BenchmarkTrain(b *testing.B) {
	texts := glueTexts(b)
	size := 0
	for _, text := range texts {
		size += len(text)
	}
	for b.Loop() {
		if _, err := Train(slices.Values(texts), Options{Size: 8000, Lowercase: true}); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(size)*float64(b.N)/1e6/b.Elapsed().Seconds(), "MB/s")
}
