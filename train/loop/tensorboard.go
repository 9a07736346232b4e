package loop

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"

	"github.com/deeplora/deeplora/internal/tfevents"
)

// boardDir is the folder of TensorBoard's event files in a run's.
const boardDir = "tensorboard"

// openBoard has the log's numbers written for TensorBoard too, where that is wished for. Event files follow from the log's
// lines, those included that are there already: whatever happened to a process or its files, they have the numbers of the
// lines and no others.
func (l *Loop) openBoard() error {
	if !l.TensorBoard {
		return nil
	}
	file := l.metrics.file
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("metrics log: %w", err)
	}
	lines := bufio.NewReader(file) // read to its end, where the log is gone on with
	var err error
	if l.metrics.board, err = tfevents.Open(filepath.Join(l.Out, boardDir), func() (*tfevents.Event, error) { return nextEvent(lines) }); err != nil {
		return fmt.Errorf("tensorboard: %w", err)
	}
	return nil
}

// nextEvent is the event of the next line that has numbers, nil after the last.
func nextEvent(lines *bufio.Reader) (*tfevents.Event, error) {
	for {
		line, err := lines.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("metrics log: %w", err)
		}
		e, err := boardEvent(line)
		if err != nil {
			return nil, err
		}
		if len(e.Scalars) > 0 {
			return &e, nil
		}
	}
}

// boardEvent is a line of the log as an event: each number under the name that it has there.
func boardEvent(line []byte) (e tfevents.Event, err error) {
	var fields map[string]any
	if err := json.Unmarshal(line, &fields); err != nil {
		return e, fmt.Errorf("metrics log: line %.80q: %w", line, err)
	}
	step, ok := fields["step"].(float64)
	if !ok {
		return e, fmt.Errorf("metrics log: line %.80q has no step", line)
	}
	e.Step = int64(step)
	delete(fields, "step")
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		if v, ok := fields[name].(float64); ok {
			e.Scalars = append(e.Scalars, tfevents.Scalar{Tag: name, Value: float32(v)})
		}
	}
	return e, nil
}
