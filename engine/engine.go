package engine

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"

	"github.com/gomlx/compute"
	_ "github.com/gomlx/compute/gobackend" // the Go engine

	"github.com/deeplora/deeplora/internal/nearest"
	"github.com/deeplora/deeplora/internal/plugin"
)

// The names of backends. Auto is not one itself, but asks for the fastest that there is.
const (
	Auto    = "auto"
	Go      = "go"
	XLACPU  = "xla:cpu"
	XLACUDA = "xla:cuda"
)

var names = []string{Auto, Go, XLACPU, XLACUDA}

// goConfig is the only configuration of the Go engine that is used. Its default, parallel mode deadlocks:
// nodes of a graph hold the workers that their own parts wait for.
const goConfig = "go:ops_sequential"

// ErrUsage says that something was asked for that cannot be: a backend of an unknown name, one that this program was
// built without, or more threads than there are CPUs. Other errors are of the machine, such as a plugin that is missing.
var ErrUsage = errors.New("wrong usage")

// usageError is an ErrUsage in words of its own.
type usageError struct{ error }

func (e usageError) Is(target error) bool { return target == ErrUsage }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// Options say what to open.
type Options struct {
	// Name is Auto if empty.
	Name string
	// Threads is how many CPUs to compute on, 0 for all that the process was started on. It holds for the whole
	// process until the next Open: XLA computes on the threads that call it too.
	Threads int
	// Devices is how many devices of the engine are to be used, 0 for one, AllDevices for all there are. A CPU is one
	// device unless more are asked for, which then share its cores.
	Devices int
	// Compiled is a folder in which XLA's compiled graphs are kept for the next process that builds the same, on Linux and
	// the CPU; they are machine code. Empty: none are kept.
	Compiled string
}

// AllDevices asks for as many devices as there are.
const AllDevices = -1

// mostCPUDevices bounds what a CPU is divided into.
const mostCPUDevices = 64

// Info says what was opened.
type Info struct {
	Name         string   // Go, XLACPU or XLACUDA
	PluginSHA256 string   // of the file that computes, in hexadecimal; empty for Go. The same file gives the same bits.
	Threads      int      // CPUs used
	Devices      int      // of the engine, its first, that are to be used
	Notices      []string // what the user should know, a sentence each
}

// Open opens the backend that o names. The caller closes it by its method Finalize.
//
// Auto, where $GOMLX_BACKEND does not name a backend, is XLA if a plugin is installed: CUDA before CPU if a GPU
// answers. Without a plugin it is the Go engine, with a notice that says how to install one. A plugin that is there
// but unsound is an error, never passed over. Errors about the backend itself begin with "backend" and its name.
//
// Not for use by several goroutines at once.
func Open(o Options) (compute.Backend, Info, error) {
	name, notices, err := requested(o.Name, os.Getenv(compute.ConfigEnvVar))
	if err != nil {
		return nil, Info{}, err
	}
	if err := plugin.SetThreads(o.Threads); err != nil {
		return nil, Info{}, usageError{err}
	}
	backend, info, err := openNamed(name, o)
	if err != nil {
		return nil, Info{}, err
	}
	if err := info.settleDevices(o.Devices, backend.NumDevices()); err != nil {
		backend.Finalize()
		return nil, Info{}, err
	}
	info.Notices = append(notices, info.Notices...)
	if info.Threads = o.Threads; o.Threads == 0 || (info.Name != Go && !plugin.CanLimitXLA) {
		info.Threads = runtime.NumCPU()
	}
	if info.Threads != o.Threads && o.Threads != 0 {
		info.Notices = append(info.Notices, "the number of threads has no effect on XLA on this system")
	}
	return backend, info, nil
}

// settleDevices says how many of the devices there are will be used.
func (i *Info) settleDevices(asked, there int) error {
	i.Devices = max(1, asked)
	switch {
	case asked == AllDevices && i.Name == XLACUDA:
		i.Devices = there
	case i.Devices == 1:
	case i.Name == Go:
		return usagef("devices: %d are asked for, and the Go engine computes on one; --backend xla:cpu has more", asked)
	case asked > there:
		return fmt.Errorf("backend %s: %d devices are asked for, there are %d ($CUDA_VISIBLE_DEVICES says which GPUs may be used)", i.Name, asked, there)
	case i.Name == XLACPU:
		i.Notices = append(i.Notices, fmt.Sprintf("%d CPU devices share the same cores: each batch takes as long as on one, or longer; they are for trying out what several GPUs would do", i.Devices))
	}
	return nil
}

// WorkingMemory is what a compiled graph takes while it runs, beside its arguments, in bytes: intermediate results
// and those of its outputs that no donated argument makes room for. It is not known of the Go engine.
func WorkingMemory(e compute.Executable) (bytes int64, known bool) { return plugin.WorkingMemory(e) }

// requested returns the backend to open: the one that is named or, if that is Auto, the one of the variable that
// GoMLX's own programs read.
func requested(name, env string) (backend string, notices []string, err error) {
	switch name {
	case Go, XLACPU, XLACUDA:
		return name, nil, nil
	case Auto, "":
	default:
		return "", nil, usagef("backend: %q is unknown; want %s (nearest: %s)", name, strings.Join(names, ", "), nearest.Of(name, names))
	}
	// GoMLX adds options behind commas, and for the Go engine behind a colon. They are ours to choose.
	base, _, _ := strings.Cut(env, ",")
	if base == Go || strings.HasPrefix(base, Go+":") {
		base = Go
		if env != goConfig {
			notices = append(notices, fmt.Sprintf("%s=%s becomes %s: the Go engine's other modes can hang", compute.ConfigEnvVar, env, goConfig))
		}
	}
	switch base {
	case "":
		return Auto, nil, nil
	case Go, XLACPU, XLACUDA:
		return base, notices, nil
	default:
		return "", nil, usagef("%s=%s: want %s, or no such variable", compute.ConfigEnvVar, env, strings.Join(names[1:], ", "))
	}
}

func openNamed(name string, o Options) (compute.Backend, Info, error) {
	switch name {
	case Go:
		return openGo()
	case XLACPU:
		return openXLA(plugin.CPU, o)
	case XLACUDA:
		return openXLA(plugin.CUDA, o)
	default:
		return openAuto(o)
	}
}

func openGo(notices ...string) (compute.Backend, Info, error) {
	backend, err := compute.NewWithConfig(goConfig)
	if err != nil {
		return nil, Info{}, fmt.Errorf("open the Go engine: %w", err)
	}
	return backend, Info{Name: Go, Notices: notices}, nil
}

func openXLA(kind plugin.Kind, o Options) (compute.Backend, Info, error) {
	if !plugin.Linked {
		return nil, Info{}, usagef("backend xla:%s: this program was built without XLA (tag noxla)", kind)
	}
	plugins, err := plugin.Find(kind)
	if err != nil {
		return nil, Info{}, err
	}
	p, ok := plugin.First(plugins, kind)
	if !ok {
		return nil, Info{}, fmt.Errorf("backend xla:%s: no plugin is installed; run: %s", kind, kind.Remedy())
	}
	return openPlugin(p, o)
}

func openPlugin(p plugin.Plugin, o Options) (compute.Backend, Info, error) {
	if p.Kind == plugin.CPU && o.Devices > mostCPUDevices {
		return nil, Info{}, usagef("devices: %d are asked for; a CPU is divided into %d at most", o.Devices, mostCPUDevices)
	}
	backend, p, err := plugin.OpenKeeping(p, o.Compiled, o.Devices)
	if err != nil {
		return nil, Info{}, err
	}
	return backend, Info{Name: "xla:" + string(p.Kind), PluginSHA256: p.SHA256}, nil
}

// openAuto opens the fastest backend there is.
func openAuto(o Options) (compute.Backend, Info, error) {
	if !plugin.Linked {
		return openGo("built without XLA (tag noxla): computing on the slow Go engine")
	}
	plugins, err := plugin.Find("")
	if err != nil {
		return nil, Info{}, err
	}
	var notices []string
	if p, ok := plugin.First(plugins, plugin.CUDA); ok && plugin.GPUPresent() {
		backend, info, err := openPlugin(p, o)
		if err == nil {
			return backend, info, nil
		}
		// A driver that does not answer is no reason to stop, and no secret.
		notices = append(notices, err.Error())
	}
	p, ok := plugin.First(plugins, plugin.CPU)
	if !ok {
		return openGo(append(notices, "no XLA plugin is installed: computing on the slow Go engine; for XLA run: "+plugin.CPU.Remedy())...)
	}
	backend, info, err := openPlugin(p, o)
	info.Notices = append(info.Notices, notices...)
	return backend, info, err
}
