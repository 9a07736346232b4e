package pretrain

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/rng"
	"github.com/deeplora/deeplora/model"
)

// corpus is the text of a run: every text once, in the order of its first line.
type corpus struct {
	texts   []string
	pairs   [][2]int // texts that a line joins
	sources []model.FileSum

	ids  [][]int32 // of each text, without special tokens
	held []bool    // kept for measuring
}

// maxLine bounds a line of a corpus, in bytes.
const maxLine = 1 << 20

// readCorpus reads text files: UTF-8, a text a line, or two with a tab between. Empty lines are skipped, texts
// that come again count once.
func readCorpus(paths []string) (*corpus, error) {
	c := &corpus{}
	seen := map[string]int{}
	for _, path := range paths {
		if err := c.readFile(path, seen); err != nil {
			return nil, err
		}
	}
	if len(c.texts) == 0 {
		return nil, fmt.Errorf("corpus %s: no text", strings.Join(paths, ", "))
	}
	return c, nil
}

func (c *corpus) readFile(path string, seen map[string]int) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("corpus: %w", err)
	}
	defer f.Close()
	h := sha256.New()
	lines := bufio.NewScanner(io.TeeReader(f, h))
	lines.Buffer(nil, maxLine)
	for n := 1; lines.Scan(); n++ {
		if err := c.add(lines.Text(), seen); err != nil {
			return fmt.Errorf("%s:%d: %w", path, n, err)
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("%s: %w; want a text a line, of at most %d bytes", path, err, maxLine)
	}
	c.sources = append(c.sources, model.FileSum{File: filepath.Base(path), SHA256: hex.EncodeToString(h.Sum(nil))})
	return nil
}

func (c *corpus) add(line string, seen map[string]int) error {
	if !utf8.ValidString(line) {
		return fmt.Errorf("not valid UTF-8; convert the text first")
	}
	sides := strings.Split(line, "\t")
	if len(sides) > 2 {
		return fmt.Errorf("%d tabs; a line is a text, or two with one tab between", len(sides)-1)
	}
	var at []int
	for _, text := range sides {
		if text = strings.TrimSpace(text); text == "" {
			continue
		}
		i, known := seen[text]
		if !known {
			i = len(c.texts)
			seen[text] = i
			c.texts = append(c.texts, text)
		}
		at = append(at, i)
	}
	if len(at) == 2 && at[0] != at[1] {
		c.pairs = append(c.pairs, [2]int{at[0], at[1]})
	}
	return nil
}

// encode tokenizes every text.
func (c *corpus) encode(tok data.Tokenizer, progress func(done, total int)) error {
	c.ids = make([][]int32, len(c.texts))
	for i, text := range c.texts {
		var err error
		if c.ids[i], err = tok.Encode(text); err != nil {
			return fmt.Errorf("corpus text %q: %w", text, err)
		}
		if i%10000 == 0 || i+1 == len(c.texts) {
			progress(i+1, len(c.texts))
		}
	}
	return nil
}

// hold keeps a share of the texts for measuring: which ones depends on the texts themselves, so that one more line
// in the corpus moves no other.
func (c *corpus) hold(seed uint64, share float64) {
	c.held = make([]bool, len(c.texts))
	for i, text := range c.texts {
		c.held[i] = rng.New(seed, "validation", text).Float64() < share
	}
}

// part lists the texts that are held for measuring, or the others.
func (c *corpus) part(held bool) []int {
	var list []int
	for i, h := range c.held {
		if h == held && len(c.ids[i]) > 0 {
			list = append(list, i)
		}
	}
	return list
}
