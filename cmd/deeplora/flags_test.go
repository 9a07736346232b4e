package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/spf13/pflag"
)

// A byte order mark, which editors of Windows write, is no part of the settings.
func TestConfigFileWithByteOrderMark(t *testing.T) {
	path := filepath.Join(t.TempDir(), "config.json")
	if err := os.WriteFile(path, []byte("\ufeff{\"rank\": 3}"), 0o644); err != nil {
		t.Fatal(err)
	}
	flags := pflag.NewFlagSet("train", pflag.ContinueOnError)
	rank := flags.Int("rank", 8, "")
	if err := applyConfig(flags, "config", path); err != nil || *rank != 3 {
		t.Errorf("rank %d, %v", *rank, err)
	}
}
