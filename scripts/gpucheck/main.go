// Program gpucheck checks on a machine with an NVIDIA GPU what is promised of one: goldens, the same bits, precisions,
// paddings, several devices, speed. It needs nothing there but a driver, the CUDA plugin and the folder that
// scripts/gpu_check.sh --build has made, and knows the program by its command line alone. What it found is a table in
// Markdown. With --backend xla:cpu the same rows run without a GPU.
//
//	scripts/gpu_check.sh --build gpu-check && gpu-check/gpu_check.sh --out check.md
//
// rows.go says what is checked, and within what.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// settings are the command line's.
type settings struct {
	tests, backend string
	out            string // file of the report; empty: standard output alone
	python, model  string // of the peer
	limit          time.Duration
	optional       bool
}

func main() {
	s, err := parse(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		err = run(ctx, s, os.Stdout, os.Stderr)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "gpu_check:", err)
		os.Exit(1)
	}
}

// parse reads the command line; usage and faults go to w.
func parse(args []string, w io.Writer) (settings, error) {
	var s settings
	var seconds int
	f := flag.NewFlagSet("gpu_check", flag.ContinueOnError)
	f.SetOutput(w)
	f.StringVar(&s.tests, "tests", "gpu-check", "folder that scripts/gpu_check.sh --build has made")
	f.StringVar(&s.backend, "backend", cuda, "engine to check: "+cuda+" or "+cpu)
	f.IntVar(&seconds, "limit", 600, "seconds that all of it may take; rows that no longer fit are skipped")
	f.StringVar(&s.out, "out", "", "file for the table, besides standard output")
	f.StringVar(&s.python, "python", "", "Python with torch, transformers and peft, to be timed beside")
	f.StringVar(&s.model, "model", "", "checkpoint of BERT-base's shape, to be timed on")
	f.BoolVar(&s.optional, "optional", false, "where no plugin is installed, say so and succeed")
	if err := f.Parse(args); err != nil {
		return s, err
	}
	s.limit = time.Duration(seconds) * time.Second
	switch {
	case f.NArg() > 0:
		return s, fmt.Errorf("%q: flags only", f.Arg(0))
	case s.backend != cuda && s.backend != cpu:
		return s, fmt.Errorf("--backend %s: want %s or %s", s.backend, cuda, cpu)
	case seconds < 1:
		return s, fmt.Errorf("--limit %d: want at least 1", seconds)
	}
	return s, s.absolute()
}

// absolute makes the paths so: programs are run in other folders.
func (s *settings) absolute() (err error) {
	for _, path := range []*string{&s.tests, &s.out, &s.model, &s.python} {
		if *path == "" || path == &s.python && !strings.Contains(s.python, "/") { // found on $PATH
			continue
		}
		if *path, err = filepath.Abs(*path); err != nil {
			return err
		}
	}
	return nil
}

// run checks, and writes the report to w and to the file of --out. It is an error if a row failed.
func run(ctx context.Context, s settings, w, progress io.Writer) error {
	scratch, err := os.MkdirTemp("", "gpu-check-*")
	if err != nil {
		return err
	}
	defer os.RemoveAll(scratch)
	c := newCheck(s, scratch, progress)
	inTime, cancel := context.WithDeadline(ctx, c.deadline)
	defer cancel()
	c.look(inTime)
	if e := c.engine; s.optional && e.Name != "" && !e.Available && e.Plugin == "" { // a plugin that does not open is a fault
		_, err := fmt.Fprintf(w, "gpu_check: not run: %s: %s\n", s.backend, c.rows[0].figure)
		return err
	}
	c.all(inTime)
	report := c.report()
	if _, err := io.WriteString(w, report); err != nil {
		return err
	}
	if s.out != "" {
		if err := os.WriteFile(s.out, []byte(report), 0o644); err != nil {
			return err
		}
	}
	if n := c.count(failed); n > 0 {
		return fmt.Errorf("%d of %d rows failed", n, len(c.rows))
	}
	if ctx.Err() != nil {
		return errors.New("interrupted: what is skipped was not checked")
	}
	return nil
}
