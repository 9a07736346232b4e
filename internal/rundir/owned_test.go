package rundir

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Whether a run's process is alive is told of processes of this machine alone, and without touching the lock.
func TestOwned(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	gone := exec.Command("true")
	if err := gone.Run(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		lock         string
		alive, known bool
	}{
		"alive":           {fmt.Sprintf(ownerFormat, os.Getpid(), host), true, true},
		"gone":            {fmt.Sprintf(ownerFormat, gone.Process.Pid, host), false, true},
		"another machine": {fmt.Sprintf(ownerFormat, os.Getpid(), host+"-2"), false, false},
		"every process":   {fmt.Sprintf(ownerFormat, -1, host), false, false},
		"nothing":         {"", false, false},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, lockFile), []byte(c.lock), 0o644); err != nil {
			t.Fatal(err)
		}
		if alive, known := Owned(dir); alive != c.alive || known != c.known {
			t.Errorf("%s: alive %v, known %v", name, alive, known)
		}
	}
	run := filepath.Join(t.TempDir(), "run")
	d, err := Create(run, "marker")
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if alive, known := Owned(run); !alive || !known {
		t.Errorf("a run of this process: alive %v, known %v", alive, known)
	}
	if alive, known := Owned(filepath.Join(run, "nosuch")); alive || known {
		t.Errorf("no run: alive %v, known %v", alive, known)
	}
}
