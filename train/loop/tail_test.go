package loop

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// A log that grows, stops in the middle of a line, is cut, cut and grown between two looks, and goes, is read as ReadLog
// reads it as a whole.
func TestTailFollowsALog(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, LogFile)
	line := func(step int, loss float64) string {
		return fmt.Sprintf("{\"loss\":%g,\"lr\":0.1,\"step\":%d,\"tokens_per_s\":7}\n", loss, step)
	}
	first := line(1, 3) + line(2, 2) + "{\"eval/f1\":null,\"step\":2}\n"
	tail := &Tail{Dir: dir}
	for _, c := range []struct {
		what, text string
		changed    bool
		last       int
	}{
		{"no log", "", false, 0},
		{"three lines", first, true, 2},
		{"the same", first, false, 2},
		{"half a line", first + `{"loss":`, false, 2},
		{"its other half", first + line(3, 1), true, 3},
		{"a skipped step", first + line(3, 1) + "{\"gradient_norm\":null,\"loss\":null,\"lr\":0.1,\"skipped\":\"x\",\"step\":4}\n", true, 4},
		{"cut", line(1, 3), true, 1},
		{"as long, and others", line(1, 5), true, 1},
		{"cut and longer than before", line(1, 4) + line(2, 4) + line(3, 4), true, 3},
		{"gone", "", true, 0},
	} {
		if c.text == "" {
			os.Remove(path)
		} else if err := os.WriteFile(path, []byte(c.text), 0o644); err != nil {
			t.Fatal(err)
		}
		changed, err := tail.Read()
		if err != nil || changed != c.changed || tail.Last != c.last {
			t.Errorf("%s: changed %v, last step %d, error %v", c.what, changed, tail.Last, err)
		}
		if whole := c.text[:strings.LastIndexByte(c.text, '\n')+1]; whole != "" {
			if err := os.WriteFile(path, []byte(whole), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		steps, evaluations, err := ReadLog(dir)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(steps, tail.Steps) || len(evaluations) != len(tail.Evaluations) {
			t.Errorf("%s: steps %v, want %v; evaluations %v", c.what, tail.Steps, steps, tail.Evaluations)
		}
		if len(tail.Evaluations) > 0 && !math.IsNaN(tail.Evaluations[0].Metrics["f1"]) {
			t.Errorf("%s: evaluation %v", c.what, tail.Evaluations[0])
		}
	}
}

// Damage is named by its place, and what was read before is not kept beside it.
func TestTailNamesDamage(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, LogFile), []byte("{\"loss\":1,\"step\":1}\n{\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	tail := &Tail{Dir: dir}
	if changed, err := tail.Read(); !changed || err == nil || !strings.Contains(err.Error(), LogFile+": line at byte 20: ") || len(tail.Steps) > 0 {
		t.Errorf("changed %v, error %v, steps %v", changed, err, tail.Steps)
	}
}
