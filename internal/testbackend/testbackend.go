package testbackend

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"

	"github.com/gomlx/compute"
	_ "github.com/gomlx/compute/gobackend" // the Go engine

	"github.com/deeplora/deeplora/internal/plugin"
)

// Env names the engines that tests must use, separated by commas.
const Env = "DEEPLORA_TEST_BACKENDS"

type namedBackend struct {
	name    string // go, xla:cpu or xla:cuda
	backend compute.Backend
}

// opened starts each engine once a process: an XLA client is not cheap.
var opened = sync.OnceValues(func() ([]namedBackend, error) {
	names, err := wanted(os.Getenv(Env))
	if err != nil {
		return nil, err
	}
	var engines []namedBackend
	for _, name := range names {
		b, err := open(name)
		if err != nil {
			return nil, fmt.Errorf("testbackend: %s: %w", name, err)
		}
		engines = append(engines, namedBackend{name, b})
	}
	return engines, nil
})

// All returns the engines that tests compute on, without DEEPLORA_TEST_BACKENDS the Go engine first. They
// stay open for the other tests of the process: do not finalize them.
func All(t testing.TB) []compute.Backend {
	t.Helper()
	var backends []compute.Backend
	for _, e := range engines(t) {
		backends = append(backends, e.backend)
	}
	return backends
}

// Each runs fn as a subtest on every engine, named as --backend names it.
func Each(t *testing.T, fn func(t *testing.T, b compute.Backend)) {
	t.Helper()
	for _, e := range engines(t) {
		t.Run(e.name, func(t *testing.T) { fn(t, e.backend) })
	}
}

func engines(t testing.TB) []namedBackend {
	t.Helper()
	engines, err := opened()
	if err != nil {
		t.Fatal(err)
	}
	return engines
}

// wanted returns the names of the engines to open: what env asks for, or what there is.
func wanted(env string) ([]string, error) {
	if env != "" {
		return strings.Split(env, ","), nil
	}
	plugins, err := plugin.Find(plugin.CPU)
	if err != nil {
		return nil, err
	}
	if len(plugins) == 0 || !plugin.Linked {
		return []string{"go"}, nil
	}
	return []string{"go", "xla:cpu"}, nil
}

func open(name string) (compute.Backend, error) {
	switch name {
	case "go":
		// The parallel mode of the Go engine can deadlock; sequential cannot.
		return compute.NewWithConfig("go:ops_sequential")
	case "xla:cpu":
		return openXLA(plugin.CPU)
	case "xla:cuda":
		return openXLA(plugin.CUDA)
	default:
		return nil, fmt.Errorf("no such engine; %s takes go, xla:cpu and xla:cuda, separated by commas", Env)
	}
}

func openXLA(kind plugin.Kind) (compute.Backend, error) {
	plugins, err := plugin.Find(kind)
	if err != nil {
		return nil, err
	}
	p, ok := plugin.First(plugins, kind)
	if !ok {
		return nil, fmt.Errorf("no plugin is installed, and %s asks for one; run: deeplora engine install", Env)
	}
	b, _, err := plugin.Open(p)
	return b, err
}
