package compiled

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestStoreGivesBackWhatWasPut(t *testing.T) {
	s := NewStore(filepath.Join(t.TempDir(), "a", "b"), "salt")
	key := s.key([]byte("program"), []byte("mlir"), []byte("options"))
	if s.get(key) != nil {
		t.Error("something was there before")
	}
	s.put(key, []byte("code"))
	if got := s.get(key); string(got) != "code" {
		t.Errorf("%q", got)
	}
	if info, err := os.Stat(s.dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("%v, %v: others may read or write machine code", info, err)
	}
	for _, other := range []string{
		s.key([]byte("programme"), []byte("mlir"), []byte("options")),
		s.key([]byte("program"), []byte("hlo"), []byte("options")),
		s.key([]byte("program"), []byte("mlir"), []byte("option")),
		s.key([]byte("programm"), []byte("lir"), []byte("options")),
		NewStore(s.dir, "pepper").key([]byte("program"), []byte("mlir"), []byte("options")),
	} {
		if other == key {
			t.Error("another graph, option or processor has the same key")
		}
	}
}

// What is not as it was written is removed, and compiled again.
func TestStoreRemovesWhatIsDamaged(t *testing.T) {
	s := NewStore(t.TempDir(), "")
	for i, damage := range []func(content []byte) []byte{
		func(c []byte) []byte { c[len(c)-1]++; return c },
		func(c []byte) []byte { c[0]++; return c },
		func(c []byte) []byte { return c[:len(c)-1] },
		func(c []byte) []byte { return c[:31] },
		func([]byte) []byte { return nil },
	} {
		s.put("key", []byte("code"))
		path := filepath.Join(s.dir, "key")
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, damage(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := s.get("key"); got != nil {
			t.Errorf("%d: %q", i, got)
		}
		if _, err := os.Stat(path); !os.IsNotExist(err) {
			t.Errorf("%d: it is still there: %v", i, err)
		}
	}
}

// A folder holds so many bytes: what was not used for the longest time goes.
func TestStoreIsBounded(t *testing.T) {
	s := NewStore(filepath.Join(t.TempDir(), "own"), "")
	s.most = 1000
	key := func(name string) string { return strings.Repeat("0", 64-len(name)) + name }
	at := time.Now().Add(-time.Hour)
	for i := range 4 {
		name := key(fmt.Sprint(i))
		s.put(name, bytes.Repeat([]byte{1}, 200)) // 232 with its hash
		if err := os.Chtimes(filepath.Join(s.dir, name), at, at.Add(time.Duration(i)*time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	theirs := filepath.Join(s.dir, "thesis.txt") // larger and older than all
	if err := os.WriteFile(theirs, make([]byte, 5000), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(theirs, at, at.Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	if s.get(key("0")) == nil { // used just now: 1 is the oldest then
		t.Fatal("0 is gone")
	}
	s.put(key("4"), bytes.Repeat([]byte{1}, 200))
	s.put(key("f"), bytes.Repeat([]byte{1}, 251)) // too large
	if _, err := os.Stat(theirs); err != nil {
		t.Errorf("a file that is not ours: %v", err)
	}
	for name, want := range map[string]bool{"0": true, "1": false, "2": true, "3": true, "4": true, "f": false} {
		if got := s.get(key(name)) != nil; got != want {
			t.Errorf("%s is there: %v, want %v", name, got, want)
		}
	}
}

// A folder that others may write holds no machine code of ours.
func TestStoreOfOthers(t *testing.T) {
	s := NewStore(t.TempDir(), "")
	s.put("key", []byte("code"))
	if s.get("key") == nil {
		t.Fatal("nothing was kept")
	}
	for _, mode := range []os.FileMode{0o777, 0o770, 0o702} {
		if err := os.Chmod(s.dir, mode); err != nil {
			t.Fatal(err)
		}
		if s.get("key") != nil {
			t.Errorf("%o: machine code of others is loaded", mode)
		}
		if s.put("new", []byte("code")); s.get("new") != nil {
			t.Errorf("%o: it is written", mode)
		}
	}
}

// A folder that cannot be made or written is no error.
func TestStoreWithoutAFolder(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s := NewStore(filepath.Join(file, "folder"), "")
	s.put("key", []byte("code"))
	if got := s.get("key"); got != nil {
		t.Errorf("%q", got)
	}
}
