package memory

import "golang.org/x/sys/unix"

// Total is the machine's memory, in bytes; 0 if unknown.
func Total() int64 {
	n, err := unix.SysctlUint64("hw.memsize")
	if err != nil {
		return 0
	}
	return int64(n)
}

// Available is unknown here.
func Available() int64 { return 0 }

// Resident is unknown here.
func Resident() int64 { return 0 }
