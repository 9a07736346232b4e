package main

import (
	"bytes"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/deeplora/deeplora/internal/testshared"
)

// An export or an import that is killed leaves the target complete or absent, whatever it was doing, and the same
// command makes it then, to the byte.
func TestKilledExportLeavesAllOrNothing(t *testing.T) {
	t.Parallel()
	kills := 2
	if testshared.Thorough() {
		kills = 20
	}
	dir := t.TempDir()
	run := filepath.Join(dir, "run")
	succeeds(t, smallRun(t, backendGo, run, "--steps", "1")...)
	adapter := filepath.Join(dir, "peft")
	for _, command := range []struct {
		name string
		args []string
	}{
		{"peft", []string{"export", "--format", "peft", "--run", run}},
		{"merged", []string{"export", "--format", "merged", "--shard-size", "100KB", "--run", run}},
		{"import", []string{"import", "--format", "peft", "--in", adapter, "--model", "builtin:tiny"}},
	} {
		args := append(command.args, "--backend", backendGo, "--out")
		whole := filepath.Join(dir, command.name)
		succeeds(t, append(args, whole)...)
		draw := rand.New(rand.NewPCG(killSeed(t), 0))
		unfinished, cleared := 0, 0
		for i := range kills {
			out := filepath.Join(dir, command.name+"-killed")
			at := draw.Int64N(sizeOf(whole) + 1)
			p := start(t, append(args, out)...)
			p.untilOrEnd(t, func() bool { return sizeOf(out+".tmp") >= at || exists(out) })
			if i%2 == 1 { // some while it verifies, or gives the folder its name
				time.Sleep(time.Duration(draw.IntN(200)) * time.Millisecond)
			}
			_ = p.Process.Kill() // it may just have ended
			p.code(t)
			if exists(out) {
				sameTree(t, out, whole)
				failsWith(t, exitFailed, []string{out + ": output directory is in use"}, append(args, out)...)
			} else {
				unfinished++
				left := exists(filepath.Join(out+".tmp", "content"))
				again := succeeds(t, append(args, out)...)
				if said := strings.Contains(again.err.String(), out+".tmp removed: a process that was cut short left it"); left && !said {
					t.Errorf("nothing is said of %s.tmp:\n%s", out, again.err.String())
				} else if left {
					cleared++
				}
				sameTree(t, out, whole)
			}
			if exists(out + ".tmp") {
				t.Errorf("%s.tmp is left", out)
			}
			if err := os.RemoveAll(out); err != nil {
				t.Fatal(err)
			}
		}
		t.Logf("%s: killed %d times, %d of them before it was done; %d times there was something to clear", command.name, kills, unfinished, cleared)
	}
}

// What a living process is exporting is left alone.
func TestExportIsNotSharedWithAnother(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	run, out := filepath.Join(dir, "run"), filepath.Join(dir, "out")
	succeeds(t, smallRun(t, backendGo, run, "--steps", "1")...)
	args := []string{"export", "--format", "merged", "--run", run, "--backend", backendGo, "--quiet", "--out", out}
	first := start(t, args...)
	first.until(t, "a file", func() bool { return sizeOf(filepath.Join(out+".tmp", "content")) > 0 })
	if err := first.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if !exists(out) { // or it was quicker
		failsWith(t, exitFailed, []string{out + ".tmp is there: another process is writing it (process " + strconv.Itoa(first.Process.Pid)}, args...)
	}
	if err := first.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if code := first.code(t); code != exitDone || exists(out+".tmp") {
		t.Errorf("exit code %d, and out.tmp is left: %v\n%s", code, exists(out+".tmp"), first.err.String())
	}
}

// untilOrEnd waits until ready, or until the process has ended.
func (p *process) untilOrEnd(t *testing.T, ready func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ready(); {
		select {
		case <-p.ended:
			return
		case <-time.After(100 * time.Microsecond):
		}
		if time.Now().After(deadline) {
			t.Fatalf("still running after %v\n%s", patience, p.err.String())
		}
	}
}

// sizeOf is the bytes in a folder's files, 0 if there is none.
func sizeOf(dir string) (total int64) {
	_ = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return nil // it is being written
		}
		if info, err := d.Info(); err == nil {
			total += info.Size()
		}
		return nil
	})
	return total
}

// sameTree holds every file of two folders against one another.
func sameTree(t *testing.T, got, want string) {
	t.Helper()
	if a, b := sizeOf(got), sizeOf(want); a != b {
		t.Errorf("%s holds %d bytes, want %d", got, a, b)
	}
	err := filepath.WalkDir(want, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, _ := filepath.Rel(want, path)
		if !bytes.Equal(readFile(t, filepath.Join(got, name)), readFile(t, path)) {
			t.Errorf("%s differs", name)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}
