//go:build !linux

package plugin

import (
	"fmt"
	"runtime"
)

// CanLimitXLA says whether SetThreads has an effect on XLA.
const CanLimitXLA = false

// SetThreads lets Go code use n CPUs, 0 for all. XLA's threads cannot be limited on this system.
func SetThreads(n int) error {
	if n < 0 || n > runtime.NumCPU() {
		return fmt.Errorf("threads: %d asked for, there are %d CPUs; want 1 to %d, or 0 for all", n, runtime.NumCPU(), runtime.NumCPU())
	}
	if n == 0 {
		runtime.SetDefaultGOMAXPROCS()
		return nil
	}
	runtime.GOMAXPROCS(n)
	return nil
}
