package loop

import (
	"errors"

	"github.com/gomlx/compute"
	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas

	"github.com/deeplora/deeplora/internal/graphx"
	"github.com/deeplora/deeplora/internal/memory"
)

// ErrNoEstimate is wrapped by errors about an engine that does not say what a graph takes.
var ErrNoEstimate = errors.New("the engine does not say what memory a graph takes")

// Memory says what is known of memory.
type Memory struct {
	// Working is what a compiled graph takes while it runs, beside its arguments; false if it is not known.
	Working func(compute.Executable) (bytes int64, known bool)
	Given   int64 // bytes that the run may take; 0: what is free
	Device  bool  // it is a device's memory, not this process's
}

// Limit is what the run may take, in bytes: 0 if that is not known.
func (m Memory) Limit() int64 {
	if m.Given > 0 || m.Device {
		return m.Given
	}
	if free := memory.Available(); free > 0 {
		return memory.Resident() + free
	}
	return 0
}

// Of is what a compiled graph takes while it runs, in bytes. err is that of its compiling, which is handed on.
func (m Memory) Of(g *Graph, err error) (int64, error) {
	if err != nil {
		return 0, err
	}
	if m.Working != nil {
		if bytes, known := m.Working(g.Executable()); known {
			return bytes, nil
		}
	}
	return 0, ErrNoEstimate
}

// StepBytes is what a step of such batches takes while it is computed. The graph is compiled and not run.
func (l *Loop) StepBytes(b Batch) (bytes int64, err error) {
	err = graphx.Try("compile", func() {
		bytes = l.all(graphx.Must(l.memory.Of(l.program.compiled(b, l.Accumulate > 1))))
	})
	return bytes, err
}

// StateBytes is what the parameters and AdamW's moments take.
func (l *Loop) StateBytes() int64 { return l.all(l.program.stateBytes()) }

// all is what something takes of the memory that is spoken of, of which each device takes as much: a device's own is its
// alone, that of the process holds all of them.
func (l *Loop) all(bytes int64) int64 { return l.memory.All(bytes, l.program.devices.Len()) }

// All is what n devices take of the memory, where each takes so many bytes.
func (m Memory) All(bytes int64, n int) int64 {
	if m.Device {
		return bytes
	}
	return bytes * int64(n)
}
