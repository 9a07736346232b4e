package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"
)

// The engines, as --backend of the program names them.
const (
	cuda     = "xla:cuda"
	cpu      = "xla:cpu"
	goEngine = "go"
)

type outcome string

const (
	passed  outcome = "passed"
	failed  outcome = "failed"
	skipped outcome = "skipped"
)

// row is a line of the table.
type row struct {
	name    string
	outcome outcome
	figure  string // what was measured; what is wrong; why it was skipped
	seconds float64
	log     string // what the programs said, of a row that failed
}

// check is what is being done: its rows so far, and what they share.
type check struct {
	settings
	scratch  string
	progress io.Writer // a line a row, for who waits
	began    time.Time
	deadline time.Time
	rows     []row
	facts    []string // about the machine, a line each
	appendix []string // Markdown that goes below the table

	engine    engineState // the one that is checked
	reference string      // the engine that losses are held against
	xlaFlags  string      // what programs are told in $XLA_FLAGS besides what it has

	runs     map[string]*trained // by their names; each is made once
	trainers int                 // processes that trained to their end,
	trained  time.Duration       // and what they took together
}

func newCheck(s settings, scratch string, progress io.Writer) *check {
	began := time.Now()
	return &check{settings: s, scratch: scratch, progress: progress, began: began, deadline: began.Add(s.limit), runs: map[string]*trained{}}
}

// skip is why a row has no answer.
type skip string

func (s skip) Error() string { return string(s) }

// fault is what is wrong with a program, and what it said.
type fault struct {
	error
	log string
}

func (f fault) Unwrap() error { return f.error }

// row makes a line of the table of what do finds: a skip that it returns is one, any other error is a failure. Processes
// is how many trainings it is about to make: a row that there is no time for is not begun.
func (c *check) row(ctx context.Context, name string, processes int, do func(ctx context.Context) (figure string, err error)) {
	r := row{name: name, outcome: passed}
	began := time.Now()
	err := c.fits(processes)
	if err == nil {
		r.figure, err = do(ctx)
	}
	r.seconds = time.Since(began).Seconds()
	var s skip
	var f fault
	switch {
	case err == nil:
	case errors.As(err, &s):
		r.outcome, r.figure = skipped, err.Error()
	default:
		r.outcome, r.figure = failed, err.Error()
		if errors.As(err, &f) {
			r.log = f.log
		}
	}
	c.add(r)
}

// add keeps a row, and shows it.
func (c *check) add(r row) {
	c.rows = append(c.rows, r)
	fmt.Fprintf(c.progress, "gpu_check: %s: %s (%.0f s): %s\n", r.name, r.outcome, r.seconds, r.figure)
}

// fits is a skip unless there is time left for so many trainings, as long as those before were on average.
func (c *check) fits(processes int) error {
	need := time.Duration(0)
	if c.trainers > 0 {
		need = c.trained / time.Duration(c.trainers) * time.Duration(processes)
	}
	switch left := time.Until(c.deadline); {
	case left <= 0:
		return skip("no time left")
	case left <= need:
		return skip(fmt.Sprintf("too little time left: about %.0f s are needed, of the limit there are %.0f", need.Seconds(), left.Seconds()))
	}
	return nil
}

// missing is how many of the trainings of these names are still to be made.
func (c *check) missing(names ...string) (n int) {
	for _, name := range names {
		if c.runs[name] == nil {
			n++
		}
	}
	return n
}

func (c *check) count(o outcome) (n int) {
	for _, r := range c.rows {
		if r.outcome == o {
			n++
		}
	}
	return n
}

// at is a path in the folder of --tests.
func (c *check) at(elem ...string) string {
	return filepath.Join(append([]string{c.tests}, elem...)...)
}
