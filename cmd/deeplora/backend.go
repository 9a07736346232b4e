package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/gomlx/compute"

	"github.com/deeplora/deeplora/engine"
	"github.com/deeplora/deeplora/internal/plugin"
	"github.com/deeplora/deeplora/model"
	"github.com/deeplora/deeplora/train"
)

// open opens the backend that the flags ask for, and says what a run must record of it.
func (s *shared) open() (compute.Backend, train.Provenance, error) {
	if s.backend == "" { // an empty shell variable is more likely than the wish for auto
		return nil, train.Provenance{}, usagef("--backend: it is empty; want %s, %s, %s or %s", engine.Auto, engine.Go, engine.XLACPU, engine.XLACUDA)
	}
	backend, info, err := engine.Open(engine.Options{Name: s.backend, Threads: s.threads, Devices: int(s.devices), Compiled: s.compiled()})
	if err != nil {
		return nil, train.Provenance{}, ofFlag(err)
	}
	for _, notice := range info.Notices {
		s.ui.line("note: %s", notice)
	}
	return backend, train.Provenance{
		Version: version(), Libraries: libraries(),
		Backend: info.Name, PluginSHA256: info.PluginSHA256, Threads: info.Threads, Devices: info.Devices,
	}, nil
}

// compiledEnv names a folder for compiled graphs, instead of the user's cache.
const compiledEnv = "DEEPLORA_COMPILED"

// compiled is the folder in which compiled graphs are kept; empty: none are.
func (s *shared) compiled() string {
	if s.noCompileCache || !plugin.Keeps {
		return ""
	}
	if dir := os.Getenv(compiledEnv); dir != "" {
		return dir
	}
	cache, err := os.UserCacheDir()
	if err != nil { // without a home there is no cache
		return ""
	}
	return filepath.Join(cache, "deeplora", "compiled")
}

// precisionNote says what another precision would gain on this processor, which multiplies bfloat16 numbers with has, or
// with nothing of its own where has is empty.
func precisionNote(backend, precision, has string) string {
	switch f32 := precision == string(model.F32); {
	case backend != engine.XLACPU:
		return ""
	case f32 && has != "":
		return fmt.Sprintf("this processor multiplies bfloat16 numbers itself (%s): --precision bf16 takes less time", has)
	case !f32 && has == "":
		return fmt.Sprintf("this processor has no instructions for bfloat16: precision %s takes longer here than f32", precision)
	}
	return ""
}

// ofFlag makes an error about the backend one about the flag that named it: "backend xla:cpu: …" becomes
// "--backend xla:cpu: …".
func ofFlag(err error) error {
	if strings.HasPrefix(err.Error(), "backend") {
		return fmt.Errorf("--%w", err)
	}
	return err
}
