package pretrain

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// write makes a file in a folder of the test's own.
func write(t testing.TB, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestReadCorpus(t *testing.T) {
	one := write(t, "one.txt", "a cat\n\n  a dog \t a bird\na cat\r\n \t \na bird\ta cat\nsame\tsame\nonly one\t\n")
	two := write(t, "two.txt", "a dog\nlast line without an end")
	c, err := readCorpus([]string{one, two})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"a cat", "a dog", "a bird", "same", "only one", "last line without an end"}; !slices.Equal(c.texts, want) {
		t.Errorf("texts %q, want %q", c.texts, want)
	}
	if want := [][2]int{{1, 2}, {2, 0}}; !slices.Equal(c.pairs, want) {
		t.Errorf("pairs %v, want %v", c.pairs, want)
	}
	if len(c.sources) != 2 || c.sources[0].File != "one.txt" || c.sources[1].SHA256 != sum(t, two) {
		t.Errorf("sources %v", c.sources)
	}
}

func TestReadCorpusErrors(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"not UTF-8", "fine\nb\xe4d\n", "corpus.txt:2: not valid UTF-8; convert the text first"},
		{"two tabs", "one\ttwo\tthree\n", "corpus.txt:1: 2 tabs; a line is a text, or two with one tab between"},
		{"empty", "", "corpus.txt: no text"},
		{"blank lines alone", "\n \n\t\n", "corpus.txt: no text"},
		{"a line without end", "short\n" + strings.Repeat("x", maxLine+1), "corpus.txt: bufio.Scanner: token too long; want a text a line, of at most 1048576 bytes"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if _, err := readCorpus([]string{write(t, "corpus.txt", tc.text)}); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want %q", err, tc.want)
			}
		})
	}
	if _, err := readCorpus([]string{"absent.txt"}); err == nil || !strings.Contains(err.Error(), "corpus: open absent.txt") {
		t.Errorf("a file that is absent: %v", err)
	}
}

// Which texts are held depends on themselves: one more moves no other.
func TestHold(t *testing.T) {
	held := func(texts []string, share float64) (list []string) {
		c := &corpus{texts: texts}
		c.hold(1, share)
		for i, h := range c.held {
			if h {
				list = append(list, texts[i])
			}
		}
		return list
	}
	texts := corpusTexts()
	slices.Sort(texts)
	texts = slices.Compact(texts)
	some := held(texts, 0.3)
	if n := len(some); n < len(texts)/10 || n > len(texts)/2 {
		t.Errorf("%d of %d texts are held", n, len(texts))
	}
	if more := held(append([]string{"one more"}, texts...), 0.3); !reflect.DeepEqual(slices.DeleteFunc(more, func(s string) bool { return s == "one more" }), some) {
		t.Errorf("with one text more %v are held, want %v", more, some)
	}
	if none := held(texts, 0); len(none) > 0 {
		t.Errorf("held without a share: %v", none)
	}
}

func FuzzCorpus(f *testing.F) {
	for _, text := range []string{"a text\n", "a\tb\r\n\n", "a\tb\tc", "\xff\n", "\u00a0\t\u2028x\n", strings.Join(corpusLines(), "\n")} {
		f.Add(text)
	}
	path := filepath.Join(f.TempDir(), "corpus.txt")
	read := func(t *testing.T, text string) (*corpus, error) {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return readCorpus([]string{path})
	}
	f.Fuzz(func(t *testing.T, text string) {
		c, err := read(t, text)
		if err != nil {
			return
		}
		seen := map[string]bool{}
		for _, s := range c.texts {
			if s == "" || s != strings.TrimSpace(s) || strings.ContainsAny(s, "\n\t") || !utf8.ValidString(s) || seen[s] {
				t.Errorf("text %q", s)
			}
			seen[s] = true
		}
		for _, p := range c.pairs {
			if p[0] == p[1] || max(p[0], p[1]) >= len(c.texts) || min(p[0], p[1]) < 0 {
				t.Errorf("pair %v of %d texts", p, len(c.texts))
			}
		}
		again, err := read(t, strings.Join(c.texts, "\n"))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(again.texts, c.texts) {
			t.Errorf("its texts read again: %q, want %q", again.texts, c.texts)
		}
	})
}
