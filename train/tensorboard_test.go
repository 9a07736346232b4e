package train

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/internal/tfevents"
	"github.com/deeplora/deeplora/train/loop"
)

// sameOnBoard fails where a run's event files have other numbers than its metrics.jsonl, or in another order, and returns
// how many files there are.
func sameOnBoard(t *testing.T, run string) int {
	t.Helper()
	files, err := tfevents.Files(filepath.Join(run, "tensorboard"))
	if err != nil {
		t.Fatal(err)
	}
	var onBoard []tfevents.Event
	for _, file := range files {
		if err := tfevents.Read(file, func(e tfevents.Event) bool { onBoard = append(onBoard, e); return true }); err != nil {
			t.Fatal(err)
		}
	}
	lines := slices.Collect(strings.Lines(string(fileBytes(t, filepath.Join(run, loop.LogFile)))))
	if len(onBoard) != len(lines) {
		t.Fatalf("%d events, %d lines", len(onBoard), len(lines))
	}
	for i, line := range lines {
		var fields map[string]any
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatal(err)
		}
		e := onBoard[i]
		if float64(e.Step) != fields["step"] || len(e.Scalars) != len(fields)-1 {
			t.Errorf("line %d: %v is written as %v", i+1, fields, e)
		}
		for _, s := range e.Scalars {
			if v, ok := fields[s.Tag].(float64); !ok || float32(v) != s.Value {
				t.Errorf("line %d: %s is %v, on the board %v", i+1, s.Tag, fields[s.Tag], s.Value)
			}
		}
	}
	return len(files)
}

// The event files have the numbers of metrics.jsonl, once each, when a run is stopped, goes on, is killed past its
// checkpoint, loses its event files, or is only then told to write them.
func TestTensorBoardHasTheLogsNumbers(t *testing.T) {
	b := testbackend.All(t)[0]
	resume := func(o *Options) { o.Resume = true }
	c := small()
	c.EvalEvery, c.SaveEvery, c.TensorBoard = 2, 3, true
	whole := filepath.Join(t.TempDir(), "whole")
	trainSmall(t, b, c, whole)
	if files := sameOnBoard(t, whole); files != 1 {
		t.Errorf("%d files", files)
	}

	parts := filepath.Join(t.TempDir(), "parts")
	interruptAt(t, b, c, parts, 5)
	sameOnBoard(t, parts)
	if err := os.RemoveAll(filepath.Join(parts, "checkpoints", "step-5")); err != nil { // as if killed at step 5: it goes on from 3
		t.Fatal(err)
	}
	trainSmall(t, b, c, parts, resume)
	if files := sameOnBoard(t, parts); files != 2 {
		t.Errorf("a run that went on has %d files", files)
	}
	sameAdapter(t, whole, parts)

	later := filepath.Join(t.TempDir(), "later")
	without := c
	without.TensorBoard = false
	interruptAt(t, b, without, later, 4)
	if _, err := os.Stat(filepath.Join(later, "tensorboard")); !os.IsNotExist(err) {
		t.Errorf("event files that nobody asked for: %v", err)
	}
	trainSmall(t, b, c, later, resume)
	if files := sameOnBoard(t, later); files != 1 {
		t.Errorf("a run that writes them from step 5 on has %d files", files)
	}
}

// What cannot be written ends the run, and what is in the way is named: no checkpoint is set aside for it.
func TestTensorBoardThatCannotBeWritten(t *testing.T) {
	b := testbackend.All(t)[0]
	c := small()
	c.TensorBoard = true
	run := filepath.Join(t.TempDir(), "run")
	interruptAt(t, b, c, run, 2)
	files, err := tfevents.Files(filepath.Join(run, "tensorboard"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/dev/full", files[0]); err != nil {
		t.Fatal(err)
	}
	_, err = Train(t.Context(), c, Options{Backend: b, Out: run, Resume: true})
	if err == nil || !strings.Contains(err.Error(), "tensorboard: "+files[0]) {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(filepath.Join(run, "checkpoints", "step-2")); err != nil {
		t.Error(err)
	}
	if err := os.Remove(files[0]); err != nil {
		t.Fatal(err)
	}
	trainSmall(t, b, c, run, func(o *Options) { o.Resume = true })
	sameOnBoard(t, run)
}
