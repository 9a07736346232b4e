package atomicfile

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// smallDisk mounts a file system of 256 KiB, or skips.
func smallDisk(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=256k"); err != nil {
		t.Skipf("cannot mount a small tmpfs here (%v): run as root to test a full disk", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir
}

func fill(w io.Writer) error {
	_, err := w.Write(make([]byte, 1<<20))
	return err
}

func TestDiskFull(t *testing.T) {
	dir := smallDisk(t)
	path := filepath.Join(dir, "adapter.safetensors")
	old := strings.Repeat("old ", 4096)
	if err := Write(path, put(old)); err != nil {
		t.Fatal(err)
	}
	check := func(t *testing.T, err error, path string) {
		t.Helper()
		if !errors.Is(err, syscall.ENOSPC) {
			t.Fatalf("error %v, want ENOSPC kept", err)
		}
		// 262144 less the old file's 16384: what is free once the partial copy is gone.
		want := "write " + path + ": the disk is full (245760 bytes free with the partial copy removed); free some space there and try again: no space left on device"
		if err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
		wantNames(t, dir, filepath.Base(filepath.Join(dir, "adapter.safetensors")))
		wantContent(t, filepath.Join(dir, "adapter.safetensors"), old)
	}
	t.Run("file", func(t *testing.T) { check(t, Write(path, fill), path) })
	t.Run("last buffer", func(t *testing.T) {
		err := Write(path, func(w io.Writer) error {
			_, err := w.Write(make([]byte, 245760)) // fits exactly
			if err == nil {
				_, err = w.Write([]byte{1}) // stays in the buffer until the end
			}
			if err != nil {
				t.Errorf("the write failed early: %v", err)
			}
			return err
		})
		check(t, err, path)
	})
	t.Run("directory", func(t *testing.T) {
		path := filepath.Join(dir, "step-10")
		err := WriteDir(path, func(tmp string) error {
			f, err := os.Create(filepath.Join(tmp, "x"))
			if err != nil {
				return err
			}
			return errors.Join(fill(bareWriter{f}), f.Close())
		})
		check(t, err, path)
	})
	t.Run("file in a directory", func(t *testing.T) {
		path := filepath.Join(dir, "step-10")
		err := WriteDir(path, func(tmp string) error { return Write(filepath.Join(tmp, "x"), fill) })
		if n := strings.Count(err.Error(), "the disk is full"); n != 1 {
			t.Errorf("%v: says %d times that the disk is full, want once", err, n)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			t.Errorf("error %v, want ENOSPC kept", err)
		}
		wantNames(t, dir, "adapter.safetensors")
	})
}
