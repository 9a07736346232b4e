package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
	"unicode/utf8"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/deeplora/deeplora/train/loop"
)

// ui shows what happens: a progress bar on a terminal, plain lines elsewhere, nothing when quiet. Results go
// to out, everything else to err.
type ui struct {
	out, err       io.Writer
	terminal       bool // err is one that can move its cursor
	ansi           bool
	quiet, verbose bool
	prefix         string // of lines and bars: which of several runs this is

	mu       sync.Mutex // an interrupt is reported while a bar moves
	bar      *progressbar.ProgressBar
	blocks   int       // the width of bar
	phase    string    // what the bar, or the last plain line, counts
	shown    time.Time // when the bar moved or a plain line of progress was written
	began    pace      // of the phase
	training pace      // of training, which evaluations cut into phases
}

const (
	barEvery  = 100 * time.Millisecond
	lineEvery = 10 * time.Second // between plain lines of progress
	barWidth  = 24               // blocks, where there is room
	barRest   = 15               // columns for the percentage, and for the ^C of a terminal
	barGrowth = 14               // columns for text that becomes longer
)

func newUI(out, errOut io.Writer, quiet, verbose bool) *ui {
	u := &ui{out: out, err: errOut, quiet: quiet, verbose: verbose}
	if f, ok := errOut.(*os.File); ok {
		u.terminal = term.IsTerminal(int(f.Fd())) && os.Getenv("TERM") != "dumb"
		u.ansi = os.Getenv("NO_COLOR") == ""
	}
	return u
}

// pace is when counting began, and where: what is left follows from it.
type pace struct {
	from  int
	since time.Time
	seen  int // counts since then
}

// left is how long the rest takes at the pace so far: ", ETA 12s", or nothing where that is not known yet.
func (p *pace) left(done, total int) string {
	if p.since.IsZero() {
		*p = pace{from: done, since: time.Now()}
	}
	// The first counts tell little: where batches differ in length, several of them compile.
	if p.seen++; p.seen <= 3 || done <= p.from || done >= total {
		return ""
	}
	each := time.Since(p.since) / time.Duration(done-p.from)
	return ", ETA " + short(each*time.Duration(total-done))
}

// short is a duration in at most two units.
func short(d time.Duration) string {
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%ds", int(math.Ceil(d.Seconds())))
	case d < time.Hour:
		return fmt.Sprintf("%dm%02ds", int(d.Minutes()), int(d.Seconds())%60)
	default:
		return fmt.Sprintf("%dh%02dm", int(d.Hours()), int(d.Minutes())%60)
	}
}

// event shows a training event.
func (u *ui) event(e loop.Event) {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch e := e.(type) {
	case loop.Notice:
		u.print("note: %s", e.Text)
	case loop.Phase:
		u.move(e.Name, e.Done, e.Total, counted(e.Done, e.Total), &u.began)
	case loop.Ready:
		u.training, u.shown = pace{}, time.Time{}
		from := ""
		if e.From > 0 {
			from = fmt.Sprintf(", going on after step %d", e.From)
		}
		what := fmt.Sprintf("%d parameters", e.Parameters)
		if e.Kernels > 0 { // adapted ones; pretraining trains the whole model
			what += fmt.Sprintf(" of %d kernels", e.Kernels)
		}
		u.print("training %s on %d examples, %d steps%s", what, e.Examples, e.Steps, from)
	case loop.Step:
		u.step(e)
	case loop.Evaluated:
		u.wipe()
		best := ""
		if e.Best {
			best = " (best)"
		}
		u.print("step %d: %s%s", e.Step, metricText(e.Metrics), best)
	case loop.Checkpointed:
		if u.verbose {
			u.print("step %d: checkpoint %s", e.Step, e.Path)
		}
	}
}

// step shows one optimizer step. Its pace is counted from the first one, which also compiles.
func (u *ui) step(e loop.Step) {
	detail := fmt.Sprintf("loss %.4f, %.0f tokens/s", e.Loss, e.TokensPerSecond)
	if u.terminal {
		u.move("train", e.Step, e.Steps, counted(e.Step, e.Steps)+", "+detail, &u.training)
		return
	}
	left := u.training.left(e.Step, e.Steps)
	if due := u.due(lineEvery); due || e.Step == 1 || e.Step == e.Steps {
		u.print("step %d/%d: %s, lr %.3g%s", e.Step, e.Steps, detail, e.LR, left)
	}
}

// due reports whether progress was last shown so long ago, and if so takes it as shown now.
func (u *ui) due(every time.Duration) bool {
	if time.Since(u.shown) < every {
		return false
	}
	u.shown = time.Now()
	return true
}

func counted(done, total int) string { return fmt.Sprintf("%d/%d", done, total) }

// download shows the progress of a file that is fetched, in bytes. What has no length gets a line and no bar.
func (u *ui) download(file string, done, total int64) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if name := "fetch " + file; u.phase != name && (!u.terminal || total <= 0) {
		u.wipe()
		u.phase, u.shown = name, time.Now()
		u.print("%s", name)
	}
	megabytes := func(n int64) float64 { return float64(n) / 1e6 }
	u.move("fetch "+file, int(done), int(total), fmt.Sprintf("%.1f/%.1f MB", megabytes(done), megabytes(total)), &u.began)
}

// progress shows how far a phase has come; one of another name begins anew.
func (u *ui) progress(name string, done, total int, detail string) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.move(name, done, total, detail, &u.began)
}

// move moves the bar of a phase or, where there are no bars, writes a line now and then.
func (u *ui) move(name string, done, total int, detail string, p *pace) {
	if u.quiet || total <= 0 {
		return
	}
	if u.phase != name {
		u.wipe()
		u.phase, u.began = name, pace{}
		u.shown = time.Time{}
		if !u.terminal {
			u.shown = time.Now() // short phases go without a line
		}
	}
	text := strings.TrimSpace(name+" "+detail) + p.left(done, total)
	switch {
	case done >= total:
		u.wipe()
	case !u.terminal && u.due(lineEvery):
		u.print("%s", text)
	case u.terminal && u.due(barEvery):
		u.draw(done, total, text)
	}
}

// draw draws the bar, as wide as it fits.
func (u *ui) draw(done, total int, text string) {
	if rest, isTraining := strings.CutPrefix(text, "train "); u.prefix != "" && isTraining {
		text = u.prefix + " " + rest // short of room: what else would it be doing
	} else if u.prefix != "" {
		text = u.prefix + ": " + text
	}
	columns := u.columns() - barRest
	if u.bar == nil {
		u.blocks = max(0, min(barWidth, columns-len(text)-barGrowth))
	}
	text = cut(plainCell(text), columns-u.blocks)
	if u.bar == nil {
		u.bar = progressbar.NewOptions(total,
			progressbar.OptionSetWriter(u.err), progressbar.OptionSetWidth(u.blocks), progressbar.OptionSetDescription(text),
			progressbar.OptionShowDescriptionAtLineEnd(), progressbar.OptionSetPredictTime(false), progressbar.OptionSetElapsedTime(false),
			progressbar.OptionClearOnFinish(), progressbar.OptionUseANSICodes(u.ansi))
	}
	// The bar is on a terminal that may be gone; training goes on. Number before text: each redraws.
	_ = u.bar.Set(done)
	u.bar.Describe(text)
}

// columns is the width of the terminal.
func (u *ui) columns() int {
	if f, ok := u.err.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && width > 0 {
			return width
		}
	}
	return 80
}

// cut leaves out the last of the parts between commas until text has at most so many columns: a line that wraps
// cannot be taken back.
func cut(text string, columns int) string {
	for utf8.RuneCountInString(text) > columns {
		end := strings.LastIndex(text, ", ")
		if end < 0 {
			return string([]rune(text)[:max(0, columns)])
		}
		text = text[:end]
	}
	return text
}

// clear takes the bar away before something else is written by somebody else.
func (u *ui) clear() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.wipe()
}

func (u *ui) wipe() {
	if u.bar != nil {
		_ = u.bar.Clear() // as in draw
	}
	u.bar, u.phase = nil, ""
}

// line writes one line of what is going on.
func (u *ui) line(format string, args ...any) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.print(format, args...)
}

func (u *ui) print(format string, args ...any) {
	if u.quiet {
		return
	}
	if u.bar != nil {
		_ = u.bar.Clear() // drawn again when it next moves
	}
	if u.prefix != "" {
		format = strings.ReplaceAll(u.prefix, "%", "%%") + ": " + format
	}
	fmt.Fprintln(u.err, plain(fmt.Sprintf(format, args...)))
}

// onCancel calls act when ctx is cancelled, until the returned function is called, which waits for act to return.
func onCancel(ctx context.Context, act func()) (stop func()) {
	done := make(chan struct{})
	cancel := context.AfterFunc(ctx, func() {
		defer close(done)
		act()
	})
	return func() {
		if !cancel() {
			<-done
		}
	}
}

// table writes rows with aligned columns as a result; the first row is the header.
func (u *ui) table(rows [][]string) error {
	u.clear()
	w := tabwriter.NewWriter(u.out, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		cells := make([]string, len(row))
		for i, text := range row {
			cells[i] = plainCell(text)
		}
		fmt.Fprintln(w, strings.Join(cells, "\t"))
	}
	return w.Flush()
}

// json writes v as a result.
func (u *ui) json(v any) error {
	u.clear()
	e := json.NewEncoder(plainJSON(u.out))
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// metricText lists metrics by name: "pearson 0.8123, spearman 0.8087".
func metricText(m loop.Metrics) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, name+" "+metricValue(m[name]))
	}
	return strings.Join(parts, ", ")
}

func metricValue(v float64) string {
	if math.IsNaN(v) {
		return "undefined"
	}
	return fmt.Sprintf("%.4f", v)
}
