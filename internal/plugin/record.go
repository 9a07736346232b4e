package plugin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"

	"github.com/deeplora/deeplora/internal/atomicfile"
	"github.com/deeplora/deeplora/internal/fetch"
)

// ErrChanged says that a plugin is not the file any more that was installed.
var ErrChanged = errors.New("changed since it was installed")

// record is what Install writes beside a plugin, as <plugin>.json.
type record struct {
	Format   int    `json:"format"` // recordFormat
	SHA256   string `json:"sha256"`
	Size     int64  `json:"size"`
	Modified int64  `json:"modified_ns"` // with Size, what tells a changed file without reading it
	Source   string `json:"source"`
	Version  string `json:"version"`
}

const recordFormat = 1

var hexSHA256 = regexp.MustCompile(`^[0-9a-f]{64}$`)

func recordPath(plugin string) string { return plugin + ".json" }

// readRecord returns the record of a plugin; fs.ErrNotExist if it has none.
func readRecord(plugin string) (record, error) {
	content, err := os.ReadFile(recordPath(plugin))
	if err != nil {
		return record{}, err
	}
	r, err := parseRecord(content)
	if err != nil {
		return record{}, fmt.Errorf("its record %s %w; run: %s", recordPath(plugin), err, CPU.Remedy())
	}
	return r, nil
}

func parseRecord(content []byte) (record, error) {
	var r record
	d := json.NewDecoder(bytes.NewReader(content))
	d.DisallowUnknownFields()
	if err := d.Decode(&r); err != nil {
		return record{}, fmt.Errorf("is not one: %w", err)
	}
	switch {
	case r.Format != recordFormat:
		return record{}, fmt.Errorf("has format %d, want %d", r.Format, recordFormat)
	case !hexSHA256.MatchString(r.SHA256):
		return record{}, fmt.Errorf("has sha256 %.70q, want 64 hexadecimal digits", r.SHA256)
	}
	return r, nil
}

// writeRecord makes a sound plugin one whose changes are noticed.
func writeRecord(p Plugin) error {
	info, err := os.Stat(p.Path)
	if err != nil {
		return err
	}
	r := record{recordFormat, p.SHA256, info.Size(), info.ModTime().UnixNano(), p.Source, p.Version}
	content, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.Write(recordPath(p.Path), func(w io.Writer) error {
		_, err := w.Write(append(content, '\n'))
		return err
	})
}

// Verify returns p with its sha256 if it may be opened: a plugin for this machine, whole, and the file that
// its record says. The error says what is wrong and what to do; errors.Is(err, ErrChanged) if the record says
// otherwise.
//
// Where size and time are the record's, the record's sha256 is taken for the file's; full reads the file all
// the same. A plugin without a record is always read (about half a second).
func (p Plugin) Verify(full bool) (Plugin, error) {
	verified, err := p.verify(full)
	if errors.Is(err, ErrChanged) {
		// Another process may have replaced the plugin between our reading its record and the file itself.
		verified, err = p.verify(full)
	}
	if err != nil {
		return p, fmt.Errorf("engine: %s: %w", p.Path, err)
	}
	return verified, nil
}

func (p Plugin) verify(full bool) (Plugin, error) {
	info, err := os.Stat(p.Path)
	if err != nil {
		return p, bare(err)
	}
	p.Size = info.Size()
	r, err := readRecord(p.Path)
	if errors.Is(err, fs.ErrNotExist) {
		return p.verifyUnrecorded()
	}
	if err != nil {
		return p, err
	}
	p.Recorded, p.Source, p.Version = true, r.Source, r.Version
	if p.Size != r.Size {
		return p, fmt.Errorf("%w: it has %d bytes, its record says %d; run: %s", ErrChanged, p.Size, r.Size, CPU.Remedy())
	}
	if full || info.ModTime().UnixNano() != r.Modified {
		if p.SHA256, err = sumFile(p.Path); err != nil {
			return p, err
		}
		if p.SHA256 != r.SHA256 {
			return p, fmt.Errorf("%w: its sha256 is %s, its record says %s; run: %s", ErrChanged, p.SHA256, r.SHA256, CPU.Remedy())
		}
	}
	p.SHA256 = r.SHA256
	return p, Check(p.Path)
}

func (p Plugin) verifyUnrecorded() (Plugin, error) {
	p.Recorded = false
	err := Check(p.Path)
	if err == nil {
		p.SHA256, err = sumFile(p.Path)
	}
	if w, ok := wheelOfPlugin(p.SHA256); ok {
		p.Source, p.Version = w.source(), w.version
	}
	return p, err
}

// sumFile returns the sha256 of a file as 64 hexadecimal digits.
func sumFile(path string) (string, error) {
	return fetch.Sum(path, nil)
}

// bare takes operation and path out of an error whose path is said already.
func bare(err error) error {
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		return p.Err
	}
	return err
}
