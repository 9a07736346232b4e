package testbackend

import (
	"path/filepath"
	"testing"

	"github.com/deeplora/deeplora/internal/plugin"
)

// Plugin returns the CPU plugin that this machine computes with, and skips the test if it has none. Call it before
// NoPlugins.
func Plugin(t *testing.T) plugin.Plugin {
	t.Helper()
	plugins, err := plugin.Find(plugin.CPU)
	if err != nil {
		t.Fatal(err)
	}
	p, ok := plugin.First(plugins, plugin.CPU)
	if !ok || !plugin.Linked {
		t.Skip("no XLA plugin is installed; run: deeplora engine install")
	}
	return p
}

// NoPlugins gives a test a home directory without plugins, and no network. It returns the folder where an install
// would put one.
func NoPlugins(t *testing.T) (dir string) {
	t.Helper()
	home := t.TempDir()
	for name, value := range map[string]string{
		"HOME": home, "XDG_CACHE_HOME": filepath.Join(home, "cache"), "PIP_INDEX_URL": "http://127.0.0.1:1/simple",
		"HTTPS_PROXY": "http://127.0.0.1:1", plugin.PathEnv: "", "GOMLX_BACKEND": "", "DEEPLORA_OFFLINE": "", "HF_HOME": "", "HF_HUB_CACHE": "",
	} {
		t.Setenv(name, value)
	}
	if plugins, err := plugin.Find(""); err != nil || len(plugins) > 0 {
		t.Skipf("plugins for all users of this machine: %v, %v", plugins, err)
	}
	return filepath.Join(home, ".local", "lib", "go-xla")
}
