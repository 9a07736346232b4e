package wordpiece

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"go.uber.org/goleak"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/builtin"
	"github.com/deeplora/deeplora/internal/testshared"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// golden is testdata/wordpiece.json, by tokenizers and Transformers (scripts/goldens/wordpiece.py).
type golden struct {
	Small []struct {
		Text          string
		Lowercase     bool
		Size          int
		MinFrequency  int `json:"min_frequency"`
		LimitAlphabet int `json:"limit_alphabet"`
		Stock         bool
		Vocab         string
	}
	GLUE []struct {
		Lowercase bool
		Size      int
		Vocab     string `json:"vocab_sha256"`
		IDs       string `json:"sst2_ids_sha256"`
	}
}

func readGolden(t testing.TB) (g golden) {
	t.Helper()
	content, err := os.ReadFile("testdata/wordpiece.json")
	if err == nil {
		err = json.Unmarshal(content, &g)
	}
	if err != nil || len(g.Small) == 0 || len(g.GLUE) == 0 {
		t.Fatalf("golden: %v, %d and %d cases", err, len(g.Small), len(g.GLUE))
	}
	return g
}

// columns returns the fields of a GLUE file, row by row.
func columns(t testing.TB, content string, names ...string) (texts []string) {
	t.Helper()
	header, rows, _ := strings.Cut(content, "\n")
	var at []int
	for _, name := range names {
		at = append(at, slices.Index(strings.Split(header, "\t"), name))
	}
	for row := range strings.Lines(rows) {
		fields := strings.Split(strings.TrimSuffix(row, "\n"), "\t")
		for _, i := range at {
			texts = append(texts, fields[i])
		}
	}
	return texts
}

func smallText(t testing.TB, name string) (texts []string) {
	t.Helper()
	if name != "sts-b" {
		content, err := os.ReadFile(filepath.Join("testdata", name+".txt"))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(strings.TrimSuffix(string(content), "\n"), "\n")
	}
	for _, file := range []string{"train.tsv", "validation.tsv"} {
		content, err := fs.ReadFile(builtin.Data(), "STS-B/"+file)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, columns(t, string(content), "sentence1", "sentence2")...)
	}
	return texts
}

// stockOrder is the order in which a run of the trainer numbered the characters inside words.
func stockOrder(vocab []string) (inside []rune) {
	for _, token := range vocab {
		piece, ok := strings.CutPrefix(token, continuing)
		if ok && utf8.RuneCountInString(piece) == 1 {
			r, _ := utf8.DecodeRuneInString(piece)
			inside = append(inside, r)
		}
	}
	return inside
}

func TestVocabularyIsThatOfTokenizers(t *testing.T) {
	for _, c := range readGolden(t).Small {
		kind := map[bool]string{false: "fixed order", true: "stock order"}[c.Stock]
		t.Run(fmt.Sprintf("%s/%d/%s", c.Text, c.Size, kind), func(t *testing.T) {
			texts, want := slices.Values(smallText(t, c.Text)), strings.Split(c.Vocab, " ")
			o := Options{Size: c.Size, Lowercase: c.Lowercase, MinFrequency: c.MinFrequency, LimitAlphabet: c.LimitAlphabet}
			got, err := Train(texts, o)
			if c.Stock && err == nil {
				got, err = trainInOrder(texts, o, stockOrder(want))
			}
			if err != nil {
				t.Fatal(err)
			}
			differ(t, got, want)
		})
	}
}

// trainInOrder is Train with the characters inside words in another order.
func trainInOrder(texts func(func(string) bool), o Options, inside []rune) ([]string, error) {
	words, err := countWords(texts, o.Lowercase)
	if err != nil {
		return nil, err
	}
	letters := alphabetOf(words, o.LimitAlphabet)
	if !slices.Equal(slices.Sorted(slices.Values(inside)), letters.inside) {
		return nil, fmt.Errorf("characters inside words are %q, want %q in some order", letters.inside, inside)
	}
	letters.inside = inside
	return train(words, letters, o)
}

func differ(t *testing.T, got, want []string) {
	t.Helper()
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("%d tokens, want %d; from id %d they are %q, want %q", len(got), len(want), i,
				got[i:min(i+5, len(got))], want[i:min(i+5, len(want))])
		}
	}
}

func glueTexts(t testing.TB) (texts []string) {
	for _, file := range [][]string{{"RTE", "sentence1", "sentence2"}, {"SST-2", "sentence"}, {"STS-B", "sentence1", "sentence2"}} {
		content, err := os.ReadFile(testshared.Path(t, "glue", file[0], "train.tsv"))
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, columns(t, string(content), file[1:]...)...)
	}
	return texts
}

func TestGLUEVocabularyAndIDsAreThoseOfTransformers(t *testing.T) {
	texts := glueTexts(t)
	content, err := os.ReadFile(testshared.Path(t, "glue", "SST-2", "validation.tsv"))
	if err != nil {
		t.Fatal(err)
	}
	sentences := columns(t, string(content), "sentence")
	for _, c := range readGolden(t).GLUE {
		t.Run(fmt.Sprintf("%d lowercase %t", c.Size, c.Lowercase), func(t *testing.T) {
			vocab, err := Train(slices.Values(texts), Options{Size: c.Size, Lowercase: c.Lowercase})
			if err != nil {
				t.Fatal(err)
			}
			dir := t.TempDir()
			if err := WriteFiles(dir, vocab, c.Lowercase, 128); err != nil {
				t.Fatal(err)
			}
			if got := sha(t, filepath.Join(dir, "vocab.txt")); got != c.Vocab {
				t.Errorf("vocab.txt has sha256 %s, want %s", got, c.Vocab)
			}
			if got := idsDigest(t, dir, sentences); got != c.IDs {
				t.Errorf("ids have sha256 %s, want %s", got, c.IDs)
			}
		})
	}
}

func sha(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// idsDigest is the sha256 of the ids of sentences, a line each.
func idsDigest(t *testing.T, dir string, sentences []string) string {
	t.Helper()
	tok, err := data.OpenTokenizer(os.DirFS(dir), dir)
	if err != nil {
		t.Fatal(err)
	}
	h := sha256.New()
	for _, s := range sentences {
		enc, _, err := data.EncodePair(tok, s, "", false, 0)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(h, strings.Trim(fmt.Sprint(enc.IDs), "[]"))
	}
	return hex.EncodeToString(h.Sum(nil))
}
