package fetch

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"strings"
	"syscall"
	"time"
)

// File is a file to fetch, and what is known of it.
type File struct {
	URL    string
	Header http.Header // sent besides; Authorization and Cookie to URL's host alone
	Size   int64       // bytes; 0 if not known
	Limit  int64       // bytes to take at most where Size is not known; 0: any number
	Sum    string      // what Sum returns for the right file; empty if not known

	Hash func(size int64) hash.Hash // what Sum is made with; nil: SHA-256

	// Progress, if not nil, is told how many bytes are there, out of total (0: not known), while Step is
	// Transfer; and once, with 0 of 0, that they are being hashed.
	Progress func(step Step, done, total int64)
}

// Step is what File is about.
type Step string

// The steps of File.
const (
	Transfer Step = "fetch"
	Verify   Step = "verify"
)

// TooLongError says that more bytes came than the file should have.
type TooLongError struct{ Limit int64 }

func (e *TooLongError) Error() string {
	return fmt.Sprintf("it is longer than the %d bytes it should have", e.Limit)
}

// SumError says that the bytes received have another hash than the file.
type SumError struct{ Got, Want string }

func (e *SumError) Error() string {
	return fmt.Sprintf("it has hash %s, want %s", e.Got, e.Want)
}

// File fetches f into part, where an earlier call may have left the beginning, and syncs it. Without an error
// the file is whole as far as Size and Sum tell. received counts the bytes that came over the network.
//
// Errors call the file "it". They are a *NoReplyError, a *StatusError, a *TooLongError or a *SumError where
// they say so, the system's of the disk (with syscall.ENOSPC the part is deleted) and the context's cause.
func (c *Client) File(ctx context.Context, f File, part string) (received int64, err error) {
	t := &transfer{File: f, client: c, part: part}
	err = t.whole(ctx)
	if wrong := (*SumError)(nil); errors.As(err, &wrong) && t.pieced { // perhaps of pieces that do not belong together
		err = t.whole(ctx)
	}
	if errors.Is(err, syscall.ENOSPC) {
		err = errors.Join(err, os.Remove(part))
	}
	return t.received, err
}

// Sum returns the hash of a file in hexadecimal, lower case; newHash as in File.
func Sum(path string, newHash func(size int64) hash.Hash) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if newHash != nil {
		info, err := f.Stat()
		if err != nil {
			return "", err
		}
		h = newHash(info.Size())
	}
	if _, err := io.Copy(h, f); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// transfer is one call of File.
type transfer struct {
	File
	client   *Client
	part     string
	received int64
	pieced   bool // the last reply was put behind what was there
}

func (t *transfer) report(step Step, done, total int64) {
	if t.Progress != nil {
		t.Progress(step, done, total)
	}
}

// whole tries until the part is complete and compares its hash.
func (t *transfer) whole(ctx context.Context) error {
	err := t.client.retry(ctx, func() (brought bool, err error) {
		before := fileSize(t.part)
		err = t.try(ctx)
		return fileSize(t.part) > before, err
	})
	if err != nil || t.Sum == "" {
		return err
	}
	t.report(Verify, 0, 0)
	got, err := Sum(t.part, t.Hash)
	if err == nil && got != t.Sum {
		err = errors.Join(&SumError{got, t.Sum}, os.Remove(t.part))
	}
	return err
}

// try appends what is missing to the part, until its end or a fault.
func (t *transfer) try(ctx context.Context) (err error) {
	file, have, err := t.open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	t.pieced = have > 0
	if t.Size > 0 && have == t.Size {
		return file.Sync() // its sum will tell
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	resp, err := t.ask(ctx, have)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	start, err := startOf(resp, have)
	if start < have {
		err = errors.Join(err, file.Truncate(0))
	}
	if err != nil {
		return err
	}
	t.pieced = start > 0
	if err := t.receive(ctx, cancel, resp, file, start); err != nil {
		return err
	}
	return file.Sync()
}

// open returns the part and how much of the file is there. Without a sum nothing would tell a part of
// another file: it starts from nothing. So does what is longer than the file. A link is taken away and never
// followed: in a folder that others may write to it could lead to any file of this user's.
func (t *transfer) open() (file *os.File, have int64, err error) {
	if info, err := os.Lstat(t.part); err == nil && (t.Sum == "" || !info.Mode().IsRegular()) {
		if err := os.Remove(t.part); err != nil {
			return nil, 0, err
		}
	}
	if file, err = os.OpenFile(t.part, os.O_RDWR|os.O_CREATE|os.O_APPEND|syscall.O_NOFOLLOW, 0o644); err != nil {
		return nil, 0, err
	}
	have, err = file.Seek(0, io.SeekEnd)
	if err == nil && t.Size > 0 && have > t.Size {
		have, err = 0, file.Truncate(0)
	}
	if err != nil {
		return nil, 0, errors.Join(err, file.Close())
	}
	return file, have, nil
}

// ask asks for the bytes from have on.
func (t *transfer) ask(ctx context.Context, have int64) (*http.Response, error) {
	header := t.Header.Clone()
	if header == nil {
		header = http.Header{}
	}
	header.Set("Accept-Encoding", "identity") // offsets count the file's bytes, not a coding's
	if have > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", have))
	}
	resp, err := t.client.get(ctx, t.URL, header)
	if none := (*NoReplyError)(nil); errors.As(err, &none) && !none.final {
		return nil, passing{err} // a network may come back
	}
	return resp, err
}

// startOf returns where the reply's bytes belong: behind those we have, or at the start, where a server knows no
// ranges or has none for us.
func startOf(resp *http.Response, have int64) (int64, error) {
	contentRange := resp.Header.Get("Content-Range")
	switch code := resp.StatusCode; {
	case code == http.StatusPartialContent && strings.HasPrefix(contentRange, fmt.Sprintf("bytes %d-", have)):
		return have, nil
	case code == http.StatusOK:
		return 0, nil
	case code == http.StatusPartialContent, code == http.StatusRequestedRangeNotSatisfiable:
		return 0, passing{fmt.Errorf("%s answers %s, %q, to a request for the bytes from %d on", shown(resp.Request.URL), resp.Status, contentRange, have)}
	default:
		return have, statusFault(resp)
	}
}

// receive copies a reply's body behind the first have bytes of file, but no more than the file should have.
func (t *transfer) receive(ctx context.Context, cancel context.CancelCauseFunc, resp *http.Response, file *os.File, have int64) error {
	limit, total := t.Size, t.Size
	if t.Size == 0 {
		limit = t.Limit
		if resp.ContentLength >= 0 {
			total = have + resp.ContentLength
		}
	}
	body := newWatched(ctx, resp.Body, t.client.Stall, cancel, func(came int64) {
		if done := have + came; limit == 0 || done <= limit {
			t.report(Transfer, done, total)
		}
	})
	defer body.Close()
	from := io.Reader(body)
	if limit > 0 {
		from = io.LimitReader(body, limit-have+1)
	}
	_, err := io.Copy(file, from)
	t.received += body.came
	done := have + body.came
	switch {
	case err != nil && body.err == nil:
		return err // the disk's, not the network's
	case limit > 0 && done > limit:
		return errors.Join(&TooLongError{limit}, file.Truncate(0))
	case err == nil && (t.Size == 0 || done == t.Size):
		return nil
	case err == nil:
		err = io.ErrUnexpectedEOF
	}
	return passing{t.brokeOff(done, total, err)}
}

func (t *transfer) brokeOff(done, total int64, err error) error {
	of, remedy := "", ""
	if total > 0 {
		of = fmt.Sprintf(" of %d", total)
	}
	if t.Sum != "" {
		remedy = "; run again to go on from there"
	}
	return fmt.Errorf("it broke off after %d%s bytes: %w%s", done, of, err, remedy)
}

// Watch returns body with an eye on it. After each read that brings bytes, report is told how many have come.
// When a read waits for longer than stall, cancel is called: it must end body's request, which is ctx's. A
// read that ctx ends returns its cause.
func Watch(ctx context.Context, body io.ReadCloser, stall time.Duration, cancel context.CancelCauseFunc, report func(came int64)) io.ReadCloser {
	return newWatched(ctx, body, stall, cancel, report)
}

type watched struct {
	ctx    context.Context
	body   io.ReadCloser
	stall  time.Duration
	alarm  *time.Timer
	report func(came int64)
	came   int64
	err    error // of body, to tell it from a writer's
}

func newWatched(ctx context.Context, body io.ReadCloser, stall time.Duration, cancel context.CancelCauseFunc, report func(came int64)) *watched {
	alarm := time.AfterFunc(stall, func() { cancel(fmt.Errorf("no data for %v", stall)) })
	return &watched{ctx: ctx, body: body, stall: stall, alarm: alarm, report: report}
}

func (w *watched) Read(p []byte) (n int, err error) {
	if w.ctx.Err() != nil { // what has arrived already does not delay a cancellation
		w.err = context.Cause(w.ctx)
		return 0, w.err
	}
	w.alarm.Reset(w.stall)
	n, err = w.body.Read(p)
	w.alarm.Stop() // what becomes of the bytes may take its time
	if w.came += int64(n); n > 0 && w.report != nil {
		w.report(w.came)
	}
	if err == nil || err == io.EOF {
		return n, err
	}
	if w.err = err; w.ctx.Err() != nil {
		w.err = context.Cause(w.ctx)
	}
	return n, w.err
}

func (w *watched) Close() error {
	w.alarm.Stop()
	return w.body.Close()
}

func fileSize(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}
