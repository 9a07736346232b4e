package plugin

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// told are the lines of /proc/cpuinfo that say what code a processor runs, on x86 and on ARM.
var told = []string{
	"vendor_id", "cpu family", "model", "model name", "stepping", "flags",
	"CPU implementer", "CPU architecture", "CPU variant", "CPU part", "CPU revision", "Features",
}

// processor is all that XLA compiles for beside a graph: what the processor can, the number of threads, and its own flags.
func processor() (string, error) {
	content, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "", err
	}
	first, _, _ := strings.Cut(string(content), "\n\n")
	lines := []string{runtime.GOARCH, "XLA_FLAGS=" + os.Getenv("XLA_FLAGS")}
	for line := range strings.Lines(first) {
		if name, _, ok := strings.Cut(line, ":"); ok && slices.Contains(told, strings.TrimSpace(name)) {
			lines = append(lines, strings.TrimSpace(line))
		}
	}
	var cpus unix.CPUSet
	if err := unix.SchedGetaffinity(0, &cpus); err != nil {
		return "", err
	}
	return strings.Join(append(lines, fmt.Sprintf("%d threads", cpus.Count())), "\n"), nil
}

// BFloat16 is what the processor multiplies bfloat16 numbers with: "AMX", "AVX512_BF16" or, on ARM, "BF16"; "" where it
// has nothing of the kind, or does not say.
func BFloat16() string {
	lines, err := processor()
	if err != nil {
		return ""
	}
	flags := strings.Fields(lines)
	for _, has := range []struct{ flag, name string }{{"amx_bf16", "AMX"}, {"avx512_bf16", "AVX512_BF16"}, {"bf16", "BF16"}} {
		if slices.Contains(flags, has.flag) {
			return has.name
		}
	}
	return ""
}
