package study

import (
	"cmp"
	"encoding/csv"
	"io"
	"slices"
	"strconv"
)

// WriteCSV writes the finished runs, one a line, under a line of names: key, arm, the settings that vary, seed,
// the primary metric's name and its value, every metric, and costs. Undefined values are empty fields. Of a study that
// tunes its arms also what the run is for, the combination that it has (empty: the arm's defaults) and its fold; its tuning
// runs come last.
func (s *Summary) WriteCSV(w io.Writer) error {
	rows, tried := s.Rows, []string{}
	if s.Tuning != nil {
		rows, tried = slices.Concat(s.Rows, s.Tuning.Rows), s.Tuning.names()
	}
	settings, metrics := columns(rows)
	header := append([]string{"key", "arm"}, settings...)
	if header = append(header, "seed"); s.Tuning != nil {
		header = append(append(append(header, "stage"), tried...), "fold")
	}
	header = append(header, "primary_metric", "score")
	header = append(header, metrics...)
	header = append(header, "train_seconds", "wall_seconds", "tokens_per_second", "peak_rss_bytes", "trainable_parameters",
		"final_loss", "selected_step", "backend", "threads")
	out := csv.NewWriter(w)
	if err := out.Write(header); err != nil {
		return err
	}
	for _, r := range rows {
		line := []string{r.Key, r.Arm}
		for _, name := range settings {
			line = append(line, r.value(name))
		}
		if line = append(line, strconv.FormatUint(r.Seed, 10)); s.Tuning != nil {
			line = append(line, cmp.Or(string(r.Stage), "default"))
			for _, name := range tried {
				line = append(line, valueOf(r.Tried, name))
			}
			line = append(line, r.Fold)
		}
		line = append(line, r.Metric, field(r.Score))
		for _, name := range metrics {
			v, there := r.Metrics[name]
			if !there {
				v = float64(none)
			}
			line = append(line, field(Number(v)))
		}
		line = append(line, field(Number(r.TrainSeconds)), field(Number(r.WallSeconds)), field(Number(r.TokensPerSecond)),
			strconv.FormatInt(r.PeakRSS, 10), strconv.Itoa(r.Parameters), field(r.FinalLoss), strconv.Itoa(r.Selected), r.Backend, strconv.Itoa(r.Threads))
		if err := out.Write(line); err != nil {
			return err
		}
	}
	out.Flush()
	return out.Error()
}

// columns are the names of the settings that vary, in the experiment's order, and of all metrics.
func columns(rows []RunRow) (settings, metrics []string) {
	seen := map[string]bool{}
	for _, r := range rows {
		for _, c := range r.Condition {
			if !slices.Contains(settings, c.Name) {
				settings = append(settings, c.Name)
			}
		}
		for name := range r.Metrics {
			seen[name] = true
		}
	}
	return settings, sortedKeys(seen)
}

// value is a setting of the run's condition.
func (n RunName) value(setting string) string { return valueOf(n.Condition, setting) }

// valueOf is a setting's value in a list; empty where it is not in it.
func valueOf(list []Setting, name string) string {
	for _, s := range list {
		if s.Name == name {
			return s.Value
		}
	}
	return ""
}

func field(n Number) string {
	if !n.There() {
		return ""
	}
	return strconv.FormatFloat(float64(n), 'g', -1, 64)
}
