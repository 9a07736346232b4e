package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"github.com/deeplora/deeplora/train"
)

// ui shows what happens: a progress bar on a terminal, plain lines elsewhere, nothing when quiet. Results go
// to out, everything else to err.
type ui struct {
	out, err       io.Writer
	terminal       bool
	colour         bool
	quiet, verbose bool

	bar    *progressbar.ProgressBar
	phase  string
	shown  time.Time // of the last plain step line
	prefix string    // of lines and bars: which of several runs this is
}

// lineEvery is how often a plain step line is printed, at least a step apart.
const lineEvery = 10 * time.Second

func newUI(out, errOut io.Writer, quiet, verbose bool) *ui {
	u := &ui{out: out, err: errOut, quiet: quiet, verbose: verbose}
	if f, ok := errOut.(*os.File); ok {
		u.terminal = term.IsTerminal(int(f.Fd()))
		u.colour = u.terminal && os.Getenv("NO_COLOR") == ""
	}
	return u
}

// event shows a training event.
func (u *ui) event(e train.Event) {
	switch e := e.(type) {
	case train.Notice:
		u.line("note: %s", e.Text)
	case train.Phase:
		u.progress(e.Name, e.Done, e.Total, "")
	case train.Ready:
		u.clear()
		from := ""
		if e.From > 0 {
			from = fmt.Sprintf(", going on after step %d", e.From)
		}
		u.line("training %d parameters of %d kernels on %d examples, %d steps%s", e.Parameters, e.Kernels, e.Examples, e.Steps, from)
	case train.Step:
		u.step(e)
	case train.Evaluated:
		u.clear()
		best := ""
		if e.Best {
			best = " (best)"
		}
		u.line("step %d: %s%s", e.Step, metricText(e.Metrics), best)
	case train.Checkpointed:
		if u.verbose {
			u.line("step %d: checkpoint %s", e.Step, e.Path)
		}
	}
}

// step shows one optimizer step.
func (u *ui) step(e train.Step) {
	detail := fmt.Sprintf("loss %.4f, %.0f tokens/s", e.Loss, e.TokensPerSecond)
	if u.terminal {
		u.progress("train", e.Step, e.Steps, detail)
		return
	}
	if e.Step == 1 || e.Step == e.Steps || time.Since(u.shown) >= lineEvery {
		u.shown = time.Now()
		u.line("step %d/%d: %s, lr %.3g", e.Step, e.Steps, detail, e.LR)
	}
}

// download shows the progress of a file that is fetched, in bytes.
func (u *ui) download(file string, done, total int64) {
	u.progress("fetch "+file, int(done), int(total), "")
}

// progress moves the bar of a phase; a phase of another name begins a new bar. There are no bars but on a
// terminal.
func (u *ui) progress(name string, done, total int, detail string) {
	if !u.terminal || u.quiet {
		return
	}
	if u.bar == nil || u.phase != name {
		u.clear()
		u.phase = name
		u.bar = progressbar.NewOptions(total,
			progressbar.OptionSetWriter(u.err), progressbar.OptionSetWidth(24), progressbar.OptionShowCount(),
			progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish(),
			progressbar.OptionSetPredictTime(true), progressbar.OptionUseANSICodes(u.colour))
	}
	u.bar.Describe(strings.TrimSpace(u.prefix + " " + name + " " + detail))
	_ = u.bar.Set(done) // the bar is on a terminal that may be gone; training goes on
	if done >= total {
		u.clear()
	}
}

// clear takes the bar away before anything else is written.
func (u *ui) clear() {
	if u.bar != nil {
		_ = u.bar.Clear() // as above
		u.bar, u.phase = nil, ""
	}
}

// line writes one line of what is going on.
func (u *ui) line(format string, args ...any) {
	if u.quiet {
		return
	}
	if u.bar != nil {
		_ = u.bar.Clear() // drawn again at the next step
	}
	if u.prefix != "" {
		format = u.prefix + ": " + format
	}
	fmt.Fprintf(u.err, format+"\n", args...)
}

// table writes rows with aligned columns as a result; the first row is the header.
func (u *ui) table(rows [][]string) error {
	u.clear()
	w := tabwriter.NewWriter(u.out, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}

// json writes v as a result.
func (u *ui) json(v any) error {
	u.clear()
	e := json.NewEncoder(u.out)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// metricText lists metrics by name: "pearson 0.8123, spearman 0.8087".
func metricText(m train.Metrics) string {
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
