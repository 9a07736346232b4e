package atomicfile

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

// fillerVariable makes the test below fill a directory in a process of its own.
const fillerVariable = "ATOMICFILE_TEST_FILL"

// This is the other process of the tests below: it writes half of a directory and waits to be killed.
func TestFillUntilKilled(t *testing.T) {
	path := os.Getenv(fillerVariable)
	if path == "" {
		t.Skip("runs in a process of its own")
	}
	_ = WriteDir(path, func(tmp string) error {
		if err := os.WriteFile(filepath.Join(tmp, "half"), []byte("half"), 0o644); err != nil {
			return err
		}
		fmt.Println("filling")
		_, err := bufio.NewReader(os.Stdin).ReadString('\n') // which never comes
		return err
	})
}

// filler starts a process that is filling path, and says how to kill it.
func filler(t *testing.T, path string) (kill func()) {
	t.Helper()
	p := exec.Command(os.Args[0], "-test.run=^TestFillUntilKilled$", "-test.v")
	p.Env = append(os.Environ(), fillerVariable+"="+path)
	in, err := p.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := p.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		_ = p.Process.Kill()
		_ = p.Wait()
		in.Close()
	})
	t.Cleanup(kill)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if strings.HasSuffix(lines.Text(), "filling") {
			return kill
		}
	}
	t.Fatal("the other process does not fill the directory")
	return nil
}

// What a living process fills is refused; once it is killed, what it left gives way.
func TestKilledProcessLeavesTheWayFree(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "d")
	kill := filler(t, path)
	want := path + ".tmp is there: another process is writing it (process "
	for name, do := range map[string]func() error{
		"WriteDir":       func() error { return WriteDir(path, func(string) error { t.Error("fill was called"); return nil }) },
		"ClearAbandoned": func() error { _, err := ClearAbandoned(path); return err },
	} {
		if err := do(); !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want fs.ErrExist and %q", name, err, want)
		}
	}
	wantContent(t, filepath.Join(path+".tmp", "content", "half"), "half")

	kill()
	err := WriteDir(path, func(tmp string) error {
		wantNames(t, tmp)
		return os.WriteFile(filepath.Join(tmp, "whole"), nil, 0o644)
	})
	if err != nil {
		t.Fatal(err)
	}
	wantNames(t, dir, "d")
	wantNames(t, path, "whole")
}

func TestClearAbandoned(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "d")
	if removed, err := ClearAbandoned(path); removed != "" || err != nil {
		t.Errorf("removed %q, %v where there is nothing", removed, err)
	}
	filler(t, path)()
	if removed, err := ClearAbandoned(path + "/"); removed != path+".tmp" || err != nil {
		t.Errorf("removed %q, %v, want %s.tmp", removed, err, path)
	}
	wantNames(t, dir)
	if err := os.Mkdir(path+".tmp", 0o755); err != nil { // killed before it had its marker: nothing to tell anyone
		t.Fatal(err)
	}
	if removed, err := ClearAbandoned(path); removed != "" || err != nil {
		t.Errorf("removed %q, %v of an empty directory", removed, err)
	}
	wantNames(t, dir)
}

// A directory that anyone may have made is nobody's to remove.
func TestClearAbandonedKeepsWhatIsNotOurs(t *testing.T) {
	for name, put := range map[string]func(tmp string) error{
		"file":           func(tmp string) error { return os.WriteFile(tmp, nil, 0o644) },
		"link":           func(tmp string) error { return os.Symlink(".", tmp) },
		"without marker": func(tmp string) error { return os.MkdirAll(filepath.Join(tmp, "content"), 0o755) },
		"a run":          func(tmp string) error { return os.MkdirAll(filepath.Join(tmp, "checkpoints"), 0o755) },
		"marker is a directory": func(tmp string) error {
			return os.MkdirAll(filepath.Join(tmp, ".unfinished"), 0o755)
		},
		"more than ours": func(tmp string) error {
			err := os.MkdirAll(filepath.Join(tmp, "notes"), 0o755)
			return errors.Join(err, os.WriteFile(filepath.Join(tmp, ".unfinished"), nil, 0o644))
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "d")
			if err := put(path + ".tmp"); err != nil {
				t.Fatal(err)
			}
			removed, err := ClearAbandoned(path)
			if want := path + ".tmp is there, and is not what a write that was cut short leaves"; removed != "" || !errors.Is(err, fs.ErrExist) || !strings.Contains(err.Error(), want) {
				t.Errorf("removed %q, error %v, want fs.ErrExist and %q", removed, err, want)
			}
			wantNames(t, filepath.Dir(path), "d.tmp")
		})
	}
}

// Of many writers of one directory at most one is at work at a time, one gets it, and none leaves anything.
func TestManyWritersOfOneDirectory(t *testing.T) {
	dir := t.TempDir()
	const writers, rounds = 8, 50
	for round := range rounds {
		path := filepath.Join(dir, fmt.Sprint(round))
		var atWork, written atomic.Int32
		var all sync.WaitGroup
		for range writers {
			all.Go(func() {
				err := WriteDir(path, func(tmp string) error {
					if n := atWork.Add(1); n != 1 {
						t.Errorf("%d writers are at work", n)
					}
					defer atWork.Add(-1)
					return os.WriteFile(filepath.Join(tmp, "f"), nil, 0o644)
				})
				switch {
				case err == nil:
					written.Add(1)
				case !errors.Is(err, fs.ErrExist):
					t.Error(err)
				}
			})
		}
		all.Wait()
		if n := written.Load(); n != 1 {
			t.Errorf("%d writers wrote it, want 1", n)
		}
		wantNames(t, path, "f")
		if exists(path + ".tmp") {
			t.Fatal("the temporary directory is left")
		}
	}
}
