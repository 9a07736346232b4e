// Package testshared locates the reference data that stands beside the repository, for tests alone.
//
// The goldens (numbers from PyTorch, Transformers, PEFT and the tokenizers library) and the real GLUE
// files are not part of the project: a clone without them still passes its tests, and every test that
// needs them skips with a message that says what was missing.
package testshared

import (
	"os"
	"path/filepath"
	"runtime"
	"testing"
)

// Path returns the path of a file or folder in the shared data, or skips the test when it is absent.
// DEEPLORA_SHARED names another place than ../shared beside the repository.
func Path(t testing.TB, elem ...string) string {
	t.Helper()
	path := filepath.Join(append([]string{root()}, elem...)...)
	if _, err := os.Stat(path); err != nil {
		t.Skipf("reference data absent (%s): set DEEPLORA_SHARED or put it beside the repository as ../shared", filepath.Join(elem...))
	}
	return path
}

func root() string {
	if dir := os.Getenv("DEEPLORA_SHARED"); dir != "" {
		return dir
	}
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..", "..", "shared")
}

// Thorough reports whether tests that take minutes are asked for: DEEPLORA_SLOW=1, as make test-slow sets. Tests
// that only do less without it ask this; those that are not run at all call Slow.
func Thorough() bool { return os.Getenv("DEEPLORA_SLOW") == "1" }

// Slow skips a test that takes minutes, unless such are asked for.
func Slow(t testing.TB) {
	t.Helper()
	if !Thorough() {
		t.Skip("takes minutes: set DEEPLORA_SLOW=1, or run make test-slow")
	}
}
