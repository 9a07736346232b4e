package pretrain

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/internal/tfevents"
	"github.com/deeplora/deeplora/train/loop"
)

// A pretraining writes TensorBoard's event files as a training does, of its own evaluations.
func TestTensorBoard(t *testing.T) {
	c := small()
	c.TensorBoard = true
	run := filepath.Join(t.TempDir(), "run")
	pretrain(t, testbackend.All(t)[0], c, run)
	files, err := tfevents.Files(filepath.Join(run, "tensorboard"))
	if err != nil || len(files) != 1 {
		t.Fatalf("files %v, error %v", files, err)
	}
	events, evaluations := 0, 0
	if err := tfevents.Read(files[0], func(e tfevents.Event) bool {
		if events++; strings.HasPrefix(e.Scalars[0].Tag, "eval/") {
			evaluations++
		}
		return true
	}); err != nil {
		t.Fatal(err)
	}
	if lines := strings.Count(string(fileBytes(t, filepath.Join(run, loop.LogFile))), "\n"); events != lines || evaluations == 0 {
		t.Errorf("%d events, %d of evaluations; the log has %d lines", events, evaluations, lines)
	}
}
