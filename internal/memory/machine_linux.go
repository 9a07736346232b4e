package memory

import (
	"bufio"
	"bytes"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Total is the machine's memory or, in a container, its limit, in bytes; 0 if unknown.
func Total() int64 {
	var info unix.Sysinfo_t
	if err := unix.Sysinfo(&info); err != nil {
		return 0
	}
	total := int64(info.Totalram) * int64(info.Unit)
	if limit, _, ok := group(); ok {
		total = min(total, limit)
	}
	return total
}

// Available is how much more memory this process can take without swapping, in bytes; 0 if unknown.
func Available() int64 {
	text, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return 0
	}
	free := int64(0)
	for line := range bytes.Lines(text) {
		if value, ok := bytes.CutPrefix(line, []byte("MemAvailable:")); ok {
			free = kibibytes(string(value))
		}
	}
	if limit, used, ok := group(); ok {
		free = max(0, min(free, limit-used))
	}
	return free
}

// Resident is the memory of this process that is in use now, in bytes; 0 if unknown.
func Resident() int64 {
	f, err := os.Open("/proc/self/status")
	if err != nil {
		return 0
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "VmRSS:"); ok {
			return kibibytes(value)
		}
	}
	return 0
}

// kibibytes reads a value of the proc file system, such as "  1234 kB".
func kibibytes(text string) int64 {
	n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(text), "kB")), 10, 64)
	if err != nil {
		return 0
	}
	return n << 10
}

// group returns the memory limit of this process's control group (version 2 or 1), if it has one, and how much of it is
// in use. File caches do not count as used, since the kernel frees them on demand.
func group() (limit, used int64, ok bool) {
	const root = "/sys/fs/cgroup/"
	for _, v := range []struct{ dir, limit, usage, cache string }{
		{root, "memory.max", "memory.current", "inactive_file "},
		{root + "memory/", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "},
	} {
		limit, ok := number(v.dir + v.limit)
		if !ok { // "max"
			continue
		}
		used, _ := number(v.dir + v.usage)
		stat, _ := os.ReadFile(v.dir + "memory.stat")
		for line := range bytes.Lines(stat) {
			if value, isCache := bytes.CutPrefix(line, []byte(v.cache)); isCache {
				n, _ := strconv.ParseInt(strings.TrimSpace(string(value)), 10, 64)
				used -= n
			}
		}
		return limit, used, true
	}
	return 0, 0, false
}

func number(file string) (int64, bool) {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	return n, err == nil
}
