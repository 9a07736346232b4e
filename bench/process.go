package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// ended is a process that succeeded.
type ended struct {
	out    []byte // standard output
	wall   float64
	peak   int64   // largest resident memory, bytes; 0 where it is not known
	others float64 // share of all processors' time that other processes took meanwhile; 0 where it is not known
}

// execute runs a program to its end. What it says on standard error is shown if it fails.
func execute(ctx context.Context, env []string, name string, args ...string) (ended, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	cmd.Env = append(os.Environ(), env...)
	busy, began := processorTime(procStat()), time.Now()
	out, err := cmd.Output()
	wall := time.Since(began)
	busy = processorTime(procStat()) - busy
	e := ended{out: out, wall: wall.Seconds()}
	if err != nil {
		return e, fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, stderr.Bytes())
	}
	own := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	e.others = max(0, (busy-own).Seconds()/wall.Seconds()/float64(runtime.NumCPU()))
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		e.peak = int64(usage.Maxrss)
		if runtime.GOOS != "darwin" { // where it is in bytes, elsewhere in KiB
			e.peak <<= 10
		}
	}
	return e, nil
}

// timing is that of a process, with the part of it that was timed.
func (e ended) timing(seconds float64, tokens int) timing {
	return timing{Seconds: seconds, Tokens: tokens, PeakRSS: e.peak, Others: e.others}
}

func procStat() string {
	text, _ := os.ReadFile("/proc/stat") // only Linux has it
	return string(text)
}

// processorTime is how long all processors together have computed, by the first line of Linux's /proc/stat: user,
// nice, system, idle, iowait, irq, softirq and steal, in hundredths of a second. 0 if it is no such text.
func processorTime(stat string) time.Duration {
	const idle, iowait, steal = 4, 5, 8
	first, _, _ := strings.Cut(stat, "\n")
	fields := strings.Fields(first)
	if len(fields) <= steal || fields[0] != "cpu" {
		return 0
	}
	total := time.Duration(0)
	for i, field := range fields[:steal+1] {
		if n, err := strconv.ParseInt(field, 10, 64); err == nil && i != idle && i != iowait {
			total += time.Duration(n) * (time.Second / 100)
		}
	}
	return total
}
