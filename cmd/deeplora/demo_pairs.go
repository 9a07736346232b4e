package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/atomicfile"
	"github.com/deeplora/deeplora/train"
)

// embeddedPairs are a paraphrase, a pair on one subject, and one on two.
//
//go:embed pairs.jsonl
var embeddedPairs []byte

const pairsJSONL = "pairs.jsonl"

// demoPairs are the sentence pairs that the demo scores.
type demoPairs struct {
	path  string // empty: embedded, and stay so
	fresh bool   // embedded, and become the file at path
	rows  []data.Input
}

// readPairs reads the pairs to score: --pairs, else pairs.jsonl in --out, else the embedded ones. They are held: the
// file may change while runs are trained.
func (d *demo) readPairs(cmd *cobra.Command) (*demoPairs, error) {
	p := &demoPairs{path: d.pairs}
	if p.path == "" && d.out != "" {
		p.path = filepath.Join(d.out, pairsJSONL)
	}
	var in io.ReadCloser = io.NopCloser(bytes.NewReader(embeddedPairs))
	name := pairsJSONL
	if p.path != "" {
		f, err := os.Open(p.path)
		switch {
		case err == nil:
			in, name = f, p.path
		case errors.Is(err, fs.ErrNotExist) && d.pairs == "":
			p.fresh = true
		default:
			return nil, fmt.Errorf("demo: pairs: %w", err)
		}
	}
	defer in.Close()
	if err := p.read(in, name); err != nil {
		return nil, fmt.Errorf("demo: pairs: %w", err)
	}
	return p, cmd.Context().Err()
}

func (p *demoPairs) read(in io.Reader, name string) error {
	task, err := data.LookupTask(train.Default().Task)
	if err != nil {
		return err
	}
	for row, err := range data.ReadInputs("", in, name, &task) {
		if err == nil && row.Ready {
			err = inputFault(name, row, errors.New(`"input_ids" are no sentences to show; want "text" and "pair"`))
		}
		if err != nil {
			return err
		}
		p.rows = append(p.rows, row)
	}
	if len(p.rows) == 0 {
		return fmt.Errorf(`%s: there is no pair in it; want lines {"text": "…", "pair": "…"}`, name)
	}
	return nil
}

// keep writes embedded pairs where the user can change them.
func (p *demoPairs) keep() error {
	if !p.fresh {
		return nil
	}
	return atomicfile.WriteBytes(p.path, embeddedPairs)
}

// all gives the pairs as predict reads them.
func (p *demoPairs) all(yield func(data.Input, error) bool) {
	for _, row := range p.rows {
		if !yield(row, nil) {
			return
		}
	}
}

// demoScore is a pair with its predicted score, from 0 to 5 as STS-B has them, or a little beyond.
type demoScore struct {
	Text  string  `json:"text"`
	Pair  string  `json:"pair"`
	Score float64 `json:"score"`
}

// predict scores the pairs with a run, as the predict command does.
func (d *demo) predict(ctx context.Context, run string, pairs *demoPairs) ([]demoScore, error) {
	saved, err := train.Open(ctx, run, d.backend, train.OpenOptions{Sources: d.sources()})
	if err != nil {
		return nil, err
	}
	p := &predictor{shared: d.shared, input: pairs.path, batch: predictBatch}
	if err := p.use(saved); err != nil {
		return nil, err
	}
	defer p.Close()
	var scores []demoScore
	err = p.each(ctx, pairs.all, func(predicted []answer) error {
		for _, one := range predicted {
			e := pairs.rows[len(scores)].Example
			scores = append(scores, demoScore{e.Text, e.Pair, *one.Score})
		}
		return nil
	})
	return scores, err
}

func scoreRows(scores []demoScore) [][]string {
	rows := [][]string{{"score", "text", "pair"}}
	for _, s := range scores {
		rows = append(rows, []string{fmt.Sprintf("%.2f", s.Score), shown(s.Text), shown(s.Pair)})
	}
	return rows
}

// shown is a text as it fits a column: on one line, without what moves a cursor, and not too long.
func shown(text string) string {
	const widest = 60
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	if runes := []rune(text); len(runes) > widest {
		return string(runes[:widest-1]) + "…"
	}
	return text
}
