// Package jsonfile writes and reads JSON files of the project's own formats: whole files, read strictly.
package jsonfile

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/deeplora/deeplora/internal/atomicfile"
	"github.com/deeplora/deeplora/internal/readfile"
)

// ErrCorrupt is wrapped by errors about files of ours that are not as they were written.
var ErrCorrupt = errors.New("file is damaged")

// Write writes v, indented, as a whole file.
func Write(path string, v any) error {
	text, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return atomicfile.WriteBytes(path, append(text, '\n'))
}

// maxFile is beyond anything that this program writes as JSON.
const maxFile = 256 << 20

// Read reads a file that Write wrote; unknown fields and trailing text are damage.
func Read(path string, v any) error {
	text, err := readfile.Path(path, maxFile)
	if err != nil {
		return err
	}
	if err := Decode(text, v); err != nil {
		return fmt.Errorf("%s: %w: %w", path, ErrCorrupt, err)
	}
	return nil
}

// Decode reads one JSON value; unknown fields and trailing text are errors.
func Decode(text []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("text after the JSON value")
	}
	return nil
}
