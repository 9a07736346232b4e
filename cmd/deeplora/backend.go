package main

import (
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/gomlx/compute"
	_ "github.com/gomlx/compute/gobackend" // the Go engine

	"github.com/deeplora/deeplora/internal/nearest"
	"github.com/deeplora/deeplora/internal/plugin"
	"github.com/deeplora/deeplora/train"
)

// The values of --backend.
const (
	backendAuto = "auto"
	backendGo   = "go"
	backendCPU  = "xla:cpu"
	backendCUDA = "xla:cuda"
)

// goConfig is the only configuration of the Go engine that is used. Its default, parallel mode deadlocks:
// nodes of a graph hold the workers that their own parts wait for.
const goConfig = "go:ops_sequential"

const remedyInstall = "deeplora engine install"

// backendInfo says what openBackend has opened.
type backendInfo struct {
	name    string        // go, xla:cpu or xla:cuda
	plugin  plugin.Plugin // zero for go
	threads int           // CPUs used
	notices []string      // what the user should know
}

// open opens the backend that the flags ask for, and says what a run must record of it.
func (s *shared) open() (compute.Backend, train.Provenance, error) {
	backend, info, err := openBackend(s.backend, s.threads)
	if err != nil {
		return nil, train.Provenance{}, err
	}
	for _, notice := range info.notices {
		s.ui.line("note: %s", notice)
	}
	return backend, train.Provenance{
		Version: version(), Libraries: libraries(),
		Backend: info.name, PluginSHA256: info.plugin.SHA256, Threads: info.threads,
	}, nil
}

// openBackend opens a backend by its name in --backend, on so many CPUs; 0 threads are all. auto, where
// GOMLX_BACKEND does not name one, is XLA if a plugin is installed: CUDA before CPU if a GPU answers. Without
// a plugin it is the Go engine, with a notice that names the remedy. A plugin that is there but unsound is an
// error, never passed over.
func openBackend(name string, threads int) (compute.Backend, backendInfo, error) {
	name, notices, err := requested(name, os.Getenv(compute.ConfigEnvVar))
	if err != nil {
		return nil, backendInfo{}, err
	}
	if err := plugin.SetThreads(threads); err != nil {
		return nil, backendInfo{}, usageError{err}
	}
	backend, info, err := openNamed(name)
	if err != nil {
		return nil, backendInfo{}, err
	}
	info.notices = append(notices, info.notices...)
	if info.threads = threads; threads == 0 || (info.name != backendGo && !plugin.CanLimitXLA) {
		info.threads = runtime.NumCPU()
	}
	if info.threads != threads && threads != 0 {
		info.notices = append(info.notices, "--threads has no effect on XLA on this system")
	}
	return backend, info, nil
}

// requested returns the backend to open: what the flag says or, if that is auto, the environment of GoMLX's
// own programs.
func requested(flag, env string) (name string, notices []string, err error) {
	known := []string{backendAuto, backendGo, backendCPU, backendCUDA}
	for _, k := range known[1:] {
		if flag == k {
			return flag, nil, nil
		}
	}
	if flag != backendAuto {
		return "", nil, usagef("--backend: %q is unknown; want %s (nearest: %s)", flag, strings.Join(known, ", "), nearest.Of(flag, known))
	}
	// GoMLX adds options behind commas, and for the Go engine behind a colon. They are ours to choose.
	base, _, _ := strings.Cut(env, ",")
	if base == backendGo || strings.HasPrefix(base, backendGo+":") {
		base = backendGo
		if env != goConfig {
			notices = append(notices, fmt.Sprintf("%s=%s becomes %s: the Go engine's other modes can hang", compute.ConfigEnvVar, env, goConfig))
		}
	}
	switch base {
	case "":
		return backendAuto, nil, nil
	case backendGo, backendCPU, backendCUDA:
		return base, notices, nil
	default:
		return "", nil, usagef("%s=%s: want %s, or give --backend", compute.ConfigEnvVar, env, strings.Join(known[1:], ", "))
	}
}

func openNamed(name string) (compute.Backend, backendInfo, error) {
	switch name {
	case backendGo:
		return openGo()
	case backendCPU:
		return openXLA(plugin.CPU)
	case backendCUDA:
		return openXLA(plugin.CUDA)
	default:
		return openAuto()
	}
}

func openGo(notices ...string) (compute.Backend, backendInfo, error) {
	backend, err := compute.NewWithConfig(goConfig)
	if err != nil {
		return nil, backendInfo{}, fmt.Errorf("open the Go engine: %w", err)
	}
	return backend, backendInfo{name: backendGo, notices: notices}, nil
}

func openXLA(kind plugin.Kind) (compute.Backend, backendInfo, error) {
	if !xlaLinked {
		return nil, backendInfo{}, usagef("--backend xla:%s: this program was built without XLA (tag noxla)", kind)
	}
	plugins, err := plugin.Find(kind)
	if err != nil {
		return nil, backendInfo{}, err
	}
	p, ok := plugin.First(plugins, kind)
	if !ok {
		return nil, backendInfo{}, fmt.Errorf("--backend xla:%s: no plugin is installed; run: %s", kind, remedy(kind))
	}
	return openPlugin(p)
}

func remedy(kind plugin.Kind) string {
	if kind == plugin.CUDA {
		return remedyInstall + " --cuda"
	}
	return remedyInstall
}

func openPlugin(p plugin.Plugin) (compute.Backend, backendInfo, error) {
	prepareXLA()
	backend, p, err := plugin.Open(p)
	if err != nil {
		return nil, backendInfo{}, err
	}
	return backend, backendInfo{name: "xla:" + string(p.Kind), plugin: p}, nil
}

// openAuto opens the fastest backend there is.
func openAuto() (compute.Backend, backendInfo, error) {
	if !xlaLinked {
		return openGo("built without XLA (tag noxla): computing on the slow Go engine")
	}
	plugins, err := plugin.Find("")
	if err != nil {
		return nil, backendInfo{}, err
	}
	var notices []string
	if p, ok := plugin.First(plugins, plugin.CUDA); ok && plugin.GPUPresent() {
		backend, info, err := openPlugin(p)
		if err == nil {
			return backend, info, nil
		}
		// A driver that does not answer is no reason to stop, and no secret.
		notices = append(notices, err.Error())
	}
	p, ok := plugin.First(plugins, plugin.CPU)
	if !ok {
		return openGo(append(notices, "no XLA plugin is installed: computing on the slow Go engine; for XLA run: "+remedyInstall)...)
	}
	backend, info, err := openPlugin(p)
	info.notices = append(notices, info.notices...)
	return backend, info, err
}
