package plugin

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync"
	"time"

	"github.com/gofrs/flock"
	"golang.org/x/sys/unix"
)

// CanLimitXLA says whether SetThreads has an effect on XLA.
const CanLimitXLA = true

// initial are the CPUs this process was started on, before SetThreads changed anything.
var initial = sync.OnceValues(func() (unix.CPUSet, error) {
	var set unix.CPUSet
	err := unix.SchedGetaffinity(0, &set)
	return set, err
})

// claims are the lock files of the CPUs that this process has chosen, held until it ends or chooses anew.
var claims []*flock.Flock

// SetThreads confines the process to n CPUs, 0 for all that it was started on. Call it before a backend is
// opened: XLA makes its threads then, as many as there are CPUs, and its environment variables do not change
// that. It holds for the rest of the process, because XLA computes on the calling thread too.
//
// Of the CPUs it takes those that no other process of this user has taken by SetThreads, so that two runs
// with --threads 1 do not share one. Not for use by several goroutines at once.
func SetThreads(n int) error {
	all, err := initial()
	if err != nil {
		return fmt.Errorf("threads: ask for this process's CPUs: %w", err)
	}
	if n < 0 || n > all.Count() {
		return fmt.Errorf("threads: %d asked for, this process may use %d CPUs; want 1 to %d, or 0 for all", n, all.Count(), all.Count())
	}
	for _, c := range claims {
		_ = c.Close() // ends with the process at the latest
	}
	claims = nil
	if n == 0 {
		runtime.SetDefaultGOMAXPROCS() // which knows a container's quota too
		return confine(all)
	}
	runtime.GOMAXPROCS(n)
	return confine(choose(all, n))
}

// confine gives every thread of the process the same CPUs. Threads to come inherit them.
//
// A thread that is just being made has its maker's old CPUs and is not listed yet, so the list has to stay
// without news for a while, not once.
func confine(set unix.CPUSet) error {
	const quiet, pause = 4, 2 * time.Millisecond
	done := map[int]bool{}
	for without := 0; without < quiet; without++ {
		if without > 0 {
			time.Sleep(pause)
		}
		threads, err := os.ReadDir("/proc/self/task")
		if err != nil {
			return fmt.Errorf("threads: %w", err)
		}
		for _, t := range threads {
			id, err := strconv.Atoi(t.Name())
			if err != nil || done[id] {
				continue
			}
			done[id], without = true, -1                                                 // and begin to wait anew
			if err := unix.SchedSetaffinity(id, &set); err != nil && err != unix.ESRCH { // ESRCH: it has ended
				return fmt.Errorf("threads: confine to %d CPUs: %w", set.Count(), err)
			}
		}
	}
	return nil
}

// choose returns n CPUs of all: those that can be claimed, then, if other processes have too many, the
// first of the rest.
func choose(all unix.CPUSet, n int) unix.CPUSet {
	var set unix.CPUSet
	var taken []int
	for cpu := 0; set.Count() < n && cpu < len(all)*64; cpu++ {
		switch {
		case !all.IsSet(cpu):
		case claim(cpu):
			set.Set(cpu)
		default:
			taken = append(taken, cpu)
		}
	}
	for _, cpu := range taken {
		if set.Count() < n {
			set.Set(cpu)
		}
	}
	return set
}

// claim marks a CPU as taken. Where there is no place for marks, none is ever taken.
func claim(cpu int) bool {
	cache, err := os.UserCacheDir()
	if err != nil {
		return true
	}
	host, _ := os.Hostname() // the cache may be shared with other machines; "" will do
	dir := filepath.Join(cache, "deeplora", "cpus")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return true
	}
	lock := flock.New(filepath.Join(dir, fmt.Sprintf("%s-%d.lock", host, cpu)))
	locked, err := lock.TryLock()
	if err != nil || locked {
		claims = append(claims, lock)
		return true
	}
	return false
}
