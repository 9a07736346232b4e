package runreport

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/builtin"
	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/train"
)

func TestAdaptersOfUnknownTasksAreRefused(t *testing.T) {
	_, err := Collect(t.Context(), &train.Finished{Dir: "run"}, Options{})
	if err == nil || !strings.Contains(err.Error(), "what its adapter was trained on is not known; import it again with --task") {
		t.Errorf("error %v", err)
	}
}

// Examples in memory are not there any more: the error says so, and files are as good.
func TestRunsOfExamplesInMemory(t *testing.T) {
	b := testbackend.All(t)[0]
	sources := train.Sources{Models: map[string]fs.FS{train.BuiltinModel: builtin.Model()}}
	file := filepath.Join(t.TempDir(), "new.csv")
	if err := os.WriteFile(file, []byte("text,label\na fine film,good\ndull,bad\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, multi := range []bool{false, true} {
		examples := []data.Example{{Text: "a lovely film", Label: 1}, {Text: "awful"}}
		if multi {
			examples = []data.Example{{Text: "a lovely film", Classes: []int{1}}, {Text: "awful"}}
		}
		task := data.Task{Name: "reviews", Labels: []string{"bad", "good"}, Multi: multi}
		split := func(name string) *data.Split {
			s, err := data.NewSplit(task, name, examples)
			if err != nil {
				t.Fatal(err)
			}
			return s
		}
		c := train.Default()
		c.Method, c.Steps, c.Batch, c.MaxLength = "bitfit", 1, 2, 16
		run := filepath.Join(t.TempDir(), "run")
		_, err := train.Train(t.Context(), c, train.Options{
			Backend: b, Out: run, Sources: sources, Train: split(data.Train), Validation: split(data.Validation), Provenance: train.Provenance{Backend: "go", Threads: 1},
		})
		if err != nil {
			t.Fatal(err)
		}
		f, err := train.ReadFinished(t.Context(), run, train.OpenOptions{Sources: sources})
		if err != nil {
			t.Fatal(err)
		}
		o := Options{Backend: b, Sources: sources, Split: data.Validation, Progress: func(string) func(done, total int) { return func(int, int) {} }}
		_, err = Collect(t.Context(), f, o)
		if !errors.Is(err, ErrNoExamples) || !strings.Contains(err.Error(), "in memory; give the data") {
			t.Errorf("error %v", err)
		}
		o.Data = file
		facts, err := Collect(t.Context(), f, o)
		if err != nil {
			t.Fatal(err)
		}
		contains(t, write(t, facts), "Measured on 2 validation examples of new.csv", "The examples that were trained on are not shown: the run was trained on examples in memory", "Method bitfit trains")
	}
}
