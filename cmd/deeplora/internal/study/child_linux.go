package study

import (
	"os"
	"syscall"
)

// childAttributes keep a terminal's interrupt from a child, which is told by this process, once; and have the
// kernel tell it where this process dies without a word.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}

// peakRSS is the most memory that a process had, in bytes.
func peakRSS(p *os.ProcessState) int64 {
	if usage, ok := p.SysUsage().(*syscall.Rusage); ok && usage != nil {
		return usage.Maxrss << 10
	}
	return 0
}
