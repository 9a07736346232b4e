package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"text/tabwriter"
	"time"
)

// tally adds up what came of cases.
type tally struct {
	mu      sync.Mutex
	reports []report
	hit     int
}

func (t *tally) add(r report) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.reports = append(t.reports, r)
	t.hit += len(r.hits)
}

// hits counts the faults that hit a running process.
func (t *tally) hits() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.hit
}

// count is what came of the faults of one kind in one command. A case that failed counts with all its faults.
type count struct{ faults, recovered, lost, differing int }

func (c *count) add(r report) {
	c.faults++
	switch {
	case r.err == nil:
		c.recovered++
	case errors.Is(r.err, errDiffer):
		c.differing++
	default:
		c.lost++
	}
}

// print writes the table of commands and kinds: recovered of how many.
func (t *tally) print(out io.Writer, took time.Duration) {
	cells := map[[2]string]*count{}
	at := func(command, kind string) *count {
		key := [2]string{command, kind}
		if cells[key] == nil {
			cells[key] = &count{}
		}
		return cells[key]
	}
	const all = "all"
	for _, r := range t.reports {
		for _, hit := range r.hits {
			for _, key := range [][2]string{{r.command.name, hit}, {r.command.name, all}, {all, hit}, {all, all}} {
				at(key[0], key[1]).add(r)
			}
		}
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "recovered/faults")
	for _, k := range kinds {
		fmt.Fprintf(w, "\t%s", k.name)
	}
	fmt.Fprintf(w, "\t%s\n", all)
	for _, name := range append(names(), all) {
		fmt.Fprint(w, name)
		for _, k := range kinds {
			fmt.Fprintf(w, "\t%s", at(name, k.name))
		}
		fmt.Fprintf(w, "\t%s\n", at(name, all))
	}
	w.Flush()
	total := at(all, all)
	fmt.Fprintf(out, "%d faults in %d cases: %d recovered, %d lost, %d differing; %.0f s\n",
		total.faults, len(t.reports), total.recovered, total.lost, total.differing, took.Seconds())
}

func (c *count) String() string {
	if c.faults == 0 {
		return "-"
	}
	return fmt.Sprintf("%d/%d", c.recovered, c.faults)
}

func names() []string {
	var list []string
	for _, c := range commands {
		list = append(list, c.name)
	}
	return list
}

// failures prints the cases that failed, each with what repeats it, and counts them.
func (t *tally) failures(out io.Writer, o options) (n int) {
	slices.SortFunc(t.reports, func(a, b report) int { return a.number - b.number })
	for _, r := range t.reports {
		if r.err == nil {
			continue
		}
		n++
		fmt.Fprintf(out, "\ncase %d, %s: %v\n", r.number, r.command.name, r.err)
		for _, line := range r.lines {
			fmt.Fprintf(out, "  %s\n", line)
		}
		fmt.Fprintf(out, "  it lies in %s; repeat: go run ./scripts/chaos --seed %d --only %d%s\n", r.dir, o.seed, r.number, o.narrowed())
	}
	return n
}

// narrowed are the flags that a draw depends on.
func (o options) narrowed() (text string) {
	if o.commands != "" {
		text += " --commands " + o.commands
	}
	if o.kinds != "" {
		text += " --kinds " + o.kinds
	}
	if o.backend != "go" {
		text += " --backend " + o.backend
	}
	return text
}
