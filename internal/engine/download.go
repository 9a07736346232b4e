package engine

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"
)

// patience is how long the network may keep us waiting. Shorter in tests.
type patience struct {
	dial    time.Duration // for a connection, names and TLS included
	answer  time.Duration // for the head of a reply
	stall   time.Duration // without a byte of a body
	release time.Duration // for the whole answer about go-xla's release
	pause   time.Duration // before the second try of a download; doubles
}

// In a closed network whose firewall swallows packets, the release costs `release`, the index `dial`.
var usual = patience{dial: 5 * time.Second, answer: 20 * time.Second, stall: 30 * time.Second, release: 5 * time.Second, pause: time.Second}

const tries = 5 // of a download; each goes on where the last one ended

// errUnreachable says that no connection came about: asking the same server for something else is in vain.
var errUnreachable = errors.New("unreachable")

// passing is an error that another try may not meet.
type passing struct{ error }

func (e passing) Unwrap() error { return e.error }

func newClient(p patience) *http.Client {
	transport := http.DefaultTransport.(*http.Transport).Clone() // proxies and HTTP/2 as usual
	transport.DialContext = (&net.Dialer{Timeout: p.dial, KeepAlive: 30 * time.Second}).DialContext
	transport.TLSHandshakeTimeout = p.dial
	transport.ResponseHeaderTimeout = p.answer
	return &http.Client{Transport: transport}
}

// get asks for an address. The reply may have any status; its body is the caller's to close.
func (in *installer) get(ctx context.Context, u *url.URL, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, bareURL(err)
	}
	for name, values := range header {
		req.Header[name] = values
	}
	req.Header.Set("User-Agent", "deeplora")
	resp, err := in.client.Do(req)
	if err == nil {
		return resp, nil
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return nil, unanswered(u, bareURL(err))
}

// unanswered describes a request that brought no reply.
func unanswered(u *url.URL, err error) error {
	hint := ""
	if cert := (*tls.CertificateVerificationError)(nil); errors.As(err, &cert) {
		hint = "; set SSL_CERT_FILE to your network's certificates"
	}
	if op := (*net.OpError)(nil); errors.As(err, &op) && (op.Op == "dial" || op.Op == "proxyconnect") {
		return fmt.Errorf("%s: %w: %w", u.Host, errUnreachable, op.Err)
	}
	return passing{fmt.Errorf("%s: %w%s", u.Redacted(), err, hint)}
}

// bareURL takes the address out of an error: it is said already, and may hold a password or a signature.
func bareURL(err error) error {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		return u.Err
	}
	return err
}

// wanted is a file to download.
type wanted struct {
	url    *url.URL
	name   string // for progress and errors
	size   int64  // bytes; 0 if not known
	sha256 string // empty if not known
}

// maxDownload bounds files of unknown size.
const maxDownload = 2 << 30

// download fetches a file into path, where an earlier call, perhaps of a process that is no more, may have
// left a part of it. It returns only when the file's sum is right. What has come stays for the next call,
// unless it is wrong, cannot be told from wrong, or fills the disk.
func (in *installer) download(ctx context.Context, w wanted, path string) error {
	if w.sha256 == "" { // nothing would tell parts of different files apart
		if err := os.RemoveAll(path); err != nil {
			return err
		}
	}
	resumed := fileSize(path) > 0
	err := in.downloadWhole(ctx, w, path)
	if resumed && errors.Is(err, errWrongSum) { // perhaps the part was wrong, not the rest
		err = in.downloadWhole(ctx, w, path)
	}
	if errors.Is(err, syscall.ENOSPC) {
		return errors.Join(fmt.Errorf("no space left for %s; free %s there, or name another folder with --cache", path, megabytes(w.size)), os.Remove(path))
	}
	return err
}

var errWrongSum = errors.New("not the file that was asked for")

func (in *installer) downloadWhole(ctx context.Context, w wanted, path string) error {
	if err := in.transferPatiently(ctx, w, path); err != nil {
		return err
	}
	if w.sha256 == "" {
		return nil
	}
	in.progress("verify "+w.name, 0, 0)
	sum, err := sumFile(path)
	if err == nil && sum != w.sha256 {
		err = fmt.Errorf("%w: %s has sha256 %s, want %s", errWrongSum, w.name, sum, w.sha256)
		err = errors.Join(err, os.Remove(path))
	}
	return err
}

// transferPatiently tries again while something comes: two tries without a byte are enough.
func (in *installer) transferPatiently(ctx context.Context, w wanted, path string) error {
	pause, barren := in.patience.pause, 0
	for try := 1; ; try++ {
		before := fileSize(path)
		err := in.transfer(ctx, w, path)
		if barren++; fileSize(path) > before {
			barren = 0
		}
		if p := (passing{}); !errors.As(err, &p) || barren == 2 || try == tries || ctx.Err() != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pause):
			pause *= 2
		}
	}
}

// transfer appends to path what is missing of a file, until its end or a fault.
func (in *installer) transfer(ctx context.Context, w wanted, path string) (err error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	have, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if w.size > 0 && have == w.size {
		return nil // its sum will tell
	}
	if w.size > 0 && have > w.size {
		if have, err = 0, file.Truncate(0); err != nil {
			return err
		}
	}
	header := http.Header{"Accept-Encoding": {"identity"}} // offsets count the file's bytes, not a coding's
	if have > 0 {
		header.Set("Range", fmt.Sprintf("bytes=%d-", have))
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	resp, err := in.get(ctx, w.url, header)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if have, err = startOf(resp, file, have); err != nil {
		return err
	}
	return in.receive(ctx, cancel, resp, w, file, have)
}

// startOf returns where the reply's bytes belong: behind those we have, or at the start of the emptied file,
// where a server knows no ranges or has none for us.
func startOf(resp *http.Response, file *os.File, have int64) (int64, error) {
	switch code := resp.StatusCode; {
	case code == http.StatusPartialContent && strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", have)):
		return have, nil
	case code == http.StatusOK:
		return 0, file.Truncate(0)
	case code == http.StatusPartialContent, code == http.StatusRequestedRangeNotSatisfiable:
		err := fmt.Errorf("%s answers %s, %q, to a request for the bytes from %d on", resp.Request.URL.Redacted(), resp.Status, resp.Header.Get("Content-Range"), have)
		return 0, errors.Join(passing{err}, file.Truncate(0))
	case code == http.StatusTooManyRequests || code >= 500:
		return 0, passing{fmt.Errorf("%s answers %s", resp.Request.URL.Redacted(), resp.Status)}
	default:
		return 0, fmt.Errorf("%s answers %s", resp.Request.URL.Redacted(), resp.Status)
	}
}

// receive copies a reply's body behind the first have bytes of file. It ends the reply when no byte comes
// for too long, and refuses more bytes than the file should have.
func (in *installer) receive(ctx context.Context, cancel context.CancelCauseFunc, resp *http.Response, w wanted, file *os.File, have int64) error {
	stalled := fmt.Errorf("no data for %v", in.patience.stall)
	alarm := time.AfterFunc(in.patience.stall, func() { cancel(stalled) })
	defer alarm.Stop()
	limit, total := w.size, w.size
	if w.size == 0 {
		limit, total = maxDownload, max(0, have+resp.ContentLength)
	}
	body := &meter{r: io.LimitReader(resp.Body, limit-have+1), done: have, report: func(done int64) {
		alarm.Reset(in.patience.stall)
		in.progress("fetch "+w.name, done, total)
	}}
	_, err := io.Copy(file, body)
	switch {
	case body.err == nil && err != nil:
		return err // the disk's, not the network's
	case body.done > limit:
		return errors.Join(fmt.Errorf("%s is longer than the %d bytes it should have", w.name, limit), file.Truncate(0))
	case err == nil && (w.size == 0 || body.done == w.size):
		return nil
	case err == nil:
		err = io.ErrUnexpectedEOF
	case errors.Is(context.Cause(ctx), stalled):
		err = stalled
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return passing{fmt.Errorf("%s broke off after %d of %d bytes: %w; run again to go on from there", w.name, body.done, total, bareURL(err))}
}

// meter counts what is read and keeps the reader's error, to tell it from the writer's.
type meter struct {
	r      io.Reader
	done   int64
	err    error
	report func(done int64)
}

func (m *meter) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.done += int64(n)
	if err != nil && err != io.EOF {
		m.err = err
	}
	m.report(m.done)
	return n, err
}

func fileSize(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

func megabytes(n int64) string {
	if n == 0 {
		return "some"
	}
	return fmt.Sprintf("%d MB", (n+999_999)/1_000_000)
}
