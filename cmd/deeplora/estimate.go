package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/deeplora/deeplora/engine"
	"github.com/deeplora/deeplora/internal/memory"
	"github.com/deeplora/deeplora/train"
	"github.com/deeplora/deeplora/train/loop"
)

// memoryFor is what is known of the memory that a run on a backend may take: so many GB, or what is free for 0.
func memoryFor(backend string, limit float64) loop.Memory {
	return loop.Memory{Working: engine.WorkingMemory, Given: int64(limit * 1e9), Device: backend == engine.XLACUDA}
}

// estimate prints what memory a run would take.
func (s *shared) estimate(cmd *cobra.Command, parsed train.Config, o trainFlags) error {
	c, err := trainSettings(cmd, parsed, o)
	if err != nil {
		return err
	}
	backend, provenance, err := s.open()
	if err != nil {
		return err
	}
	defer s.ui.clear()
	e, err := train.EstimateMemory(cmd.Context(), c, train.Options{
		Backend: backend, Devices: provenance.Devices, Sources: s.sources(), Provenance: provenance, OnEvent: s.ui.event, Memory: memoryFor(provenance.Backend, o.memory),
	})
	if errors.Is(err, loop.ErrNoEstimate) {
		return fmt.Errorf("%w: --backend %s is an engine that does", err, engine.XLACPU)
	}
	if err != nil {
		return err
	}
	if o.json {
		err = s.ui.json(e)
	} else {
		err = s.ui.table(estimateRows(*e))
	}
	if err == nil && !e.Fits() {
		s.ui.line("note: that is more than there is; what helps: --auto-batch, or a smaller --batch with more --accumulate; --gradient-checkpointing")
	}
	return err
}

// estimateRows is an estimate as a table: what is held all the time, what at one time or another, and the most.
func estimateRows(e train.Estimate) [][]string {
	rows := [][]string{
		{"largest batch", fmt.Sprintf("%d rows of %d tokens", e.Rows, e.Length)},
		{"model", memory.Text(e.Weights)},
		{"trained", fmt.Sprintf("%s, %d parameters with their moments", memory.Text(e.State), e.Parameters)},
	}
	if e.Base > 0 {
		rows = append(rows, []string{"program", memory.Text(e.Base) + ", with the engine and its compiled graphs"})
	}
	if e.Initialise > 0 {
		rows = append(rows, []string{"beginning", memory.Text(e.Initialise) + " while the first gradients are computed"})
	}
	rows = append(rows, []string{"a step", memory.Text(e.Step)}, []string{"evaluation", memory.Text(e.Evaluate)}, []string{"peak", memory.Text(e.Peak)})
	if e.Limit > 0 {
		rows = append(rows, []string{"there is", memory.Text(e.Limit)})
	}
	return rows
}
