package train

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/testbackend"
)

// previousRun is a copy of a run that the version before this format wrote.
func previousRun(t *testing.T, name string) string {
	t.Helper()
	base, err := filepath.Abs("testdata/previous/encoder")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), name)
	copyTree(t, filepath.Join("testdata/previous/runs", name), dir)
	edit(t, filepath.Join(dir, configJSON), func(text string) string { return strings.Replace(text, "MODEL", base, 1) })
	return dir
}

// previousPairs are what testdata/previous/logits.json holds the scores of.
func previousPairs(t *testing.T) (pairs []data.Example) {
	t.Helper()
	for line := range strings.Lines(string(fileBytes(t, "testdata/previous/pairs.jsonl"))) {
		var x struct{ Text, Pair string }
		if err := json.Unmarshal([]byte(line), &x); err != nil {
			t.Fatal(err)
		}
		pairs = append(pairs, data.Example{Text: x.Text, Pair: x.Pair, HasPair: true})
	}
	return pairs
}

// Finished runs of the version before open, of each method that it had, and predict what they predicted.
func TestRunsOfThePreviousVersion(t *testing.T) {
	b := testbackend.All(t)[0]
	var logits map[string][]float64
	if err := json.Unmarshal(fileBytes(t, "testdata/previous/logits.json"), &logits); err != nil {
		t.Fatal(err)
	}
	runs, err := os.ReadDir("testdata/previous/runs")
	if err != nil || len(runs) < len(logits) {
		t.Fatalf("%d runs, %d have logits: %v", len(runs), len(logits), err)
	}
	for _, run := range runs {
		name := run.Name()
		if name == "unfinished" {
			continue
		}
		p, err := Open(t.Context(), previousRun(t, name), b, OpenOptions{})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		predicted, err := p.Predict(t.Context(), previousPairs(t))
		p.Close()
		if err != nil || len(logits[name]) != len(predicted) {
			t.Errorf("%s: %d predictions, error %v", name, len(predicted), err)
			continue
		}
		for i, want := range logits[name] {
			if got := float64(predicted[i].Logits[0]); math.Abs(got-want) > 1e-5*math.Max(1, math.Abs(want)) {
				t.Errorf("%s: pair %d scores %.8g, want %.8g", name, i, got, want)
			}
		}
	}
}

// A damaged adapter of the version before is found, by the sums that it has.
func TestDamagedRunOfThePreviousVersion(t *testing.T) {
	dir := previousRun(t, "vanilla")
	edit(t, filepath.Join(dir, adapterDir, adapterTensors), flip)
	if err := os.Remove(filepath.Join(dir, adapterDir, "SHA256SUMS")); err != nil { // the oldest have none
		t.Fatal(err)
	}
	if _, err := ReadFinished(t.Context(), dir, OpenOptions{}); err == nil || !strings.Contains(err.Error(), "the one noted when it was written is") {
		t.Errorf("error %v", err)
	}
}

// One that it did not finish is refused, with what to do.
func TestUnfinishedRunOfThePreviousVersion(t *testing.T) {
	b := testbackend.All(t)[0]
	dir := previousRun(t, "unfinished")
	_, err := Train(t.Context(), Config{}, Options{Backend: b, Out: dir, Resume: true, Sources: embedded()})
	want := dir + " was begun by an earlier version of deeplora (format 1, now 2), whose checkpoints this one cannot go on with; " +
		"finish it with that version, or begin again with another --out"
	if errText(err) != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}
