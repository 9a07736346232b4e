package train

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
)

// metricsLog appends to a run's metrics.jsonl: a line a step, and a line an evaluation.
type metricsLog struct{ file *os.File }

// openMetrics opens the log after cutting it to the length it had at a checkpoint: what came later will
// come again.
func openMetrics(path string, length int64) (*metricsLog, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("metrics log: %w", err)
	}
	if info, err := f.Stat(); err == nil && info.Size() < length {
		f.Close()
		return nil, fmt.Errorf("%s: %w: it is %d bytes, the checkpoint was saved at %d", path, ErrCorrupt, info.Size(), length)
	}
	if err := f.Truncate(length); err != nil {
		f.Close()
		return nil, fmt.Errorf("metrics log: %w", err)
	}
	if _, err := f.Seek(length, 0); err != nil {
		f.Close()
		return nil, fmt.Errorf("metrics log: %w", err)
	}
	return &metricsLog{f}, nil
}

func (l *metricsLog) step(step int, loss, lr, norm float64, tokens int, seconds float64) error {
	return l.line(map[string]any{
		"step": step, "loss": loss, "lr": lr, "gradient_norm": norm,
		"tokens_per_s": math.Round(float64(tokens) / seconds), "step_seconds": seconds,
	})
}

func (l *metricsLog) evaluation(step int, m Metrics) error {
	line := map[string]any{"step": step}
	for name, v := range m {
		line["eval/"+name] = nil
		if !math.IsNaN(v) {
			line["eval/"+name] = v
		}
	}
	return l.line(line)
}

// line writes one line in one call, so that a reader never sees half of one in the middle of the file.
func (l *metricsLog) line(v map[string]any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return fmt.Errorf("metrics log: %w", err)
	}
	if _, err := l.file.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("metrics log: %w", err)
	}
	return nil
}

// sync makes the lines durable and returns the log's length.
func (l *metricsLog) sync() (int64, error) {
	if err := l.file.Sync(); err != nil {
		return 0, fmt.Errorf("metrics log: %w", err)
	}
	info, err := l.file.Stat()
	if err != nil {
		return 0, fmt.Errorf("metrics log: %w", err)
	}
	return info.Size(), nil
}

func (l *metricsLog) close() error { return l.file.Close() }
