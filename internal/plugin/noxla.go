//go:build noxla

package plugin

import "github.com/gomlx/compute"

// Linked says whether this program can open plugins.
const Linked = false

func forbidDownloads() {}

func newBackend(string, map[string]any) (compute.Backend, error) { return nil, errNoXLA }

// WorkingMemory is not known of the Go engine.
func WorkingMemory(compute.Executable) (bytes int64, known bool) { return 0, false }
