package data

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// maxLine bounds what one line may hold in memory. GLUE's longest is under 20 kB.
const maxLine = 16 << 20

// lineReader reads a text file line by line in constant memory and knows where it is. Lines end in \n;
// a \r before it is dropped, as is a byte order mark at the start. Nothing else is touched.
type lineReader struct {
	name   string // as errors give it
	r      *bufio.Reader
	number int // of the line last read, from 1
}

func newLineReader(r io.Reader, name string) *lineReader {
	return &lineReader{name: name, r: bufio.NewReaderSize(r, 64<<10)}
}

// next returns the next line without its end, or io.EOF after the last. A file that ends in \n has no
// empty line behind it.
func (l *lineReader) next() (string, error) {
	l.number++
	line, err := l.read()
	if err != nil && (!errors.Is(err, io.EOF) || len(line) == 0) {
		if errors.Is(err, io.EOF) {
			return "", io.EOF
		}
		return "", l.fail("%w", err)
	}
	line = bytes.TrimSuffix(line, []byte("\n"))
	line = bytes.TrimSuffix(line, []byte("\r"))
	if l.number == 1 {
		line = bytes.TrimPrefix(line, []byte("\ufeff"))
	}
	if !utf8.Valid(line) {
		return "", l.fail("not valid UTF-8; convert the file first")
	}
	return string(line), nil
}

func (l *lineReader) read() ([]byte, error) {
	var long []byte
	for {
		part, err := l.r.ReadSlice('\n')
		if long == nil && !errors.Is(err, bufio.ErrBufferFull) {
			return part, err // the usual case: no copy
		}
		if long = append(long, part...); len(long) > maxLine {
			return nil, fmt.Errorf("a line of more than %d bytes", maxLine)
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return long, err
		}
	}
}

// fail is an error at the line last read: "file:line: …".
func (l *lineReader) fail(format string, args ...any) error {
	return fmt.Errorf("%s:%d: %w", l.name, l.number, fmt.Errorf(format, args...))
}
