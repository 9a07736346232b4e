package main

import (
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// smallDisk mounts a file system of that many bytes, as the kernel writes sizes ("1m"), or skips. resize changes
// its size.
func smallDisk(t *testing.T, size string) (dir string, resize func(size string)) {
	t.Helper()
	dir = t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Skipf("cannot mount a small tmpfs here (%v): run as root to test a full disk", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
	return dir, func(size string) {
		if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_REMOUNT, "size="+size); err != nil {
			t.Fatal(err)
		}
	}
}

// A disk that is full when a checkpoint is written: the message says so and what to do, the checkpoints before
// are good, nothing half written is left, and the run goes on once there is space.
func TestDiskFullWhileSaving(t *testing.T) {
	t.Parallel()
	settings := []string{"--steps", "9", "--save-every", "1", "--keep", "20", "--scope", "attention-mlp"} // 0.7 MB a checkpoint
	whole := filepath.Join(t.TempDir(), "whole")
	succeeds(t, smallRun(t, backendGo, whole, settings...)...)

	disk, resize := smallDisk(t, "2500k")
	out := filepath.Join(disk, "run")
	message := []string{
		"save checkpoint: write " + filepath.Join(out, "checkpoints", "step-"), "the disk is full", "bytes free",
		"once there is space, go on with: deeplora train --resume --out " + out + " --backend go",
	}
	failsWith(t, exitFailed, message, append(smallRun(t, backendGo, out, settings...), "--quiet")...)
	noLeftovers(t, out)
	saved, err := os.ReadDir(filepath.Join(out, "checkpoints"))
	if err != nil || len(saved) < 2 || len(saved) > 8 {
		t.Fatalf("%d checkpoints on the disk (%v), want some of the 9", len(saved), err)
	}
	if exists(filepath.Join(out, "result.json")) || exists(filepath.Join(out, "adapter")) {
		t.Error("a run that failed has a result")
	}

	// Still no space: the same again, and nothing lost.
	failsWith(t, exitFailed, message, "train", "--resume", "--backend", "go", "--quiet", "--out", out)
	noLeftovers(t, out)
	if again, err := os.ReadDir(filepath.Join(out, "checkpoints")); err != nil || len(again) != len(saved) {
		t.Errorf("%d checkpoints after another try (%v), there were %d", len(again), err, len(saved))
	}

	resize("20m")
	succeeds(t, "train", "--resume", "--out", out)
	sameRun(t, out, whole)
}

// A disk that is full from the start leaves no half of a run: once there is space the same command runs.
func TestDiskFullAtTheStart(t *testing.T) {
	t.Parallel()
	disk, resize := smallDisk(t, "8k") // room for the lock and the manifest, not for config.json
	out := filepath.Join(disk, "run")
	args := smallRun(t, backendGo, out, "--steps", "2")
	failsWith(t, exitFailed, []string{"write " + out, "the disk is full"}, append(args, "--quiet")...)
	entries, err := os.ReadDir(out)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if e.Name() != ".lock" {
			t.Errorf("%s is left", e.Name())
		}
	}
	resize("20m")
	succeeds(t, args...)
}

// A disk that is full when predictions are written leaves no half of a file.
func TestDiskFullWhilePredicting(t *testing.T) {
	t.Parallel()
	run := filepath.Join(t.TempDir(), "run")
	succeeds(t, smallRun(t, backendGo, run, "--steps", "1")...)
	input := filepath.Join(t.TempDir(), "in.jsonl")
	row := `{"text": "A fox.", "pair": "An animal."}` + "\n"
	text := ""
	for range 200 { // 13 kB of predictions
		text += row
	}
	if err := os.WriteFile(input, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	disk, resize := smallDisk(t, "4k")
	out := filepath.Join(disk, "out.jsonl")
	failsWith(t, exitFailed, []string{"write " + out, "the disk is full"}, "predict", "--backend", "go", "--run", run, "--input", input, "--output", out)
	if entries, err := os.ReadDir(disk); err != nil || len(entries) != 0 {
		t.Errorf("left on the disk: %v (%v)", entries, err)
	}
	resize("1m")
	succeeds(t, "predict", "--backend", "go", "--run", run, "--input", input, "--output", out)
}
