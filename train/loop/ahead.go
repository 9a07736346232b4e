package loop

import (
	"errors"
	"sync/atomic"

	"github.com/deeplora/deeplora/internal/graphx"
	"github.com/deeplora/deeplora/internal/memory"
)

// upcoming is a job that knows the shapes of the batches that follow batch i: one batch of each, first met first.
type upcoming interface{ Upcoming(i int) ([]Batch, error) }

// first is the compiling of what the first step needs. What follows done is set when that is closed.
type first struct {
	done    chan struct{}
	working int64 // memory that the gradients take
	known   bool
	err     error
}

// compileFirst begins to compile the gradients of a batch, and the update beside them.
func (l *Loop) compileFirst(b Batch) *first {
	f, p := &first{done: make(chan struct{})}, l.program
	update := make(chan error, 1)
	go func() { update <- graphx.Try("compile update", func() { graphx.Must(0, p.compileUpdate()) }) }()
	go func() {
		defer close(f.done)
		err := graphx.Try("compile", func() {
			g := graphx.Must(p.compiled(b, l.Accumulate > 1))
			if l.memory.Working != nil {
				f.working, f.known = l.memory.Working(g.Executable())
			}
		})
		f.err = errors.Join(err, <-update)
	}()
	return f
}

// wait returns once it is over. f may be nil.
func (f *first) wait() {
	if f != nil {
		<-f.done
	}
}

// compile waits until what the first step needs is compiled, and warns of a step that does not fit into memory before it
// is computed. Graphs of other shapes follow while the first steps run.
func (l *Loop) compile(b Batch) error {
	if l.first == nil {
		l.first = l.compileFirst(b)
	}
	if l.first.wait(); l.first.err != nil {
		return l.first.err
	}
	l.warnOf(l.all(l.first.working), l.first.known)
	var batches []Batch
	if job, ok := l.job.(upcoming); ok {
		var err error
		if batches, err = job.Upcoming(l.progress.Step*l.Accumulate + 1); err != nil {
			return err
		}
	}
	l.ahead = compileAhead(l.program, batches, l.Accumulate > 1)
	return nil
}

// ahead is the compiling of graphs beside the training. A step that needs one of them waits for it.
type ahead struct {
	stopped atomic.Bool
	done    chan struct{}
}

func compileAhead(p *program, batches []Batch, accumulated bool) *ahead {
	a := &ahead{done: make(chan struct{})}
	go func() {
		defer close(a.done)
		for _, b := range batches {
			if a.stopped.Load() {
				return
			}
			// What fails here fails again, and is reported, in the step that needs it.
			_ = graphx.Try("compile", func() { graphx.Must(p.compiled(b, accumulated)) })
		}
	}()
	return a
}

// stop returns once the graph in hand is compiled. a may be nil.
func (a *ahead) stop() {
	if a != nil {
		a.stopped.Store(true)
		<-a.done
	}
}

// warnOf warns of a step that takes more memory than there is, beside what is held already.
func (l *Loop) warnOf(step int64, known bool) {
	held, limit := memory.Resident(), l.memory.Limit()
	if l.memory.Device {
		held = l.program.frozenBytes() + l.StateBytes()
	}
	if known && limit > 0 && held+step > limit {
		l.Notice("a step takes %s of memory, there are %s; what helps: a smaller --batch with more --accumulate, --gradient-checkpointing", memory.Text(held+step), memory.Text(limit))
	}
}
