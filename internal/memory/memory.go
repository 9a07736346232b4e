// Package memory says how much memory this process has used, in numbers that results can hold. What to do about it,
// and what other processes use, is not its business.
package memory

import (
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
