package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// diskBytes is the size of the file system of a case that runs out of space.
const diskBytes = 16 << 20

// furnish makes the directory of a case, on a small file system of its own where one of its faults fills it. release
// gives that back; what a case that failed left is kept.
func (w *workspace) furnish(at place, fills bool) (release func(recovered bool) error, err error) {
	if err := os.MkdirAll(at.dir, 0o755); err != nil {
		return nil, err
	}
	if !fills {
		return func(bool) error { return nil }, nil
	}
	if err := mountDisk(at.dir); err != nil {
		return nil, err
	}
	return func(recovered bool) error {
		var err error
		if !recovered {
			err = os.CopyFS(at.dir+"-left", os.DirFS(at.dir))
		}
		return errors.Join(err, unix.Unmount(at.dir, unix.MNT_DETACH))
	}, nil
}

// mountDisk puts a small file system at a directory.
func mountDisk(dir string) error {
	return unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d,mode=0755", diskBytes))
}

func noMount(w *workspace) error {
	dir, err := os.MkdirTemp(w.dir, "disk-*")
	if err != nil {
		return err
	}
	defer os.Remove(dir)
	if err := mountDisk(dir); err != nil {
		return fmt.Errorf("no small file system can be mounted: %w", err)
	}
	return unix.Unmount(dir, 0)
}

const filler = "filler"

// fullDisk takes all space of the case's file system.
func fullDisk(s *scene) (func() error, error) {
	path := filepath.Join(s.at.dir, filler)
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	_, err = io.Copy(f, zeros{})
	if !errors.Is(err, syscall.ENOSPC) {
		return nil, fmt.Errorf("fill the disk: %w", err)
	}
	return func() error { return os.Remove(path) }, nil
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// noMemory leaves the process, or one that it started, a little more memory than it has.
func noMemory(s *scene) (func() error, error) {
	pid := s.process.Process.Pid
	if family := s.process.family(); s.command.children && s.random.IntN(2) == 1 {
		pid = family[s.random.IntN(len(family))]
	}
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	fields := strings.Fields(string(text))
	if err != nil || len(fields) < 6 {
		return nil, nil // it has just ended
	}
	var pages uint64
	if _, err := fmt.Sscan(fields[5], &pages); err != nil {
		return nil, err
	}
	limit := pages*uint64(os.Getpagesize()) + uint64(s.random.IntN(1<<20))
	// As the process's own user: an administrator without CAP_SYS_RESOURCE may not.
	limiter := exec.Command("prlimit", fmt.Sprintf("--pid=%d", pid), fmt.Sprintf("--data=%d", limit))
	limiter.SysProcAttr = &syscall.SysProcAttr{Credential: user()}
	if text, err := limiter.CombinedOutput(); err != nil && syscall.Kill(pid, 0) == nil && !strings.Contains(string(text), "No such process") {
		return nil, fmt.Errorf("prlimit: %w: %s", err, text)
	}
	return nil, nil
}

func noLimits(*workspace) error {
	_, err := exec.LookPath("prlimit")
	return err
}

// locked reports whether a process holds the lock of a file.
func locked(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB), unix.EWOULDBLOCK)
}
