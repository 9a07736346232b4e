package serve

import (
	"sync"
	"testing"
	"time"

	"github.com/deeplora/deeplora/data"
)

// Several devices take batches at the same time, also those that came at once, and all of them end when the queue does. A
// request whose inputs are computed in two batches has all its answers, each in its place.
func TestQueueOfSeveralDevices(t *testing.T) {
	const devices, inputs = 3, 60
	q := newQueue(1000, time.Hour, []plan{newPlan(8, 64)}, devices) // nothing is due before a batch is full
	var all sync.WaitGroup
	var together sync.WaitGroup // the first batches wait for each other
	together.Add(devices)
	for range devices {
		all.Go(func() {
			first := true
			q.run(func(b *batch) {
				if first {
					together.Done()
					together.Wait()
					first = false
				}
				logits := make([][]float32, len(b.inputs))
				for i, w := range b.inputs {
					logits[i] = []float32{float32(w.IDs[0])}
				}
				q.answer(b, logits, nil)
			})
		})
	}
	var list []data.Encoded
	for i := range inputs {
		list = append(list, data.Encoded{IDs: []int32{int32(i)}})
	}
	ticket, err := q.put(0, list) // one put for all of them: each device has to be told
	if err != nil {
		t.Fatal(err)
	}
	met := make(chan struct{})
	go func() { together.Wait(); close(met) }()
	select {
	case <-met:
	case <-time.After(10 * time.Second):
		t.Fatal("a device sleeps while a batch is full")
	}
	q.close()
	select {
	case <-ticket.done:
	case <-time.After(10 * time.Second):
		t.Fatal("no answer")
	}
	for i, l := range ticket.logits {
		if len(l) != 1 || l[0] != float32(i) {
			t.Errorf("input %d: %v", i, l)
		}
	}
	ended := make(chan struct{})
	go func() { all.Wait(); close(ended) }()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("a device waits at a queue that is over")
	}
}

// Two batches are computed at once where they are of two adapters; what waits for an adapter that is being computed goes
// on gathering.
func TestQueueOfTwoAdapters(t *testing.T) {
	q := newQueue(1000, 0, []plan{newPlan(8, 64), newPlan(8, 64)}, 1)
	put := func(adapter int) *ticket {
		t.Helper()
		ticket, err := q.put(adapter, []data.Encoded{{IDs: []int32{1}}})
		if err != nil {
			t.Fatal(err)
		}
		return ticket
	}
	next := func() *batch {
		b, _, _ := q.next(time.Now().Add(time.Second))
		return b
	}
	put(0)
	first := next()
	put(0)
	put(0)
	if b := next(); b != nil {
		t.Fatalf("a second batch of adapter %d while the first is computed", b.adapter)
	}
	put(1)
	if b := next(); b == nil || b.adapter != 1 {
		t.Fatalf("adapter 1 waits for adapter 0: %v", b)
	}
	q.answer(first, [][]float32{{0}}, nil)
	if b := next(); b == nil || b.adapter != 0 || len(b.inputs) != 2 {
		t.Fatalf("what gathered is %v, want two inputs of adapter 0", b)
	}
}
