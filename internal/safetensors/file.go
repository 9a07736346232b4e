package safetensors

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
)

// ErrCorrupt is what errors.Is finds in every error that says a file is not a whole and valid
// safetensors file, as against one that could not be opened or read.
var ErrCorrupt = errors.New("not a valid safetensors file")

type corruptError struct{ error }

func (e corruptError) Is(target error) bool { return target == ErrCorrupt }
func (e corruptError) Unwrap() error        { return e.error }

// File is an open file whose header has been checked. Its methods may be called from several
// goroutines at once.
type File struct {
	name     string // for errors
	data     io.ReaderAt
	size     int64
	offset   int64 // where the tensors' bytes begin
	tensors  map[string]Info
	metadata map[string]string
	close    func() error
}

// Open opens path and checks its header against the file: names, types, shapes, offsets, length
// (formats.md 1.5). No tensor is read. Errors name path and, where there is one, the tensor.
func Open(path string) (*File, error) {
	info, err := os.Stat(path) // before a pipe is opened, which could wait for ever
	switch {
	case err != nil:
	case info.IsDir():
		err = fmt.Errorf("%s is a directory; name the .safetensors file in it", path)
	case !info.Mode().IsRegular():
		err = fmt.Errorf("%s is a pipe or a device, not a file", path)
	}
	if err != nil {
		return nil, fmt.Errorf("safetensors: %w", err)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("safetensors: %w", err)
	}
	if info, err = f.Stat(); err != nil { // the size of what was opened
		f.Close() // opened for reading: nothing can be lost
		return nil, fmt.Errorf("safetensors: %w", err)
	}
	file, err := New(f, info.Size(), path)
	if err != nil {
		f.Close()
		return nil, err
	}
	file.close = f.Close
	return file, nil
}

// New is Open for content that is not a file of its own; name stands for it in errors. Reads of r must
// be safe from several goroutines, as those of bytes.Reader are.
func New(r io.ReaderAt, size int64, name string) (*File, error) {
	f := &File{name: name, data: r, size: size, close: func() error { return nil }}
	if err := f.readHeader(); err != nil {
		return nil, fmt.Errorf("safetensors: %s: %w", name, err)
	}
	return f, nil
}

func (f *File) readHeader() error {
	start := make([]byte, min(f.size, sniffBytes))
	if err := readAt(f.data, start, 0); err != nil {
		return err
	}
	if kind := sniff(start); kind != "" {
		return corruptError{errors.New(kind)}
	}
	if f.size < prefixBytes {
		return corruptError{fmt.Errorf("file is %d bytes, too short for any safetensors file; %s", f.size, cutShort)}
	}
	length := binary.LittleEndian.Uint64(start)
	if length > maxHeaderBytes {
		return corruptError{fmt.Errorf("header length %d is above the limit of %d: this is not a safetensors file", length, maxHeaderBytes)}
	}
	f.offset = prefixBytes + int64(length)
	if f.offset > f.size { // checked before memory is taken for it
		return corruptError{fmt.Errorf("file is %d bytes, the header alone ends at %d; %s", f.size, f.offset, cutShort)}
	}
	text := make([]byte, length)
	if err := readAt(f.data, text, prefixBytes); err != nil {
		return err
	}
	h, err := parseHeader(text)
	if err != nil {
		return corruptError{err}
	}
	want := f.offset + h.dataSize
	switch {
	case want < f.offset || f.size < want: // the sum may pass 2^63
		return corruptError{fmt.Errorf("file is %d bytes, header says %d; %s", f.size, uint64(f.offset)+uint64(h.dataSize), cutShort)}
	case f.size > want:
		return corruptError{fmt.Errorf("file is %d bytes, header says %d: something was appended to it or it was overwritten in part; get it again", f.size, want)}
	}
	f.metadata = h.metadata
	f.tensors = make(map[string]Info, len(h.tensors))
	for _, t := range h.tensors {
		f.tensors[t.Name] = t
	}
	return nil
}

const cutShort = "the download or copy was cut short: get it again"

// Names lists the tensors, sorted.
func (f *File) Names() []string { return slices.Sorted(maps.Keys(f.tensors)) }

// Info describes the tensor called name; false if there is none.
func (f *File) Info(name string) (Info, bool) {
	info, ok := f.tensors[name]
	info.Shape = slices.Clone(info.Shape)
	return info, ok
}

// Metadata is a copy of the file's __metadata__, empty if it has none.
func (f *File) Metadata() map[string]string {
	if f.metadata == nil {
		return map[string]string{}
	}
	return maps.Clone(f.metadata)
}

// Sum is the sha256 of the whole file, header included, in hex.
func (f *File) Sum() (string, error) {
	hash := sha256.New()
	n, err := io.Copy(hash, io.NewSectionReader(f.data, 0, f.size))
	if err == nil && n != f.size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		return "", fmt.Errorf("safetensors: %s: %w", f.name, shrunk(err))
	}
	return hex.EncodeToString(hash.Sum(nil)), nil
}

// Close closes the file. Reading afterwards is an error.
func (f *File) Close() error { return f.close() }

// readAt fills p or says why not.
func readAt(r io.ReaderAt, p []byte, offset int64) error {
	n, err := r.ReadAt(p, offset)
	if n == len(p) {
		return nil // ReadAt may report io.EOF beside the last bytes
	}
	return shrunk(err)
}

// shrunk explains an end of file where there was none when the file was opened.
func shrunk(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return corruptError{fmt.Errorf("the file became shorter while it was read; is something writing it? %w", io.ErrUnexpectedEOF)}
	}
	return err
}
