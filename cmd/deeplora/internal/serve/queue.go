package serve

import (
	"slices"
	"sync"
	"time"

	"github.com/deeplora/deeplora/data"
)

// ticket is a request that waits for its answer.
type ticket struct {
	adapter int
	left    int // inputs without an answer yet
	logits  [][]float32
	err     error
	done    chan struct{} // closed once no input is left

	since, taken, computed time.Time // for the first input taken, and the last computed
}

// waiting is an input of a request.
type waiting struct {
	data.Encoded
	of *ticket
	at int // which of its inputs
}

// batch is what is computed together.
type batch struct {
	adapter int
	inputs  []waiting
	laid
}

// queue is where inputs wait for company: a lane an adapter, as a batch is of one adapter.
type queue struct {
	most  int
	wait  time.Duration
	plans []plan // by adapter
	once  int    // batches of one adapter that are computed at the same time, at most: what waits for them gathers

	changed chan struct{} // has one place: told when there is something to look at

	mu     sync.Mutex
	lanes  [][]waiting // by adapter, oldest first
	taken  []int       // batches of each adapter that are being computed
	length int
	closed bool
}

func newQueue(most int, wait time.Duration, plans []plan, once int) *queue {
	return &queue{
		most: most, wait: wait, plans: plans, once: once, changed: make(chan struct{}, 1), lanes: make([][]waiting, len(plans)), taken: make([]int, len(plans)),
	}
}

// full reports whether nothing more would be taken, so that a request need not be read further.
func (q *queue) full() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.length >= q.most
}

func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.length
}

// put has a request's inputs wait, all of them or none.
func (q *queue) put(adapter int, inputs []data.Encoded) (*ticket, error) {
	t := &ticket{adapter: adapter, left: len(inputs), logits: make([][]float32, len(inputs)), done: make(chan struct{}), since: time.Now()}
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return nil, errDraining
	case q.length+len(inputs) > q.most:
		return nil, errFull
	}
	for i, e := range inputs {
		q.lanes[adapter] = append(q.lanes[adapter], waiting{e, t, i})
	}
	q.length += len(inputs)
	q.tell()
	return t, nil
}

// leave takes away what still waits of a request that nobody wants an answer to.
func (q *queue) leave(t *ticket) {
	q.mu.Lock()
	defer q.mu.Unlock()
	lane := q.lanes[t.adapter]
	before := len(lane)
	q.lanes[t.adapter] = slices.DeleteFunc(lane, func(w waiting) bool { return w.of == t })
	q.length -= before - len(q.lanes[t.adapter])
}

// close takes no more inputs; those that wait are still handed out, at once.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.tell()
}

func (q *queue) tell() {
	select {
	case q.changed <- struct{}{}:
	default:
	}
}

// run hands out batches, one at a time, until the queue is closed and empty. Several may run at once. compute ends with
// answer.
func (q *queue) run(compute func(*batch)) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		b, wait, over := q.next(time.Now())
		switch {
		case b != nil:
			compute(b)
			continue
		case over:
			q.tell() // the others
			return
		}
		timer.Reset(wait)
		select {
		case <-q.changed:
		case <-timer.C:
		}
	}
}

// never is longer than anything waits: only a change ends it.
const never = time.Hour

// next is the batch that is due, if any: of the lane whose first input waits longest among those that are full or have
// waited long enough. Else wait says when to look again, and over that there will be none.
func (q *queue) next(now time.Time) (b *batch, wait time.Duration, over bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	wait = never
	first := -1
	for i, lane := range q.lanes {
		if len(lane) == 0 || q.taken[i] >= q.once {
			continue
		}
		due := q.wait - now.Sub(lane[0].of.since)
		if due > 0 && !q.closed && !q.plans[i].filledBy(lane) {
			wait = min(wait, due)
			continue
		}
		if first < 0 || lane[0].of.since.Before(q.lanes[first][0].of.since) {
			first = i
		}
	}
	if first < 0 {
		return nil, wait, q.closed && q.length == 0
	}
	b = q.take(first, now)
	q.taken[first]++
	if q.length > 0 {
		q.tell() // another may have nothing to do
	}
	return b, 0, false
}

// filledBy reports whether inputs are as many as a batch holds, or have as many tokens.
func (p plan) filledBy(lane []waiting) bool {
	tokens := 0
	for _, w := range lane {
		tokens += len(w.IDs)
	}
	return len(lane) >= p.inputs || tokens >= p.inputs*meanInput
}

// take makes a batch of a lane's first inputs.
func (q *queue) take(adapter int, now time.Time) *batch {
	lane, p := q.lanes[adapter], q.plans[adapter]
	rows := make([]data.Encoded, min(len(lane), p.inputs))
	for i := range rows {
		rows[i] = lane[i].Encoded
	}
	b := &batch{adapter: adapter, laid: p.pack(rows)}
	taken := make([]bool, len(lane))
	for _, i := range b.index {
		b.inputs, taken[i] = append(b.inputs, lane[i]), true
		if t := lane[i].of; t.taken.IsZero() {
			t.taken = now
		}
	}
	left := make([]waiting, 0, len(lane)-len(b.inputs))
	for i, w := range lane {
		if !taken[i] {
			left = append(left, w)
		}
	}
	q.lanes[adapter] = left
	q.length -= len(b.inputs)
	return b
}

// answer hands each input of a batch its logits, or all of them an error, and lets the next batch of its adapter be taken.
// The inputs of a request may have been computed in several batches, at the same time.
func (q *queue) answer(b *batch, logits [][]float32, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.taken[b.adapter]--
	q.tell()
	now := time.Now()
	for i, w := range b.inputs {
		t := w.of
		if err != nil {
			t.err = err
		} else {
			t.logits[w.at] = logits[i]
		}
		t.computed = now
		if t.left--; t.left == 0 {
			close(t.done)
		}
	}
}
