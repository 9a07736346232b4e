// Package testbackend gives tests the engines they compute on: the Go engine always, and XLA on the
// CPU wherever a plugin is installed. It is for tests alone; the program takes its backend from
// cmd/deeplora/backend.go.
package testbackend

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/gomlx/compute"
	_ "github.com/gomlx/compute/gobackend" // the Go engine
	"github.com/gomlx/go-xla/compute/xla"  // XLA
)

type engine struct {
	name    string
	backend compute.Backend
}

// open starts each engine once a process: an XLA client is not cheap.
var open = sync.OnceValues(func() ([]engine, error) {
	xla.EnableAutoInstall(false)
	// Parallel mode of the Go engine can deadlock (docs/decisions); sequential cannot.
	goEngine, err := compute.NewWithConfig("go:ops_sequential")
	if err != nil {
		return nil, err
	}
	engines := []engine{{"go", goEngine}}
	plugin := filepath.Join(os.Getenv("HOME"), ".local/lib/go-xla/pjrt_c_api_cpu_plugin.so")
	if _, err := os.Stat(plugin); err == nil {
		b, err := compute.NewWithConfig("xla:" + plugin)
		if err != nil {
			return nil, err
		}
		engines = append(engines, engine{"xla", b})
	}
	return engines, nil
})

// All returns the engines of this machine, the Go engine first.
func All(t testing.TB) []compute.Backend {
	t.Helper()
	engines, err := open()
	if err != nil {
		t.Fatal(err)
	}
	var backends []compute.Backend
	for _, e := range engines {
		backends = append(backends, e.backend)
	}
	return backends
}

// Each runs fn as a subtest on every engine of this machine.
func Each(t *testing.T, fn func(t *testing.T, b compute.Backend)) {
	t.Helper()
	engines, err := open()
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) { fn(t, e.backend) })
	}
}
