package completion

import (
	"runtime"
	"sync"
	"sync/atomic"
)

// each calls work(0) … work(n-1), on as many cores as there are, and waits for all of them. Which core does what is
// left to chance: work(i) may write only what is i's.
func each(n int, work func(i int)) {
	workers := min(runtime.GOMAXPROCS(0), n)
	if workers <= 1 {
		for i := range n {
			work(i)
		}
		return
	}
	var next atomic.Int64
	var wait sync.WaitGroup
	loop := func() {
		for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
			work(i)
		}
	}
	for range workers - 1 {
		wait.Go(loop)
	}
	loop()
	wait.Wait()
}

// partSize is how many rows make a part: small enough to share out, large enough to be worth it.
const partSize = 512

// parts is each over consecutive parts of [0, n).
func parts(n int, work func(from, to int)) {
	each((n+partSize-1)/partSize, func(p int) { work(p*partSize, min((p+1)*partSize, n)) })
}
