// Package memory measures memory: what this process uses and has used, and what the machine has. It decides nothing
// from these numbers.
package memory

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// Peak is the largest resident memory of this process so far, in bytes; 0 where it is not known.
func Peak() int64 {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return 0
	}
	if runtime.GOOS == "darwin" { // where it is in bytes, elsewhere in KiB
		return int64(usage.Maxrss)
	}
	return int64(usage.Maxrss) << 10
}

// Text is a number of bytes for a person to read, in GB of 10⁹.
func Text(bytes int64) string { return fmt.Sprintf("%.2f GB", float64(bytes)/1e9) }
