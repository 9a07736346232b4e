package atomicfile

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

// What a killed process left beside a file goes when the file is written again; what a living one writes stays, and
// so does what is not ours.
func TestWriteSweepsWhatTheDeadLeft(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "out.jsonl")
	others := []string{".other.jsonl.tmp-17", ".out.jsonl.tmp-", ".out.jsonl.tmp-1x", "out.jsonl.tmp-12"}
	for _, name := range append([]string{".out.jsonl.tmp-17", ".out.jsonl.tmp-4023489"}, others...) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("half"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	err := Write(path, func(w io.Writer) error { // one writes, another begins and ends
		if err := Write(path, put("second")); err != nil {
			return err
		}
		_, err := io.WriteString(w, "first")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	wantContent(t, path, "first")
	wantNames(t, dir, others[0], others[1], others[2], "out.jsonl", others[3])
}

// Many writers of one file: each finishes, and the file is one of theirs.
func TestWritersOfOneFileDoNotSweepEachOther(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "ref")
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for j := range 20 {
				if err := Write(path, put(fmt.Sprintf("%d of %d", j, i))); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	wantNames(t, dir, "ref")
}
