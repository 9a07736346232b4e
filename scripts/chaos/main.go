package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// options are the command line's.
type options struct {
	seed     uint64
	faults   int
	only     int
	jobs     int
	program  string
	backend  string
	devices  int
	model    string
	commands string
	kinds    string
	keep     bool
}

func main() {
	o := options{}
	flag.Uint64Var(&o.seed, "seed", uint64(time.Now().UnixNano()), "seed of what happens when; drawn where it is not given")
	flag.IntVar(&o.faults, "faults", 300, "faults that hit a running process before the harness ends")
	flag.IntVar(&o.only, "only", -1, "repeat this case of the seed alone")
	flag.IntVar(&o.jobs, "jobs", runtime.NumCPU(), "cases at once")
	flag.StringVar(&o.program, "program", "", "the program to test (default: built from ./cmd/deeplora)")
	flag.StringVar(&o.backend, "backend", "go", "engine that the program computes on")
	flag.IntVar(&o.devices, "devices", 1, "devices of the engine that train, compare and predict share")
	flag.StringVar(&o.model, "model", "", "checkpoint of a small encoder that train, compare and import take (default: the BERT that pretrain makes)")
	flag.StringVar(&o.commands, "commands", "", "commands to test, with commas between (default all)")
	flag.StringVar(&o.kinds, "kinds", "", "kinds of faults, with commas between (default all)")
	flag.BoolVar(&o.keep, "keep", false, "keep what every case wrote, not only the failed ones'")
	flag.Parse()
	if err := run(o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "chaos:", err)
		os.Exit(1)
	}
}

// run makes cases until so many faults have hit, and prints what came of them. It is an error if anything was lost
// or differs.
func run(o options, out io.Writer) error {
	w, err := newWorkspace(o)
	if err != nil {
		return err
	}
	began := time.Now()
	fmt.Fprintf(out, "seed %d, engine %s, devices %d, in %s\n", o.seed, o.backend, o.devices, w.dir)
	for _, name := range slices.Sorted(keys(w.without)) {
		fmt.Fprintf(out, "no faults of kind %s here: %s\n", name, w.without[name])
	}
	t := &tally{}
	if o.only >= 0 {
		t.add(w.play(w.draw(o.only)))
	} else {
		w.playAll(o, t)
	}
	t.print(out, time.Since(began))
	failed := t.failures(out, o)
	if failed == 0 && !o.keep {
		return os.RemoveAll(w.dir)
	}
	if failed > 0 {
		return fmt.Errorf("%d cases failed; what they left is in %s", failed, w.dir)
	}
	return nil
}

// playAll plays cases, several at once, until enough faults have hit.
func (w *workspace) playAll(o options, t *tally) {
	var group sync.WaitGroup
	next := make(chan int)
	for range max(1, o.jobs) {
		group.Go(func() {
			for i := range next {
				r := w.play(w.draw(i))
				t.add(r)
				if r.err == nil && !o.keep {
					os.RemoveAll(r.dir)
				}
			}
		})
	}
	for i := 0; t.hits() < o.faults && i < 20*o.faults; i++ {
		next <- i
	}
	close(next)
	group.Wait()
}

// workspace is what all cases share.
type workspace struct {
	dir       string
	seed      uint64
	program   string
	backend   string
	devices   int
	given     string // the checkpoint to train, absolute; empty: what pretrain makes
	commands  []*command
	kinds     []kind
	without   map[string]string // kinds that cannot happen here, and why
	reference string            // where undisturbed runs lie, by the name of their command
}

// newWorkspace builds the program, writes its inputs and makes an undisturbed run of every command.
func newWorkspace(o options) (*workspace, error) {
	dir, err := os.MkdirTemp("", "chaos-*")
	if err != nil {
		return nil, err
	}
	w := &workspace{dir: dir, seed: o.seed, backend: o.backend, devices: o.devices, program: filepath.Join(dir, "deeplora"), reference: filepath.Join(dir, "reference")}
	if err := w.prepare(o); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	return w, nil
}

func (w *workspace) prepare(o options) (err error) {
	if err := os.Chmod(w.dir, 0o755); err != nil { // others' programs run in it
		return err
	}
	if o.model != "" {
		if w.given, err = filepath.Abs(o.model); err != nil {
			return err
		}
	}
	if err := w.takeProgram(o.program); err != nil {
		return err
	}
	if err := w.writeInputs(); err != nil {
		return err
	}
	if w.commands, err = chosen(o.commands, commands, func(c *command) string { return c.name }); err != nil {
		return err
	}
	w.without = absent(w)
	all, err := chosen(o.kinds, kinds, func(k kind) string { return k.name })
	if err != nil {
		return err
	}
	for _, k := range all {
		if w.without[k.name] == "" {
			w.kinds = append(w.kinds, k)
		}
	}
	if len(w.kinds) == 0 {
		return errors.New("no fault of these kinds can happen here")
	}
	for _, c := range commands { // also those that are not tested: others begin with what they write
		if err := w.undisturbed(c); err != nil {
			return err
		}
	}
	return nil
}

// takeProgram copies the program to test, or builds it.
func (w *workspace) takeProgram(given string) error {
	if given != "" {
		content, err := os.ReadFile(given)
		if err != nil {
			return err
		}
		return os.WriteFile(w.program, content, 0o755)
	}
	text, err := exec.Command("go", "build", "-o", w.program, "github.com/deeplora/deeplora/cmd/deeplora").CombinedOutput()
	if err != nil {
		return fmt.Errorf("build the program: %w\n%s", err, text)
	}
	return nil
}

// undisturbed makes the run that those with faults are held against.
func (w *workspace) undisturbed(c *command) error {
	at := w.place(c, filepath.Join(w.reference, c.name))
	if err := os.MkdirAll(at.dir, 0o777); err != nil {
		return err
	}
	p, err := w.start(at, c.begin(at), nil)
	if err != nil {
		return err
	}
	if err := p.wait(); err != nil {
		return fmt.Errorf("undisturbed %s: %w", c.name, err)
	}
	if p.code() != 0 {
		return fmt.Errorf("undisturbed %s: exit code %d\n%s", c.name, p.code(), p.text())
	}
	c.learn(time.Since(p.began))
	return nil
}

// chosen are the rows of a table that a list names, or all.
func chosen[T any](list string, table []T, name func(T) string) ([]T, error) {
	if list == "" {
		return table, nil
	}
	var rows []T
	for want := range strings.SplitSeq(list, ",") {
		i := slices.IndexFunc(table, func(row T) bool { return name(row) == want })
		if i < 0 {
			return nil, fmt.Errorf("there is no %q", want)
		}
		rows = append(rows, table[i])
	}
	return rows, nil
}
