package main

import (
	"errors"
	"io"
	"math/bits"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/train"
)

// pause is how long an input may give nothing before the rows that were read are answered.
const pause = 50 * time.Millisecond

// stream is an input that another program may be writing, row by row, and waiting for answers. It is watched with
// poll(2) rather than read ahead: a read of a pipe cannot be taken back, and whoever made it could not be awaited.
type stream struct {
	*os.File
	idle func() error // called after each pause; its error ends the input
}

// newStream watches pipes and terminals, and returns nil for others: a file's rows are all there, and when they are
// computed must not depend on the clock.
func newStream(r io.Reader) *stream {
	f, ok := r.(*os.File)
	if !ok {
		return nil
	}
	if info, err := f.Stat(); err != nil || info.Mode().IsRegular() {
		return nil
	}
	return &stream{File: f, idle: func() error { return nil }}
}

// Read waits for the input, and calls idle while there is none.
func (s *stream) Read(b []byte) (int, error) {
	for !s.readable(time.Now().Add(pause)) {
		if err := s.idle(); err != nil {
			return 0, err
		}
	}
	return s.File.Read(b)
}

// readable waits, until the deadline at most, until a read would not block. What cannot be polled is taken to be
// readable.
func (s *stream) readable(deadline time.Time) bool {
	raw, err := s.SyscallConn()
	if err != nil {
		return true
	}
	n, fault := 0, error(unix.EINTR)
	for errors.Is(fault, unix.EINTR) && err == nil {
		wait := max(0, time.Until(deadline).Milliseconds())
		err = raw.Control(func(fd uintptr) {
			n, fault = unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, int(wait))
		})
	}
	return err != nil || fault != nil || n > 0
}

// partial is the layout for rows that are fewer than a batch: cut into batches of a power of two and padded to
// buckets, so that a stream which pauses after any number of rows of any length has few graphs to compile.
func partial(l train.Layout, rows int) train.Layout {
	if 0 < rows && rows < l.Batch {
		l.Batch, l.Padding = 1<<(bits.Len(uint(rows))-1), data.PadBucket
	}
	return l
}
