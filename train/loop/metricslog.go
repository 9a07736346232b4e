package loop

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"

	"github.com/deeplora/deeplora/internal/rundir"
	"github.com/deeplora/deeplora/internal/tfevents"
)

// LogFile is a run's log: a line a step, and a line an evaluation.
const LogFile = "metrics.jsonl"

const evaluationPrefix = "eval/" // of the metrics of an evaluation

// ReadLog reads a run's log: its steps, but for those that were skipped, and its evaluations, in order. What the events
// have and the log has not, Steps and Best, is zero. Without a log the error is fs.ErrNotExist.
func ReadLog(dir string) (steps []Step, evaluations []Evaluated, err error) {
	path := filepath.Join(dir, LogFile)
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		var line logLine
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return nil, nil, fmt.Errorf("%s:%d: %w", path, n, err)
		}
		line.addTo(&steps, &evaluations)
	}
	if err := lines.Err(); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", path, err)
	}
	return steps, evaluations, nil
}

// logLine is a line of the log, of a step or of an evaluation.
type logLine struct {
	Step   int      `json:"step"`
	Loss   *float64 `json:"loss"`
	LR     float64  `json:"lr"`
	Tokens float64  `json:"tokens_per_s"`
	fields map[string]any
}

// UnmarshalJSON keeps all fields too: the names of an evaluation's are those of its metrics.
func (l *logLine) UnmarshalJSON(text []byte) error {
	type plain logLine
	if err := json.Unmarshal(text, (*plain)(l)); err != nil {
		return err
	}
	return json.Unmarshal(text, &l.fields)
}

// addTo puts what the line says behind what lines before it said.
func (l *logLine) addTo(steps *[]Step, evaluations *[]Evaluated) {
	switch metrics := l.metrics(); {
	case l.Loss != nil:
		*steps = append(*steps, Step{Step: l.Step, Loss: *l.Loss, LR: l.LR, TokensPerSecond: l.Tokens})
	case len(metrics) > 0:
		*evaluations = append(*evaluations, Evaluated{Step: l.Step, Metrics: metrics})
	}
}

// metrics are those of an evaluation's line: NaN where undefined.
func (l *logLine) metrics() Metrics {
	m := Metrics{}
	for name, v := range l.fields {
		if metric, ok := strings.CutPrefix(name, evaluationPrefix); ok {
			m[metric] = math.NaN()
			if number, ok := v.(float64); ok {
				m[metric] = number
			}
		}
	}
	return m
}

// metricsLog appends to a run's metrics.jsonl: a line a step, and a line an evaluation.
type metricsLog struct {
	file  *os.File
	sum   hash.Hash     // sha256 of what was written
	board *tfevents.Log // the same numbers for TensorBoard; nil: nobody asked for them
}

// openMetrics opens the log after cutting it to the length it had at a checkpoint: what came later will
// come again. What is left must have the sum that it had then, unless that is not known.
func openMetrics(path string, length int64, sum string) (*metricsLog, error) {
	if err := rundir.OwnFile(path); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("metrics log: %w", err)
	}
	if info, err := f.Stat(); err == nil && info.Size() < length {
		f.Close()
		return nil, fmt.Errorf("%s: %w: it is %d bytes, the checkpoint was saved at %d", path, ErrCorrupt, info.Size(), length)
	}
	l := &metricsLog{file: f, sum: sha256.New()}
	if err := l.takeUp(path, length, sum); err != nil {
		f.Close()
		return nil, err
	}
	return l, nil
}

// takeUp verifies the log's beginning and cuts the rest off.
func (l *metricsLog) takeUp(path string, length int64, sum string) error {
	if _, err := io.CopyN(l.sum, l.file, length); err != nil {
		return fmt.Errorf("metrics log: %w", err)
	}
	if is := l.total(); sum != "" && is != sum {
		return fmt.Errorf("%s: %w: the sha256 of its first %d bytes is %s, the checkpoint has %s", path, ErrCorrupt, length, is, sum)
	}
	if err := l.file.Truncate(length); err != nil {
		return fmt.Errorf("metrics log: %w", err)
	}
	return nil
}

func (l *metricsLog) total() string { return hex.EncodeToString(l.sum.Sum(nil)) }

func (l *metricsLog) step(step int, loss, lr, norm float64, tokens int, seconds float64) error {
	return l.line(map[string]any{
		"step": step, "loss": loss, "lr": lr, "gradient_norm": norm,
		"tokens_per_s": math.Round(float64(tokens) / seconds), "step_seconds": seconds,
	})
}

func (l *metricsLog) evaluation(step int, m Metrics) error {
	line := map[string]any{"step": step}
	for name, v := range m {
		line[evaluationPrefix+name] = nil
		if !math.IsNaN(v) {
			line[evaluationPrefix+name] = v
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
	text = append(text, '\n')
	if _, err := l.file.Write(text); err != nil {
		return fmt.Errorf("metrics log: %w", err)
	}
	l.sum.Write(text)
	if l.board == nil {
		return nil
	}
	e, err := boardEvent(text)
	if err != nil || len(e.Scalars) == 0 {
		return err
	}
	return l.board.Add(e)
}

// sync makes the lines durable and returns the log's length and sum.
func (l *metricsLog) sync() (int64, string, error) {
	if err := l.file.Sync(); err != nil {
		return 0, "", fmt.Errorf("metrics log: %w", err)
	}
	if l.board != nil {
		if err := l.board.Sync(); err != nil {
			return 0, "", err
		}
	}
	info, err := l.file.Stat()
	if err != nil {
		return 0, "", fmt.Errorf("metrics log: %w", err)
	}
	return info.Size(), l.total(), nil
}

func (l *metricsLog) close() {
	l.file.Close()
	if l.board != nil {
		l.board.Close()
	}
}
