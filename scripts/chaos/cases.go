package main

import (
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// chaosCase is a command and what happens to it, one fault after another.
type chaosCase struct {
	number  int
	command *command
	faults  []fault
	random  *rand.Rand // what else is drawn while it is played
}

// fault is what happens, and when.
type fault struct {
	kind
	moment
}

// moment is when a fault happens: at a share of the time that the command takes undisturbed, or when the program
// begins to write its nth temporary file.
type moment struct {
	share float64
	write int // 0: by the share
}

func (m moment) String() string {
	if m.write > 0 {
		return fmt.Sprintf("at temporary file %d", m.write)
	}
	return fmt.Sprintf("at %.0f %% of its time", 100*m.share)
}

// draw draws the case of a number: the same for the same seed. Half of them go through one fault, the others
// through two or three.
func (w *workspace) draw(number int) chaosCase {
	draw := rand.New(rand.NewPCG(w.seed, uint64(number)))
	c := chaosCase{number: number, command: w.commands[draw.IntN(len(w.commands))], random: draw}
	n := 1
	for n < 3 && draw.IntN(2) == 1 {
		n++
	}
	for range n {
		f := fault{kind: w.kinds[draw.IntN(len(w.kinds))], moment: moment{share: 1.1 * draw.Float64()}}
		if draw.IntN(3) == 0 {
			f.write = 1 + draw.IntN(12)
		}
		c.faults = append(c.faults, f)
	}
	return c
}

// report is what came of a case.
type report struct {
	chaosCase
	dir   string
	hits  []string // kinds of the faults that hit a running process
	lines []string // what was run and what happened to it
	err   error    // nil: recovered

	wrapper []string // what the next process is run by
	spoilt  string   // checkpoint that was damaged, or empty
}

var (
	errLost   = errors.New("lost")
	errDiffer = errors.New("differs from the undisturbed run")
)

// play goes through a case: the command with its faults, then the command alone until its end.
func (w *workspace) play(c chaosCase) (r report) {
	r = report{chaosCase: c, dir: filepath.Join(w.dir, fmt.Sprintf("case-%d", c.number))}
	at := w.place(c.command, r.dir)
	release, err := w.furnish(at, c.fills())
	if err != nil {
		r.err = err
		return r
	}
	defer func() { r.err = errors.Join(r.err, release(r.err == nil)) }()
	r.err = w.suffer(&r, at)
	return r
}

// suffer lets the faults of a case happen, and checks what comes of it.
func (w *workspace) suffer(r *report, at place) error {
	line := r.command.begin(at)
	for _, f := range r.faults {
		hit, err := w.strike(r, at, f, line)
		if hit {
			r.hits = append(r.hits, f.name)
		}
		if err != nil {
			return err
		}
		if r.command.atomic && exists(at.out) {
			break
		}
		line = r.command.goesOn(at)
	}
	if err := w.goOn(r, at); err != nil {
		return err
	}
	if err := tidy(at); err != nil {
		return err
	}
	if r.spoilt != "" && !exists(r.spoilt+damagedSuffix) {
		return fmt.Errorf("%w: %s was damaged, and was not set aside", errLost, r.spoilt)
	}
	if err := r.command.same(w, at, w.place(r.command, filepath.Join(w.reference, r.command.name))); err != nil {
		return fmt.Errorf("%w: %w", errDiffer, err)
	}
	return nil
}

// goOn goes on without faults, which must come to the end, and repeat nothing that was done.
func (w *workspace) goOn(r *report, at place) error {
	if r.command.atomic && exists(at.out) {
		return nil
	}
	done, err := finished(at.out, r.spoilt)
	if err != nil {
		return err
	}
	line := r.command.goesOn(at)
	r.note("%s", shown(line))
	p, err := w.start(at, line, r.wrapper)
	if err != nil {
		return err
	}
	if err := p.wait(); err != nil {
		return fmt.Errorf("%w: %w", errLost, err)
	}
	if p.code() != 0 {
		return fmt.Errorf("%w: it does not go on: exit code %d\n%s", errLost, p.code(), p.text())
	}
	return done.kept()
}

func (r *report) note(format string, args ...any) {
	r.lines = append(r.lines, fmt.Sprintf(format, args...))
}

// tidy holds the place to what is promised: nothing but the output, and nothing half written in it; no lock held.
func tidy(at place) error {
	return filepath.WalkDir(at.dir, func(path string, e fs.DirEntry, err error) error {
		switch name := e.Name(); {
		case err != nil:
			return err
		case strings.Contains(name, ".tmp"):
			return fmt.Errorf("%w: %s is left", errLost, path)
		case filepath.Dir(path) == at.dir && path != at.dir && path != at.out:
			return fmt.Errorf("%w: %s lies beside the output", errLost, path)
		case name == ".lock" && locked(path):
			return fmt.Errorf("%w: %s is still held", errLost, path)
		}
		return nil
	})
}

// await waits for a moment of a process, and reports whether it is still there then.
func (m moment) await(at place, p *process, took time.Duration) bool {
	if m.write == 0 {
		return p.lives(time.Duration(m.share * float64(took)))
	}
	seen := map[string]bool{}
	for p.lives(time.Millisecond) {
		_ = filepath.WalkDir(at.dir, func(path string, e fs.DirEntry, err error) error { // files come and go
			if err == nil && strings.Contains(e.Name(), ".tmp") {
				seen[path] = true
			}
			return nil
		})
		if len(seen) >= m.write {
			return true
		}
	}
	return false
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func shown(line []string) string {
	quoted := make([]string, len(line))
	for i, arg := range line {
		if quoted[i] = arg; strings.ContainsAny(arg, " \"'$*\\") {
			quoted[i] = "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
		}
	}
	return "deeplora " + strings.Join(quoted, " ")
}

// fills reports whether one of the case's faults fills a disk.
func (c *chaosCase) fills() bool {
	return slices.ContainsFunc(c.faults, func(f fault) bool { return f.name == "disk" })
}
