package plugin

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/gomlx/compute"

	"github.com/deeplora/deeplora/internal/plugin/compiled"
)

// errNoXLA says that there is nothing that could open a plugin.
var errNoXLA = errors.New("this program was built without XLA (tag noxla); build it without the tag, or compute with --backend go")

// Open verifies and opens a plugin, and returns it with its sha256. Errors, also of a plugin that makes go-xla panic, name the plugin and what to do.
//
// A CPU plugin takes as many threads as this process may use CPUs: call SetThreads before. Products of
// float32 are computed in float32; NVIDIA's TF32 is switched off.
func Open(p Plugin) (compute.Backend, Plugin, error) { return OpenKeeping(p, "", 1) }

// Keeps says whether OpenKeeping keeps anything on this system.
const Keeps = compiled.Supported

// OpenKeeping is Open where what a CPU plugin compiles is kept in a folder, and taken from there when the same graph is
// compiled again by the same plugin on the same kind of processor, with as many threads. Where that is not possible graphs
// are compiled as ever, without a word: in an empty folder's name nothing is kept. A CPU is as many devices as are asked
// for, all of them on the same cores; of GPUs there are those that there are.
func OpenKeeping(p Plugin, folder string, devices int) (compute.Backend, Plugin, error) {
	if !Linked {
		return nil, p, fmt.Errorf("engine: %w", errNoXLA)
	}
	forbidDownloads()
	p, err := p.Verify(false)
	if err != nil {
		return nil, p, withRemedy(err, p.Kind)
	}
	name, remove := keeping(p, folder, devices), func() {}
	if name == "" {
		if name, remove, err = plainName(p); err != nil {
			return nil, p, fmt.Errorf("engine: %s: %w", p.Path, err)
		}
	}
	defer remove()
	var backend compute.Backend
	open := func() { backend, err = openBackend(name+p.options(), p.clientOptions(devices)) }
	if p.Kind == CUDA {
		withoutNativeErrors(open)
	} else {
		open()
	}
	if err != nil {
		return nil, p, fmt.Errorf("engine: open %s: %w", p.Path, explain(p, err))
	}
	return backend, p, nil
}

// keeping gives go-xla a plugin that keeps what it compiles, under the name returned; "" where it does not.
func keeping(p Plugin, folder string, devices int) (name string) {
	if folder == "" || p.Kind != CPU || !compiled.Supported {
		return ""
	}
	processor, err := processor()
	if err == nil {
		name, err = compiled.Wrap(p.Path, string(p.Kind), compiled.NewStore(folder, fmt.Sprintf("%s\n%s%s", p.SHA256, processor, severally(devices))))
	}
	if err != nil {
		slog.Debug("compiled graphs are not kept", "error", err)
	}
	return name
}

// severally is what a number of CPU devices adds to what decides what a graph is compiled to.
func severally(devices int) string {
	if devices <= 1 {
		return ""
	}
	return fmt.Sprintf("\n%d devices", devices)
}

// withRemedy says how to come to a sound plugin, unless the error does: an install passes over one that is not.
func withRemedy(err error, kind Kind) error {
	if strings.Contains(err.Error(), CPU.Remedy()) {
		return err
	}
	return fmt.Errorf("%w; run: %s", err, kind.Remedy())
}

// openBackend opens a plugin by go-xla's configuration. A nil pointer inside go-xla is an error too: it is
// a fault of the plugin.
func openBackend(config string, client map[string]any) (b compute.Backend, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v", v)
		}
	}()
	return newBackend(config, client)
}

// options are what go-xla would otherwise guess from the plugin's name.
func (p Plugin) options() string {
	if p.Kind == CUDA {
		return ",noshared_buffers,notf32"
	}
	return ",shared_buffers,notf32"
}

// clientOptions are the plugin's own, which go-xla's configuration has no words for.
func (p Plugin) clientOptions(devices int) map[string]any {
	if p.Kind != CPU || devices <= 1 { // the plugin's own number of CPU devices, of which the first is used
		return nil
	}
	return map[string]any{"cpu_device_count": int64(devices)}
}

// plainName returns a path by which go-xla takes a plugin for what it is. go-xla splits options at commas
// and calls CPU and CUDA what has these letters anywhere in its path, such as a home directory of "nvidia".
// Where that goes wrong, the path is a link that remove takes away.
func plainName(p Plugin) (name string, remove func(), err error) {
	if isPlain(p.Path, p.Kind) {
		return p.Path, func() {}, nil
	}
	dir, err := os.MkdirTemp("", "deeplora-")
	if err != nil {
		return "", nil, err
	}
	remove = func() { _ = os.RemoveAll(dir) } // a leftover in the temporary folder harms nobody
	name = filepath.Join(dir, "pjrt_c_api_"+string(p.Kind)+"_plugin"+filepath.Ext(p.Path))
	if p.Kind == CUDA || !isPlain(name, p.Kind) { // CUDA's libraries are found from the plugin's own folder
		remove()
		return "", nil, errors.New("go-xla cannot open it: no comma may be in its path, and of cpu, cuda, nvidia only its kind; put it elsewhere and set " + PathEnv)
	}
	if err := os.Symlink(p.Path, name); err != nil {
		remove()
		return "", nil, err
	}
	return name, remove, nil
}

func isPlain(path string, kind Kind) bool {
	upper := strings.ToUpper(path)
	cuda := strings.Contains(upper, "CUDA") || strings.Contains(upper, "NVIDIA")
	cpu := strings.Contains(upper, "CPU")
	return !strings.Contains(path, ",") && cpu == (kind == CPU) && cuda == (kind == CUDA)
}

// explain adds what to do to go-xla's commonest errors.
func explain(p Plugin, err error) error {
	text := err.Error()
	switch {
	case strings.Contains(text, "No visible GPU"), strings.Contains(text, "CUDA_ERROR_NO_DEVICE"):
		return errors.New("no GPU answers; compute with --backend xla:cpu")
	case strings.Contains(text, "cannot open shared object file"):
		return fmt.Errorf("%w; install the library it names, or another plugin: deeplora engine install --from FILE", err)
	case strings.Contains(text, "GLIBC"):
		return fmt.Errorf("%w; this system's C library is too old for it", err)
	}
	return err
}

// withoutNativeErrors runs open while what C++ code writes to standard error goes to the debug log. CUDA's
// plugin describes a missing GPU there in a dozen lines, and returns the error all the same.
func withoutNativeErrors(open func()) {
	for line := range strings.Lines(captureStderr(open)) {
		slog.Debug("XLA", "line", strings.TrimSpace(line))
	}
}
