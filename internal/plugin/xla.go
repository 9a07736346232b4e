//go:build !noxla

package plugin

import (
	"reflect"

	"github.com/gomlx/compute"
	"github.com/gomlx/go-xla/compute/xla"
	"github.com/gomlx/go-xla/pjrt"

	_ "github.com/deeplora/deeplora/internal/plugin/hugepages" // what XLA computes in lies on large pages
	_ "github.com/deeplora/deeplora/internal/plugin/quiet"     // go-xla's messages go to the debug log
)

// Linked says whether this program can open plugins.
const Linked = true

// forbidDownloads keeps go-xla from downloading a plugin on its own: only Install does that.
func forbidDownloads() { xla.EnableAutoInstall(false) }

// newBackend opens a backend by go-xla's configuration.
func newBackend(config string, client map[string]any) (compute.Backend, error) {
	b, err := xla.NewWithOptions(config, client)
	if err != nil {
		return nil, err
	}
	return b, nil
}

// WorkingMemory is what a compiled graph takes while it runs, beside its arguments, in bytes: intermediate results
// and those of its outputs that no donated argument makes room for. XLA's compiler has laid it out and says so; it is
// not known of the Go engine.
func WorkingMemory(e compute.Executable) (bytes int64, known bool) {
	x, ok := e.(*xla.Executable)
	if !ok || x == nil {
		return 0, false
	}
	// go-xla prints these numbers and has no other way to them (decision 0018).
	field := reflect.ValueOf(x).Elem().FieldByName("exec")
	if !field.IsValid() || field.Type() != reflect.TypeFor[*pjrt.LoadedExecutable]() || field.IsNil() {
		return 0, false
	}
	m := (*pjrt.LoadedExecutable)(field.UnsafePointer()).OnDeviceMemoryUsageStats
	return m.Temporary + max(0, m.Outputs-m.Aliases), true
}
