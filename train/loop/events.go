package loop

import "fmt"

// Event is something that happened during a run, for whoever displays it. Its concrete types are the
// ones below.
type Event interface{ event() }

// Notice is a line the user should see once: a fresh head, dropped examples, a lowered minimum.
type Notice struct{ Text string }

// Phase is progress of a part that is not training: loading, compressing, evaluating. Total is 0 where
// it is not known; Done = Total ends the phase.
type Phase struct {
	Name        string
	Done, Total int
}

// Ready is sent once, before the first step.
type Ready struct {
	Kernels, Parameters int // adapted kernels, trainable parameters
	Examples, Steps     int
	From                int // the step training starts after: 0, or that of the checkpoint
}

// Step is a finished optimizer step.
type Step struct {
	Step, Steps     int
	Loss, LR        float64
	TokensPerSecond float64 // real tokens, padding not counted
}

// Evaluated is a finished evaluation.
type Evaluated struct {
	Step    int
	Metrics Metrics
	Best    bool // better than every evaluation before it
}

// Checkpointed is a checkpoint that lies complete on the disk.
type Checkpointed struct {
	Step int
	Path string
}

func (Notice) event()       {}
func (Phase) event()        {}
func (Ready) event()        {}
func (Step) event()         {}
func (Evaluated) event()    {}
func (Checkpointed) event() {}

// Reporter tells whoever watches what happens.
type Reporter struct{ On func(Event) }

func (r Reporter) emit(e Event) {
	if r.On != nil {
		r.On(e)
	}
}

// Announce tells the user that training begins.
func (r Reporter) Announce(ready Ready) { r.emit(ready) }

// Notice reports a line for the user.
func (r Reporter) Notice(format string, args ...any) { r.emit(Notice{fmt.Sprintf(format, args...)}) }

// Phase reports progress of a named part.
func (r Reporter) Phase(name string) func(done, total int) {
	return func(done, total int) { r.emit(Phase{name, done, total}) }
}
