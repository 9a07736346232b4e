package tfevents

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// testdata/events is TensorBoard's own writer's, by scripts/goldens/tfevents.py.
func TestBytesAreTensorBoards(t *testing.T) {
	golden, err := os.ReadFile("testdata/events")
	if err != nil {
		t.Fatal(err)
	}
	at := func(second float64) time.Time { return time.UnixMicro(1.7e15 + int64(second*1e6)) }
	ours := slices.Concat(
		record(encodeVersion(at(0.25))), record(encodeSession(at(0.5), 3)),
		record(encode(at(1), Event{3, []Scalar{{"loss", 0.1}, {"lr", -2.5e-5}}})),
		record(encode(at(2), Event{1 << 40, []Scalar{{"eval/pearson", math.Float32frombits(0x7fc00000)}}})))
	if !bytes.Equal(ours, golden) {
		t.Errorf("%x\nwant\n%x", ours, golden)
	}
	var read []Event
	if err := Read("testdata/events", func(e Event) bool { read = append(read, e); return true }); err != nil {
		t.Fatal(err)
	}
	if len(read) != 2 || !read[0].equal(Event{3, []Scalar{{"loss", 0.1}, {"lr", -2.5e-5}}}) || read[1].Step != 1<<40 || !math.IsNaN(float64(read[1].Scalars[0].Value)) {
		t.Errorf("read %v", read)
	}
}

// events are of the steps given, each with a number that the step gives.
func events(steps ...int64) (list []Event) {
	for _, step := range steps {
		list = append(list, Event{step, []Scalar{{"loss", 1 / float32(step)}}})
	}
	return list
}

// giving gives the events of a list, and then nil.
func giving(list []Event) func() (*Event, error) {
	return func() (*Event, error) {
		if len(list) == 0 {
			return nil, nil
		}
		e := list[0]
		list = list[1:]
		return &e, nil
	}
}

// session goes on after want with more, in a folder.
func session(t *testing.T, dir string, want, more []Event) {
	t.Helper()
	l, err := Open(dir, giving(want))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range more {
		if err := l.Add(e); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(l.Sync(), l.Close()); err != nil {
		t.Fatal(err)
	}
}

func stored(t *testing.T, dir string) (list []Event, files []string) {
	t.Helper()
	files, err := Files(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		if err := Read(path, func(e Event) bool { list = append(list, e); return true }); err != nil {
			t.Error(err)
		}
	}
	return list, files
}

// Whatever became of the files of a process that died, those of the next one hold with them what is wanted, once.
func TestGoingOn(t *testing.T) {
	for name, c := range map[string]struct {
		kept  int // events of the first five that the run goes on after
		harm  func(text []byte) []byte
		files int
	}{
		"as they were":     {5, func(text []byte) []byte { return text }, 2},
		"went further":     {3, func(text []byte) []byte { return text }, 2},
		"from the start":   {0, func(text []byte) []byte { return text }, 2}, // the version stays
		"cut in a record":  {5, func(text []byte) []byte { return text[:len(text)-3] }, 2},
		"cut in a header":  {5, func(text []byte) []byte { return text[:len(text)-len(record(encode(time.Now(), events(5)[0])))+5] }, 2},
		"lost":             {5, func([]byte) []byte { return nil }, 1},
		"zeros at its end": {5, func(text []byte) []byte { return append(text, make([]byte, 100)...) }, 2},
		"a byte is others": {5, func(text []byte) []byte { text[len(text)/2] ^= 1; return text }, 2},
		"another's":        {5, func([]byte) []byte { return []byte("not an event file at all, but a text") }, 1},
		"a huge length": {5, func(text []byte) []byte {
			length := binary.LittleEndian.AppendUint64(nil, math.MaxUint64)
			return append(append(text, length...), binary.LittleEndian.AppendUint32(nil, checksum(length))...)
		}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "tensorboard")
			session(t, dir, nil, events(1, 2, 3, 4, 5))
			_, files := stored(t, dir)
			text, err := os.ReadFile(files[0])
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(files[0], c.harm(text), 0o644); err != nil {
				t.Fatal(err)
			}
			want := events(1, 2, 3, 4, 5)[:c.kept]
			session(t, dir, want, events(6, 7))
			got, files := stored(t, dir)
			if !slices.EqualFunc(got, append(want, events(6, 7)...), Event.equal) || len(files) != c.files {
				t.Errorf("%d files with %v", len(files), got)
			}
		})
	}
}

// Files after the one in which the first difference is go; their names are in order, even when several are begun in a
// second; and what a reader has read of later steps is declared void.
func TestGoingOnTwice(t *testing.T) {
	dir := t.TempDir()
	session(t, dir, nil, events(1, 2))
	session(t, dir, events(1, 2), events(3, 4))
	session(t, dir, events(1, 2, 3, 4), events(5))
	session(t, dir, events(1, 2, 3), events(4))
	got, files := stored(t, dir)
	if !slices.EqualFunc(got, events(1, 2, 3, 4), Event.equal) || len(files) != 3 {
		t.Fatalf("%d files with %v", len(files), got)
	}
	text, err := os.ReadFile(files[2])
	if err != nil {
		t.Fatal(err)
	}
	if void := encodeSession(time.Now(), 4); !bytes.Contains(text, void[9:]) { // after the time
		t.Errorf("the last file does not void the steps from 4 on: %x", text)
	}
}

func TestFaults(t *testing.T) {
	dir := t.TempDir()
	other := filepath.Join(dir, "notes")
	if err := os.WriteFile(other, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	linked, folder := filepath.Join(dir, "linked"), filepath.Join(dir, "folder")
	if err := errors.Join(os.Symlink(dir, linked), os.Mkdir(folder, 0o755), os.Symlink(other, filepath.Join(folder, prefix+"1"))); err != nil {
		t.Fatal(err)
	}
	lost := errors.New("lost")
	for path, c := range map[string]struct {
		want string
		give func() (*Event, error)
	}{
		linked:                           {"is a link or a file", giving(nil)},
		other:                            {"is a link or a file", giving(nil)},
		folder:                           {"it is a link or a device", giving(nil)},
		filepath.Join(dir, "no", "such"): {"no such file", giving(nil)},
		filepath.Join(dir, "new"):        {"lost", func() (*Event, error) { return nil, lost }},
	} {
		if _, err := Open(path, c.give); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", path, err, c.want)
		}
	}
	if text, err := os.ReadFile(other); err != nil || string(text) != "mine" {
		t.Errorf("a file that a link leads to is now %q (%v)", text, err)
	}
}

// What cannot be written is an error that says why.
func TestAFullDisk(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("no /dev/full on this system: ", err)
	}
	l := &Log{full}
	defer l.Close()
	if err := l.Add(events(1)[0]); !errors.Is(err, syscall.ENOSPC) || !strings.Contains(err.Error(), "event file: ") {
		t.Errorf("error %v", err)
	}
}

// No file makes the reader panic or take more memory than the file has bytes, and what it reads is written as it was.
func FuzzRead(f *testing.F) {
	golden, err := os.ReadFile("testdata/events")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden)
	f.Add(golden[:len(golden)-1])
	f.Add(record(nil))
	f.Fuzz(func(t *testing.T, text []byte) {
		last := int64(0)
		err := scanRecords(bytes.NewReader(text), int64(len(text)), func(e Event, end int64) bool {
			again, err := decode(encode(time.Now(), e))
			if err != nil || !e.equal(again) || end <= last || end > int64(len(text)) {
				t.Errorf("%v is read again as %v (%v); it ends at byte %d of %d", e, again, err, end, len(text))
			}
			last = end
			return true
		})
		if err != nil && !errors.Is(err, errDamaged) {
			t.Error(err)
		}
	})
}
