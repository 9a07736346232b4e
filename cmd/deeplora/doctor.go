package main

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/gomlx/compute"
	"github.com/spf13/cobra"

	"github.com/deeplora/deeplora/engine"
	"github.com/deeplora/deeplora/internal/memory"
	"github.com/deeplora/deeplora/internal/plugin"
)

func doctorCommand(s *shared) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "doctor",
		Short:   "Report what this machine computes with and what is missing",
		Long:    "Report versions, the backends that open here, where downloads are kept, and how to install what is missing.",
		Example: "  deeplora doctor\n  deeplora doctor --json",
		RunE: func(*cobra.Command, []string) error {
			report, err := diagnose(s.hub().Cache(), s.compiled())
			if err != nil {
				return err
			}
			if asJSON {
				return s.ui.json(report)
			}
			if err := s.ui.table(report.rows()); err != nil {
				return err
			}
			if report.Slower != "" {
				s.ui.line("this build: %s", report.Slower)
			}
			for _, b := range report.Backends {
				if b.Remedy != "" {
					s.ui.line("%s: %s", b.Name, b.Remedy)
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// diagnosis is what `doctor` reports.
type diagnosis struct {
	Version        string            `json:"version"`
	Go             string            `json:"go"`
	Platform       string            `json:"platform"`
	SIMD           bool              `json:"simd"`   // the Go engine's fast kernels were compiled in
	Slower         string            `json:"slower"` // what another build computes faster, and how to come to it; empty if none does
	Libraries      map[string]string `json:"libraries"`
	Backends       []backendState    `json:"backends"`
	DefaultBackend string            `json:"default_backend"`
	CPUs           int               `json:"cpus"`         // that this process may use
	MemoryBytes    uint64            `json:"memory_bytes"` // that it may use; 0 if the system does not tell
	Cache          string            `json:"cache"`
	BFloat16       string            `json:"bfloat16"` // the processor's instructions for it; empty if it has none: --precision bf16 is slow then
	Compiled       string            `json:"compiled"` // where compiled graphs are kept; empty: nowhere
}

type backendState struct {
	Name      string   `json:"name"`
	Available bool     `json:"available"` // it was opened
	Plugin    string   `json:"plugin"`
	SHA256    string   `json:"sha256"`
	Devices   []string `json:"devices"` // as the engine describes them; a CPU is one, which --devices divides
	Remedy    string   `json:"remedy"`  // what is wrong and what to do; empty if available
}

func diagnose(cache, compiled string) (diagnosis, error) {
	plugins, err := plugin.Find("")
	if err != nil {
		return diagnosis{}, err
	}
	d := diagnosis{
		Version: version(), Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
		SIMD: builtWithSIMD(), Slower: slowerHere(), Libraries: libraries(),
		Backends: []backendState{goState(), xlaState(plugins, plugin.CPU), xlaState(plugins, plugin.CUDA)},
		CPUs:     runtime.NumCPU(), MemoryBytes: uint64(memory.Total()), Cache: cache, BFloat16: plugin.BFloat16(), Compiled: compiled,
	}
	for _, b := range d.Backends { // slowest first
		if b.Available {
			d.DefaultBackend = b.Name
		}
	}
	return d, nil
}

// theCPU is what a CPU is called among devices.
const theCPU = "the CPU"

func goState() backendState {
	backend, _, err := engine.Open(engine.Options{Name: engine.Go})
	if err != nil {
		return backendState{Name: engine.Go, Devices: []string{}, Remedy: err.Error()}
	}
	backend.Finalize()
	return backendState{Name: engine.Go, Devices: []string{theCPU}, Available: true}
}

// xlaState opens the plugin that --backend xla:<kind> would open.
func xlaState(plugins []plugin.Plugin, kind plugin.Kind) backendState {
	state := backendState{Name: "xla:" + string(kind), Devices: []string{}}
	p, found := plugin.First(plugins, kind)
	state.Plugin = p.Path
	switch {
	case !plugin.Linked:
		state.Remedy = "this program was built without XLA; build it without the tag noxla"
		return state
	case kind == plugin.CUDA && !plugin.GPUPresent():
		state.Remedy = "no NVIDIA GPU is to be seen"
		return state
	case !found:
		state.Remedy = "no plugin is installed; run: " + kind.Remedy()
		return state
	}
	backend, opened, err := plugin.Open(p)
	if err != nil {
		state.Remedy = oneLine(err)
		return state
	}
	defer backend.Finalize()
	state.Available, state.SHA256, state.Devices = true, opened.SHA256, []string{theCPU}
	if kind == plugin.CUDA {
		state.Devices = nil
		for i := range backend.NumDevices() {
			state.Devices = append(state.Devices, oneLine(errors.New(backend.DeviceDescription(compute.DeviceNum(i)))))
		}
	}
	return state
}

func (d diagnosis) rows() [][]string {
	simd := "yes"
	if !d.SIMD {
		simd = "no"
	}
	rows := [][]string{
		{"deeplora", d.Version},
		{"go", d.Go + " " + d.Platform},
		{"simd", simd},
		{"cpus", strconv.Itoa(d.CPUs)},
		{"memory", fmt.Sprintf("%.1f GB", float64(d.MemoryBytes)/1e9)},
		{"bfloat16", cmp.Or(d.BFloat16, "no instructions for it: --precision bf16 is slower than f32 here")},
		{"cache", d.Cache},
		{"compiled graphs", cmp.Or(d.Compiled, "not kept")},
	}
	for _, module := range slices.Sorted(maps.Keys(d.Libraries)) {
		if module == "go" { // stands above
			continue
		}
		rows = append(rows, []string{strings.TrimPrefix(module, "github.com/"), d.Libraries[module]})
	}
	for _, b := range d.Backends {
		rows = append(rows, []string{b.Name, b.text(d.DefaultBackend)})
	}
	return rows
}

func (b backendState) text(preferred string) string {
	switch {
	case !b.Available:
		return "not available"
	case b.Plugin == "":
		return "available" + defaultMark(b.Name == preferred)
	default:
		return fmt.Sprintf("available%s, %s, sha256 %s, devices: %s", defaultMark(b.Name == preferred), b.Plugin, b.SHA256, strings.Join(b.Devices, "; "))
	}
}

func defaultMark(preferred bool) string {
	if preferred {
		return " (default)"
	}
	return ""
}
