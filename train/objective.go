package train

import (
	"fmt"
	"maps"
	"slices"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/nearest"
	"github.com/deeplora/deeplora/internal/settings"
)

// resolve settles what the settings say of the task: its classes' weights, the threshold of its outputs and the metric that
// decides, once the training examples are known.
func (in *inputs) resolve(c *Config) (err error) {
	if c.Threshold != multilabelThreshold && !in.task.Multi {
		return fmt.Errorf("threshold: %s is no multilabel task: it has no output to hold against %g", in.task.Name, c.Threshold)
	}
	if in.classWeights, err = c.resolveClassWeights(in.task, in.train.labels); err != nil {
		return err
	}
	if in.classWeights != nil {
		in.task = in.task.Weighted()
	}
	in.task, err = c.resolveMetric(in.task)
	return err
}

// falling are the metrics that are the smaller the better. Nothing goes by them: of best, of early stopping and of a
// study more is better.
var falling = []string{"mse", "mae"}

func checkMetric(value any) error {
	name := value.(string)
	if slices.Contains(falling, name) {
		return fmt.Errorf("%s falls as models get better; take r2, which is 1 - mse/variance and orders them as mse does", name)
	}
	known := slices.DeleteFunc(slices.Sorted(maps.Keys(metrics)), func(m string) bool { return slices.Contains(falling, m) })
	return settings.OneOf(known...)(name)
}

// resolveMetric makes the metric of the settings the one that decides, or notes the task's.
func (c *Config) resolveMetric(task data.Task) (data.Task, error) {
	if c.Metric == "" {
		c.Metric = task.Primary
	}
	if !slices.Contains(task.Metrics, c.Metric) {
		return task, fmt.Errorf("metric: %s is not measured by %s; nearest: %s (known: %v)", task.Name, c.Metric, nearest.Of(c.Metric, task.Metrics), task.Metrics)
	}
	task.Primary = c.Metric
	return task, nil
}
