package tfevents

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
)

// errDamaged says that a file is not as it was written from some byte on: a process died while it wrote, or the disk erred.
var errDamaged = errors.New("event file is damaged")

const (
	headerSize  = 8 + 4 // of a record: the length of its data and that number's checksum
	trailerSize = 4     // the data's checksum
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is the masked CRC-32C: turned and moved, since the checksum of data that have their own checksum in them is
// always the same number.
func checksum(data []byte) uint32 {
	sum := crc32.Checksum(data, castagnoli)
	return (sum>>15 | sum<<17) + 0xa282ead8
}

// record puts a frame around an event's data.
func record(data []byte) []byte {
	framed := binary.LittleEndian.AppendUint64(nil, uint64(len(data)))
	framed = binary.LittleEndian.AppendUint32(framed, checksum(framed))
	framed = append(framed, data...)
	return binary.LittleEndian.AppendUint32(framed, checksum(data))
}

// scan hands the events of a file to visit, each with the byte at which its record ends, until visit says no. What does
// not read as a record is errDamaged.
func scan(path string, visit func(e Event, end int64) bool) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if err := scanRecords(bufio.NewReader(f), info.Size(), visit); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func scanRecords(in io.Reader, size int64, visit func(e Event, end int64) bool) error {
	for at := int64(0); at < size; {
		data, err := readRecord(in, size-at)
		if err != nil {
			return fmt.Errorf("at byte %d: %w", at, err)
		}
		e, err := decode(data)
		if err != nil {
			return fmt.Errorf("at byte %d: %w", at, err)
		}
		if at += int64(headerSize + len(data) + trailerSize); !visit(e, at) {
			return nil
		}
	}
	return nil
}

// readRecord reads the data of the next record, which with its frame has at most left bytes.
func readRecord(in io.Reader, left int64) ([]byte, error) {
	var header [headerSize]byte
	if _, err := io.ReadFull(in, header[:]); err != nil {
		return nil, cut(err)
	}
	length := binary.LittleEndian.Uint64(header[:8])
	if binary.LittleEndian.Uint32(header[8:]) != checksum(header[:8]) {
		return nil, fmt.Errorf("%w: the checksum of a length is another", errDamaged)
	}
	if room := left - headerSize - trailerSize; room < 0 || length > uint64(room) {
		return nil, fmt.Errorf("%w: a record of %d bytes ends beyond the file", errDamaged, length)
	}
	data := make([]byte, length+trailerSize)
	if _, err := io.ReadFull(in, data); err != nil {
		return nil, cut(err)
	}
	data, sum := data[:length], data[length:]
	if binary.LittleEndian.Uint32(sum) != checksum(data) {
		return nil, fmt.Errorf("%w: the checksum of a record is another", errDamaged)
	}
	return data, nil
}

// cut is the error of a record that is not whole.
func cut(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: its last record is cut off", errDamaged)
	}
	return err
}
