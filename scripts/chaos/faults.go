package main

import (
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// kind is a kind of fault.
type kind struct {
	name string
	// happen lets it happen to a process that runs a command line; heal undoes what would stop the next process.
	happen func(s *scene) (heal func() error, err error)
	// expected is the error for an end that the fault does not excuse.
	expected func(s *scene) error
	// absent says why it cannot happen here; nil: it can everywhere.
	absent func(w *workspace) error
}

// scene is a fault and what it happens to.
type scene struct {
	*report
	*workspace
	at      place
	process *process
	second  *process // of the kind that starts one
	wrapper []string // what the next process is run by
}

var kinds = []kind{
	{name: "kill", happen: signalled(syscall.SIGKILL), expected: endedBy(syscall.SIGKILL)},
	{name: "term", happen: signalled(syscall.SIGTERM), expected: endedBy(syscall.SIGTERM)},
	{name: "int", happen: signalled(os.Interrupt.(syscall.Signal)), expected: endedBy(syscall.SIGINT)},
	{name: "disk", happen: fullDisk, expected: explained, absent: noMount},
	{name: "readonly", happen: readOnly, expected: explained},
	{name: "memory", happen: noMemory, expected: failed, absent: noLimits},
	{name: "clock", happen: clockJump, expected: endedBy(syscall.SIGKILL), absent: noUnshare},
	{name: "second", happen: secondProcess, expected: oneRefused},
	{name: "damage", happen: damage, expected: endedBy(syscall.SIGKILL)},
}

// absent says which kinds cannot happen here, and why.
func absent(w *workspace) map[string]string {
	why := map[string]string{}
	for _, k := range kinds {
		if k.absent == nil {
			continue
		}
		if err := k.absent(w); err != nil {
			why[k.name] = err.Error()
		}
	}
	return why
}

// strike starts a command line and lets a fault happen to it. hit is false where the command was done before.
func (w *workspace) strike(r *report, at place, f fault, line []string) (hit bool, err error) {
	s := &scene{report: r, workspace: w, at: at}
	r.note("%s # %s %v", shown(line), f.name, f.moment)
	if s.process, err = w.start(at, line, r.wrapper); err != nil {
		return false, err
	}
	r.wrapper = nil
	if !f.await(at, s.process, r.command.took()) {
		r.note("# it was done before")
		r.command.learn(time.Since(s.process.began))
		if s.process.code() != 0 {
			return false, fmt.Errorf("%w: it does not go on: exit code %d\n%s", errLost, s.process.code(), s.process.text())
		}
		return false, nil
	}
	heal, err := f.happen(s)
	if err != nil {
		_ = s.process.Process.Kill()
		<-s.process.ended
		return false, fmt.Errorf("let %s happen: %w", f.name, err)
	}
	hangs := s.process.wait()
	if heal != nil {
		if err := heal(); err != nil {
			return false, err
		}
	}
	if hangs != nil {
		return true, fmt.Errorf("%w: %w", errLost, hangs)
	}
	r.wrapper = s.wrapper
	r.note("# exit code %d", s.process.code())
	if s.process.code() == 0 && s.second == nil {
		return false, nil
	}
	if err := f.expected(s); err != nil {
		return true, fmt.Errorf("%w: %s %v: %w\n%s", errLost, f.name, f.moment, err, s.process.text())
	}
	return true, nil
}

// signalled sends a signal to the process, or to one that it started.
func signalled(signal syscall.Signal) func(s *scene) (func() error, error) {
	return func(s *scene) (func() error, error) {
		s.send(signal)
		return nil, nil
	}
}

// send sends a signal to the process or, where it has children and the draw says so, to one of them.
func (s *scene) send(signal syscall.Signal) {
	pid := s.process.Process.Pid
	if family := s.process.family(); s.command.children && len(family) > 1 && s.random.IntN(2) == 1 {
		pid = family[1+s.random.IntN(len(family)-1)]
		s.note("# to a child")
	}
	_ = syscall.Kill(pid, signal) // it may just have ended
}

// interrupted is the exit code of a command that was interrupted and says what is left.
const interrupted = 130

// endedBy accepts what a signal does: before the program listens it ends it; later, where it can be caught, the
// program ends by itself and says so. A command whose child was hit fails with a message.
func endedBy(signal syscall.Signal) func(s *scene) error {
	return func(s *scene) error {
		p := s.process
		switch {
		case p.died(signal), signal != syscall.SIGKILL && p.code() == interrupted:
			return nil
		case s.command.children && p.code() == 1:
			return explained(s)
		}
		return fmt.Errorf("after %v it ended with %v", signal, p.ProcessState)
	}
}

var trace = regexp.MustCompile(`(?m)^(panic: |goroutine \d+ |fatal error: )`)

// explained accepts a failure with a message, without a trace of the program's inside.
func explained(s *scene) error {
	text := s.process.written.String()
	switch {
	case s.process.code() != 1:
		return fmt.Errorf("it ended with %v, want exit code 1", s.process.ProcessState)
	case trace.MatchString(text):
		return fmt.Errorf("it ended with a trace instead of a message")
	case !strings.Contains(text, "deeplora: ") && !strings.Contains(text, "faults:"):
		return fmt.Errorf("it ended without a message")
	}
	return nil
}

// failed accepts any failure: nothing can be caught of a process that gets no memory.
func failed(*scene) error { return nil }

// readOnly takes the right to write from every directory of the place.
func readOnly(s *scene) (func() error, error) {
	return func() error { return modes(s.at.dir, 0o755) }, modes(s.at.dir, 0o555)
}

func modes(dir string, mode fs.FileMode) error {
	return filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.IsDir() {
			return nil // files come and go
		}
		if err := os.Chmod(path, mode); err != nil && path == dir {
			return err
		}
		return nil
	})
}

// clockJump kills the process. Before the next one starts, the clock jumps: what lies on the disk is from other years,
// the future among them, and the time since the machine started is another.
func clockJump(s *scene) (func() error, error) {
	_ = s.process.Process.Kill()
	const year = 365 * 24 * time.Hour
	jump := func() time.Duration { return time.Duration((s.random.Float64()*2 - 1) * 10 * float64(year)) }
	seconds := 1 + s.random.IntN(1_000_000)
	s.wrapper = []string{"unshare", "--time", fmt.Sprintf("--monotonic=%d", seconds), fmt.Sprintf("--boottime=%d", seconds)}
	if u := user(); u != nil {
		s.wrapper = append(s.wrapper, fmt.Sprintf("--setuid=%d", u.Uid), fmt.Sprintf("--setgid=%d", u.Gid))
	}
	s.wrapper = append(s.wrapper, "--")
	return func() error {
		return filepath.WalkDir(s.at.dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.Type()&fs.ModeSymlink != 0 {
				return err
			}
			then := time.Now().Add(jump())
			return os.Chtimes(path, then, then)
		})
	}, nil
}

func noUnshare(*workspace) error {
	text, err := exec.Command("unshare", "--time", "--monotonic=1000", "--boottime=1000", "--", "true").CombinedOutput()
	if err != nil {
		return fmt.Errorf("no time namespace: %w: %s", err, strings.TrimSpace(string(text)))
	}
	return nil
}

// secondProcess starts the same again beside the process.
func secondProcess(s *scene) (func() error, error) {
	line := s.command.goesOn(s.at)
	s.note("%s # at the same time", shown(line))
	var err error
	if s.second, err = s.start(s.at, line, nil); err != nil {
		return nil, err
	}
	return s.second.wait, nil
}

var refusal = regexp.MustCompile(`in use|another process|it exists and is not replaced`)

// oneRefused accepts that one of two processes is refused, with a message that says why, and the other does the
// work; or that they came one after the other, and there was nothing left to do.
func oneRefused(s *scene) error {
	done := 0
	for _, p := range []*process{s.process, s.second} {
		switch {
		case p.code() == 0:
			done++
		case p.code() != 1 || !refusal.MatchString(p.written.String()):
			return fmt.Errorf("beside another process one ended with %v\n%s", p.ProcessState, p.text())
		}
	}
	if done == 0 {
		return fmt.Errorf("both of two processes failed\n%s", s.second.text())
	}
	return nil
}

// damage kills the process and changes one bit of one file of the newest checkpoint of a run: that goes on from the
// checkpoint before, and says so. Where there are not two checkpoints yet it is a kill.
func damage(s *scene) (func() error, error) {
	_ = s.process.Process.Kill()
	return func() error {
		runs, err := filepath.Glob(filepath.Join(s.at.out, "runs", "*"))
		if err != nil {
			return err
		}
		for _, run := range append(runs, s.at.out) {
			for range 1000 { // children of a process that was killed save what they have, and end
				if !locked(filepath.Join(run, ".lock")) {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			steps, err := checkpoints(run)
			if err != nil {
				return err
			}
			if len(steps) > 1 && !exists(filepath.Join(run, "result.json")) {
				s.spoilt = filepath.Join(run, "checkpoints", steps[0])
				return s.spoil()
			}
		}
		return nil
	}, nil
}

// spoil changes one bit of one of the checkpoint's files.
func (s *scene) spoil() error {
	entries, err := os.ReadDir(s.spoilt)
	if err != nil {
		return err
	}
	path := filepath.Join(s.spoilt, entries[s.random.IntN(len(entries))].Name())
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	bit := s.random.IntN(8 * len(content))
	content[bit/8] ^= 1 << (bit % 8)
	s.note("# bit %d of %s changed", bit, path)
	return os.WriteFile(path, content, 0o644)
}
