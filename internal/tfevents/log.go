package tfevents

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/deeplora/deeplora/internal/rundir"
)

// prefix is what names of event files begin with. Readers take the files of a folder in the order of their names, in which
// the second when each was begun comes next.
const prefix = "events.out.tfevents."

// Log appends to an event file.
type Log struct{ file *os.File }

// Open goes on in a folder of event files, which it makes if need be: the events there are to be those of want, and then
// what Add adds. want gives the next one at each call, and nil after the last. What the files have beyond the first
// difference is cut off, and what they lack, as the process died or nobody wished for them before, is the beginning of the
// new file that the log writes.
func Open(dir string, want func() (*Event, error)) (*Log, error) {
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("event files: %w", err)
	}
	if info, err := os.Lstat(dir); err != nil || !info.IsDir() { // a link could lead to anybody's files
		return nil, fmt.Errorf("event files: %s is a link or a file, not a folder; remove it", dir)
	}
	files, err := Files(dir)
	if err != nil {
		return nil, err
	}
	w := &wanted{give: want, last: -1}
	err = w.advance()
	if err == nil {
		err = w.cut(files)
	}
	if err != nil {
		return nil, fmt.Errorf("event files: %w", err)
	}
	l, err := create(dir, files)
	if err != nil {
		return nil, err
	}
	if err := l.begin(w, len(files) > 0); err != nil {
		l.Close()
		return nil, err
	}
	return l, nil
}

// Files are the event files of a folder, in the order in which they were written.
func Files(dir string) (paths []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("event files: %w", err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), prefix) {
			continue
		}
		path := filepath.Join(dir, e.Name())
		if err := rundir.OwnFile(path); err != nil {
			return nil, err
		}
		paths = append(paths, path)
	}
	return paths, nil
}

// Read hands the events that have scalars to visit, until it says no.
func Read(path string, visit func(e Event) bool) error {
	return scan(path, func(e Event, _ int64) bool { return len(e.Scalars) == 0 || visit(e) })
}

// wanted are the events that files are to have, one after the other.
type wanted struct {
	give func() (*Event, error)
	next *Event // that the files have not had yet; nil: they have all
	last int64  // step of the last that they had; -1: none
}

func (w *wanted) advance() (err error) {
	w.next, err = w.give()
	return err
}

// cut keeps of the files, in order, what is wanted, up to the first difference.
func (w *wanted) cut(files []string) error {
	same := true
	for _, path := range files {
		good := int64(0)
		if same {
			var err error
			if good, same, err = w.agree(path); err != nil {
				return err
			}
		}
		var err error
		switch {
		case good == 0:
			err = os.Remove(path)
		case !same:
			err = os.Truncate(path, good)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// agree reads a file as far as it has what is wanted, which is up to byte good, and says whether that is all of it.
func (w *wanted) agree(path string) (good int64, all bool, err error) {
	all = true
	damage := scan(path, func(e Event, end int64) bool {
		if len(e.Scalars) > 0 {
			if all = w.next != nil && e.equal(*w.next); !all {
				return false
			}
			w.last = e.Step
			if err = w.advance(); err != nil {
				return false
			}
		}
		good = end
		return true
	})
	switch {
	case err != nil:
		return 0, false, err
	case errors.Is(damage, errDamaged):
		return good, false, nil
	}
	return good, all, damage
}

// create makes a file whose name comes after those there are, whatever the clock says.
func create(dir string, files []string) (*Log, error) {
	second := time.Now().Unix()
	for _, path := range files {
		began, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(path), prefix), ".")
		if before, err := strconv.ParseInt(began, 10, 64); err == nil {
			second = max(second, before+1)
		}
	}
	host, err := os.Hostname()
	if err != nil {
		host = "localhost"
	}
	name := fmt.Sprintf("%s%010d.%s.%d.0", prefix, second, host, os.Getpid())
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("event file: %w", err)
	}
	return &Log{f}, nil
}

// begin writes what the file begins with: its version; where there were files before, that what readers have read beyond
// the last event that was kept is void; and what these files lack.
func (l *Log) begin(w *wanted, resumed bool) error {
	now := time.Now()
	if err := l.write(encodeVersion(now)); err != nil {
		return err
	}
	if resumed {
		if err := l.write(encodeSession(now, w.last+1)); err != nil {
			return err
		}
	}
	for w.next != nil {
		if err := errors.Join(l.Add(*w.next), w.advance()); err != nil {
			return err
		}
	}
	return nil
}

// Add appends an event, of now.
func (l *Log) Add(e Event) error { return l.write(encode(time.Now(), e)) }

// write appends a record in one call, so that a reader seldom sees half of one.
func (l *Log) write(data []byte) error {
	if _, err := l.file.Write(record(data)); err != nil {
		return fmt.Errorf("event file: %w", err)
	}
	return nil
}

// Sync makes what was added durable.
func (l *Log) Sync() error {
	if err := l.file.Sync(); err != nil {
		return fmt.Errorf("event file: %w", err)
	}
	return nil
}

// Close closes the file.
func (l *Log) Close() error { return l.file.Close() }
