package wordpiece

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestFilesAreThoseOfTransformers(t *testing.T) {
	c := readGolden(t).Small[0]
	files, err := Files(strings.Split(c.Vocab, " "), c.Lowercase, 128)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"tokenizer.json", "tokenizer_config.json"} {
		want, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(files[name], want) {
			t.Errorf("%s differs: %.400s", name, files[name])
		}
	}
	if want := strings.ReplaceAll(c.Vocab, " ", "\n") + "\n"; string(files["vocab.txt"]) != want {
		t.Errorf("vocab.txt is %.80q", files["vocab.txt"])
	}
}

func TestWrittenFolderOpensAlikeWithoutTokenizerJSON(t *testing.T) {
	texts := smallText(t, "odd")
	for _, lowercase := range []bool{true, false} {
		vocab, err := Train(slices.Values(texts), Options{Size: 500, Lowercase: lowercase, MinFrequency: 1})
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		if err := WriteFiles(dir, vocab, lowercase, 64); err != nil {
			t.Fatal(err)
		}
		whole := idsDigest(t, dir, texts)
		if err := os.Remove(filepath.Join(dir, "tokenizer.json")); err != nil {
			t.Fatal(err)
		}
		if lines := idsDigest(t, dir, texts); lines != whole {
			t.Errorf("lowercase %t: tokenizer.json and vocab.txt give different ids", lowercase)
		}
	}
}

func TestFilesRefuseWhatTheyCannotSay(t *testing.T) {
	with := func(tokens ...string) []string { return slices.Concat(specials, tokens) }
	for _, c := range []struct {
		name   string
		vocab  []string
		length int
		want   string
	}{
		{"no vocabulary", nil, 128, "does not begin with [PAD] [UNK] [CLS] [SEP] [MASK]"},
		{"other order", []string{"[UNK]", "[PAD]", "[CLS]", "[SEP]", "[MASK]"}, 128, "does not begin with"},
		{"twice", with("a", "b", "a"), 128, `token "a" has the ids 5 and 7`},
		{"empty", with(""), 128, `token "" of id 5 is not a line`},
		{"two lines", with("a\nb"), 128, `token "a\nb" of id 5 is not a line`},
		{"no length", with("a"), 0, "max length is 0; want the model's largest number of positions"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if _, err := Files(c.vocab, true, c.length); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %v, want %q", err, c.want)
			}
		})
	}
	err := WriteFiles(filepath.Join(t.TempDir(), "none"), with("a"), true, 128)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error is %v, want the folder to be missing", err)
	}
}
