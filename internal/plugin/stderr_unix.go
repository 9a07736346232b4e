//go:build unix

package plugin

import (
	"os"

	"golang.org/x/sys/unix"
)

// captureStderr returns what is written to file descriptor 2 while fn runs; if it cannot be captured, it is
// written where it always is. The descriptor belongs to the whole process: other goroutines' messages are
// captured with it.
func captureStderr(fn func()) string {
	file, err := os.CreateTemp("", tempPrefix+"*.tmp")
	if err != nil {
		fn()
		return ""
	}
	defer os.Remove(file.Name())
	defer file.Close()
	saved, err := unix.FcntlInt(2, unix.F_DUPFD_CLOEXEC, 3)
	if err != nil {
		fn()
		return ""
	}
	defer unix.Close(saved)
	defer func() { _ = dup2(saved, 2) }() // the descriptor we had a moment ago
	if err := dup2(int(file.Fd()), 2); err != nil {
		fn()
		return ""
	}
	fn()
	content, _ := os.ReadFile(file.Name()) // for the debug log only
	return string(content)
}
