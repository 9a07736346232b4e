package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/deeplora/deeplora/internal/atomicfile"
	"github.com/deeplora/deeplora/internal/jsonfile"
	"github.com/deeplora/deeplora/internal/picture"
	"github.com/deeplora/deeplora/model"
)

// scaled is a step of deeplora's whose size is measured against its time and memory, beside what is predicted: the
// work that it needs at the share of the peak that the first point of all reaches.
type scaled struct {
	Sweep      string  `json:"sweep"`
	Series     string  `json:"series"`
	At         float64 `json:"at"` // on the sweep's axis
	Method     string  `json:"method"`
	Scope      string  `json:"scope"`
	Rank       int     `json:"rank"`
	Batch      int     `json:"batch"`  // rows
	Length     int     `json:"length"` // tokens of a row
	Recompute  bool    `json:"gradient_checkpointing"`
	Seconds    float64 `json:"step_seconds"` // median
	FLOPs      float64 `json:"flops"`
	PeakRSS    int64   `json:"peak_rss_bytes"`
	model      string
	Parameters float64 `json:"model_parameters"`
}

// scaling is the file of --scaling.
type scaling struct {
	Machine []fact   `json:"machine"`
	Peak    float64  `json:"peak_flops_per_second"`
	Points  []scaled `json:"points"`
}

// share is what of the peak the first point reaches.
func (s *scaling) share() float64 { return s.Points[0].FLOPs / s.Points[0].Seconds / s.Peak }

func (s *scaling) predicted(p scaled) float64 { return p.FLOPs / s.Peak / s.share() }

// sweeps are the points, one thing changing at a time. The first is workload b's step.
func (b *bench) sweeps() (points []scaled) {
	base := scaled{Method: compressed, Scope: attentionMLP, Rank: rank, Batch: batch, Length: maxLength, model: b.model}
	add := func(sweep, series string, at float64, change func(p *scaled)) {
		p := base
		p.Sweep, p.Series, p.At = sweep, series, at
		change(&p)
		points = append(points, p)
	}
	for _, rows := range []int{16, 1, 4, 8} {
		add("tokens", "rows of 128", float64(rows*maxLength), func(p *scaled) { p.Batch = rows })
	}
	for _, rows := range []int{4, 16} {
		add("tokens", "gradient checkpointing", float64(rows*maxLength), func(p *scaled) { p.Batch, p.Recompute = rows, true })
	}
	for _, length := range []int{64, 128, 256} {
		add("length", "2,048 tokens", float64(length), func(p *scaled) { p.Batch, p.Length = batch*maxLength/length, length })
	}
	for _, method := range []string{"vanilla", compressed} {
		for _, r := range []int{4, 8, 16, 64} {
			add("rank", method, float64(r), func(p *scaled) { p.Method, p.Rank, p.Batch = method, r, 4 })
		}
	}
	for _, method := range []string{"vanilla", compressed} {
		for i, scope := range []string{"only-query-value", attentionMLP, allDense} {
			add("kernels", method, []float64{24, 72, 75}[i], func(p *scaled) { p.Method, p.Scope, p.Batch = method, scope, 4 })
		}
	}
	for _, dir := range append([]string{b.minilm, b.model}, b.more...) {
		if dir != "" {
			add("model", "4 rows of 128", 0, func(p *scaled) { p.model, p.Batch, p.Method = dir, 4, "vanilla" })
		}
	}
	return points
}

// scale measures the points that the file does not have yet, and draws them all beside it.
func (b *bench) scale(ctx context.Context) error {
	s := scaling{Machine: b.results.Machine, Peak: b.results.Peak}
	if err := jsonfile.Read(b.scaling, &s); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	for i, p := range b.sweeps() {
		if i < len(s.Points) {
			continue
		}
		if err := b.point(ctx, &p); err != nil {
			return fmt.Errorf("scaling %s %s %v: %w", p.Sweep, p.Series, p.At, err)
		}
		s.Points = append(s.Points, p)
		b.note("%s, %s, %v: %.3f s, predicted %.3f, %.2f GB", p.Sweep, p.Series, p.At, p.Seconds, s.predicted(p), float64(p.PeakRSS)/1e9)
		if err := jsonfile.Write(b.scaling, &s); err != nil {
			return err
		}
	}
	return s.draw(strings.TrimSuffix(b.scaling, filepath.Ext(b.scaling)))
}

// point times one.
func (b *bench) point(ctx context.Context, p *scaled) error {
	j := &job{model: p.model, workload: workload{Kind: stepKind, Task: "stsb", Shots: 128, Full: true, Method: p.Method, Scope: p.Scope, Dropout: dropout}}
	j.size = size{rank: p.Rank, batch: p.Batch, length: p.Length, recompute: p.Recompute}
	config, err := model.ReadConfig(os.DirFS(j.model), "config.json")
	if err != nil {
		return err
	}
	if j.kernels, err = b.inspect(ctx, j); err != nil {
		return err
	}
	lengths, err := b.writeData(j)
	if err != nil {
		return err
	}
	defer os.RemoveAll(j.data)
	t, err := b.train(ctx, j, j.adapter())
	if err != nil {
		return err
	}
	p.Seconds, p.PeakRSS, p.FLOPs = medianStep(t.steps), t.peak, work(config, j.kernels, lengths, true)
	for _, k := range j.kernels {
		p.Parameters += float64(k.In * k.Out)
	}
	if p.Sweep == "model" {
		p.At = p.Parameters
	}
	return nil
}

// axes name a sweep's picture and its axis; tokens has one of memory too.
var axes = map[string]struct{ title, label string }{
	"tokens":  {"Tokens of a batch", "tokens, in rows of 128"},
	"length":  {"Length of rows, 2,048 tokens in all", "tokens of a row"},
	"rank":    {"Rank, 4 rows of 128", "rank"},
	"kernels": {"Adapted kernels, 4 rows of 128", "kernels"},
	"model":   {"Size of the model, 4 rows of 128", "parameters in kernels"},
}

// draw writes a picture for each sweep: NAME-tokens.svg and so on.
func (s *scaling) draw(name string) error {
	for sweep, about := range axes {
		seconds := func(p scaled) float64 { return p.Seconds }
		l := picture.Lines{Title: about.title, XLabel: about.label, YLabel: "seconds a step", LogX: true, LogY: sweep != "rank" && sweep != "length" && sweep != "kernels"}
		l.Series = s.series(sweep, "", seconds)
		for _, line := range s.series(sweep, ", predicted", s.predicted) {
			line.Color = picture.Dashed(line.Color)
			l.Series = append(l.Series, line)
		}
		if len(l.Series) == 0 {
			continue
		}
		if err := atomicfile.Write(name+"-"+sweep+".svg", func(w io.Writer) error { return l.WriteSVG(w) }); err != nil {
			return err
		}
	}
	memory := picture.Lines{Title: "Peak memory", XLabel: axes["tokens"].label, YLabel: "GB", LogX: true}
	memory.Series = s.series("tokens", "", func(p scaled) float64 { return float64(p.PeakRSS) / 1e9 })
	return atomicfile.Write(name+"-memory.svg", func(w io.Writer) error { return memory.WriteSVG(w) })
}

// series are a sweep's lines, their points in order.
func (s *scaling) series(sweep, suffix string, y func(scaled) float64) (list []picture.Series) {
	at := map[string]int{}
	for _, p := range s.Points {
		if p.Sweep != sweep {
			continue
		}
		i, ok := at[p.Series]
		if !ok {
			i = len(list)
			at[p.Series] = i
			list = append(list, picture.Series{Name: p.Series + suffix, Color: i + 1})
		}
		n := 0
		for n < len(list[i].X) && list[i].X[n] < p.At {
			n++
		}
		list[i].X = slices.Insert(list[i].X, n, p.At)
		list[i].Y = slices.Insert(list[i].Y, n, y(p))
	}
	return list
}
