package train

import (
	"path/filepath"
	"testing"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/train/loop"
)

func TestMetricThatDecides(t *testing.T) {
	task, err := data.LookupTask("mrpc")
	if err != nil {
		t.Fatal(err)
	}
	c := Config{Metric: "f1"}
	if by, err := c.resolveMetric(task); err != nil || by.Primary != "f1" || task.Primary != "accuracy" {
		t.Errorf("primary %s, error %v", by.Primary, err)
	}
	for name, want := range map[string]string{
		"pearson": "metric: mrpc is not measured by pearson; nearest: accuracy (known: [accuracy f1])",
	} {
		if _, err := (&Config{Metric: name}).resolveMetric(task); errText(err) != want {
			t.Errorf("%s: error %v, want %s", name, err, want)
		}
	}
	for name, want := range map[string]string{
		"mse":   "mse falls as models get better; take r2, which is 1 - mse/variance and orders them as mse does",
		"macro": `"macro" is unknown; nearest: macro_f1 (known: accuracy f1 macro_f1 matthews_correlation micro_f1 pearson r2 spearman subset_accuracy weighted_f1)`,
		"r2":    "",
	} {
		if err := checkMetric(name); errText(err) != want {
			t.Errorf("%s: error %v, want %s", name, err, want)
		}
	}

	// A run notes it, scores by it, and its evaluations go on to.
	b := testbackend.All(t)[0]
	run := small()
	run.Steps, run.Warmup, run.Metric, run.Method = 1, 0, "spearman", "head-only"
	dir := filepath.Join(t.TempDir(), "run")
	r := trainSmall(t, b, run, dir)
	saved, err := ReadFinished(t.Context(), dir, OpenOptions{Sources: embedded()})
	if err != nil || r.PrimaryMetric != "spearman" || saved.Task.Primary != "spearman" || saved.Run.Metric != "spearman" {
		t.Errorf("result by %s, error %v", r.PrimaryMetric, err)
	}
	run.Metric = ""
	if made := created(t, b, run); made.config.Metric != "pearson" || made.job.Score(loop.Metrics{"pearson": 0.5}) != 0.5 {
		t.Errorf("metric noted as %q", made.config.Metric)
	}
}
