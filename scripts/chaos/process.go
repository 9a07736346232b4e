package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// patience is how long a process may take before it counts as hanging: machines that run this are busy.
const patience = 3 * time.Minute

// process is the program, running.
type process struct {
	*exec.Cmd
	began   time.Time
	written lockedBuffer  // on standard output and standard error
	ended   chan struct{} // closed once it has
}

type lockedBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// start starts the program on a machine without a network or a home, as a user whom permissions bind. wrapper is
// what it is run by, if anything.
func (w *workspace) start(at place, line, wrapper []string) (*process, error) {
	line = append(append([]string{}, wrapper...), append([]string{w.program}, line...)...)
	p := &process{Cmd: exec.Command(line[0], line[1:]...), began: time.Now(), ended: make(chan struct{})}
	p.Dir = at.dir
	p.Env = append(os.Environ(), "HOME=/no-home", "DEEPLORA_OFFLINE=1", "GOTRACEBACK=single")
	p.Stdout, p.Stderr = &p.written, &p.written
	p.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if len(wrapper) == 0 { // wrappers change the user themselves
		p.SysProcAttr.Credential = user()
	}
	if err := own(at.dir); err != nil {
		return nil, err
	}
	if err := p.Start(); err != nil {
		return nil, err
	}
	go func() {
		defer close(p.ended)
		_ = p.Wait() // ProcessState has it
	}()
	return p, nil
}

// nobody is a user of no rights. The administrator may write into any directory: permissions are tested as nobody.
const nobody = 65534

func user() *syscall.Credential {
	if os.Geteuid() != 0 {
		return nil
	}
	return &syscall.Credential{Uid: nobody, Gid: nobody}
}

// own gives the directory to the user that the program runs as.
func own(dir string) error {
	if user() == nil {
		return nil
	}
	return os.Chown(dir, nobody, nobody)
}

// lives waits for a time and reports whether the process is still there.
func (p *process) lives(d time.Duration) bool {
	select {
	case <-p.ended:
		return false
	case <-time.After(d):
		return true
	}
}

// wait waits for the end. A process that does not come to it is killed, after its stacks were asked for.
func (p *process) wait() error {
	if !p.lives(patience) {
		return nil
	}
	_ = p.Process.Signal(syscall.SIGQUIT)
	p.lives(5 * time.Second)
	_ = p.Process.Kill()
	<-p.ended
	return fmt.Errorf("it hangs: still running after %v\n%s", patience, p.text())
}

// code is the exit code, -1 for a signal's.
func (p *process) code() int { return p.ProcessState.ExitCode() }

// died reports whether a signal ended the process.
func (p *process) died(by syscall.Signal) bool {
	status, ok := p.ProcessState.Sys().(syscall.WaitStatus)
	return ok && status.Signaled() && status.Signal() == by
}

// text is what the process wrote, or its end.
func (p *process) text() string {
	const most = 4000
	text := p.written.String()
	if len(text) > most {
		text = "…" + text[len(text)-most:]
	}
	return text
}

// family are the process and the processes that it started, as far as they are still there.
func (p *process) family() []int {
	pids := []int{p.Process.Pid}
	for i := 0; i < len(pids); i++ {
		lists, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pids[i]))
		for _, list := range lists {
			text, _ := os.ReadFile(list) // it may have ended
			for field := range strings.FieldsSeq(string(text)) {
				if pid, err := strconv.Atoi(field); err == nil {
					pids = append(pids, pid)
				}
			}
		}
	}
	return pids
}
