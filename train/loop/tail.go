package loop

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// Tail reads the log of a run that may be in progress, in this process or another: each Read takes what has come since.
type Tail struct {
	Dir string // of the run

	Steps       []Step // but for those that were skipped
	Evaluations []Evaluated
	Last        int // step of the last line, skipped ones too

	read int64  // bytes that were taken
	line []byte // the last of them
}

// Read takes the lines that are new and reports whether what the log says has changed. A last line that is not whole yet
// is left for later, and a log that is not there is an empty one. Where the log has been cut, as a run is that goes on from
// a checkpoint, it is read from its beginning. After an error the next Read begins anew.
func (t *Tail) Read() (changed bool, err error) {
	path := filepath.Join(t.Dir, LogFile)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return t.forget(), nil
	}
	if err != nil {
		return t.forget(), err
	}
	defer f.Close()
	if !t.sameBefore(f) {
		changed = t.forget()
	}
	if _, err := f.Seek(t.read, io.SeekStart); err != nil {
		return changed, fmt.Errorf("%s: %w", path, err)
	}
	in := bufio.NewReader(f)
	for {
		text, err := in.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return changed, nil
		}
		var line logLine
		if err == nil {
			err = json.Unmarshal(text, &line)
		}
		if err != nil {
			at := t.read
			t.forget()
			return true, fmt.Errorf("%s: line at byte %d: %w", path, at, err)
		}
		line.addTo(&t.Steps, &t.Evaluations)
		t.Last, t.line, changed = line.Step, text, true
		t.read += int64(len(text))
	}
}

// sameBefore reports whether the last line that was taken still stands where it stood. A log only grows, or is cut and
// grows again; then that line has other times.
func (t *Tail) sameBefore(f *os.File) bool {
	now := make([]byte, len(t.line))
	_, err := f.ReadAt(now, t.read-int64(len(now)))
	return (err == nil || errors.Is(err, io.EOF)) && bytes.Equal(now, t.line)
}

// forget goes back to the beginning, and reports whether there was anything to forget.
func (t *Tail) forget() bool {
	had := t.read > 0
	*t = Tail{Dir: t.Dir}
	return had
}
