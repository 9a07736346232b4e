package data

import (
	"context"
	"crypto/sha1" // what git names its blobs by
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"github.com/gomlx/go-huggingface/hub"
)

// This file is the hub's network side. go-huggingface gives the protocol's types and names; transfers
// are our own, since its own take a broken one for a whole one (docs/decisions/0010-hub.md).

const (
	maxListing  = 64 << 20 // bytes of a repository's listing
	tries       = 5        // of a transfer; each goes on where the last one ended
	dialTimeout = 15 * time.Second
)

// stallAfter is how long nothing may come before a transfer counts as broken; shorter in tests.
var stallAfter = 60 * time.Second

var errTooLong = errors.New("too long")

// firstPause is the pause before the second try; it doubles from one to the next. Shorter in tests.
var firstPause = time.Second

// unreachableError says that no answer came at all.
type unreachableError struct {
	host string
	err  error
}

func (e *unreachableError) Error() string {
	return fmt.Sprintf("%s cannot be reached: %v", e.host, e.err)
}
func (e *unreachableError) Unwrap() error { return e.err }

// brokenError says that another try may succeed.
type brokenError struct{ err error }

func (e *brokenError) Error() string { return e.err.Error() }
func (e *brokenError) Unwrap() error { return e.err }

type hubClient struct {
	*hubRepo
	http http.Client
}

func newHubClient(r *hubRepo) *hubClient {
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: dialTimeout}).DialContext,
		TLSHandshakeTimeout:   dialTimeout,
		ResponseHeaderTimeout: stallAfter,
		ForceAttemptHTTP2:     true,
	}
	return &hubClient{r, http.Client{Transport: transport, CheckRedirect: checkRedirect}}
}

func (c *hubClient) close() { c.http.CloseIdleConnections() }

// checkRedirect lets a hub send us to where it stores files, without the token, which is the hub's
// alone, and never from https to http.
func checkRedirect(req *http.Request, via []*http.Request) error {
	last := via[len(via)-1]
	switch {
	case len(via) >= 10:
		return errors.New("ten redirects")
	case last.URL.Scheme == "https" && req.URL.Scheme != "https":
		return errors.New("redirected from https to " + req.URL.Scheme)
	}
	if req.URL.Host != via[0].URL.Host {
		req.Header.Del("Authorization")
	}
	return nil
}

// listing is what the hub says of a repository at a revision.
type listing struct {
	Commit string          `json:"sha"`
	Files  []*hub.FileInfo `json:"siblings"`
}

// list asks which commit the revision is and what it holds. Names that would lead out of the cache are
// refused, wanted or not.
func (c *hubClient) list(ctx context.Context) (*listing, error) {
	kind := hub.RepoTypeModel
	if c.want.Dataset {
		kind = hub.RepoTypeDataset
	}
	address := fmt.Sprintf("%s/api/%s/%s/revision/%s?blobs=true", c.opt.Endpoint, kind, c.info.Repo, url.PathEscape(c.info.Revision))
	var l listing
	err := c.retry(ctx, func() error {
		resp, err := c.get(ctx, address, 0)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		content, err := io.ReadAll(io.LimitReader(resp.Body, maxListing)) // cut off, it is no JSON
		if err != nil {
			return &brokenError{bareURL(err)}
		}
		if err := json.Unmarshal(content, &l); err != nil {
			return fmt.Errorf("its listing is not what a hub gives: %w", err)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	if !commitPattern.MatchString(l.Commit) {
		return nil, fmt.Errorf("its listing names %.60q as the commit; want 40 hexadecimal digits", l.Commit)
	}
	for _, f := range l.Files {
		if f == nil || !safeName(f.Name) {
			return nil, fmt.Errorf("its listing has a file with an unsafe name, %q", nameOf(f))
		}
	}
	return &l, nil
}

func nameOf(f *hub.FileInfo) string {
	if f == nil {
		return ""
	}
	return f.Name
}

// get sends a request from an offset on. A reply other than 200 or 206 is an error that says what
// to do about it.
func (c *hubClient) get(ctx context.Context, address string, offset int64) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, bareURL(err)
	}
	req.Header.Set("User-Agent", "deeplora")      // the library's would carry an id of the session
	req.Header.Set("Accept-Encoding", "identity") // offsets count the file's bytes, not a coding's
	if c.opt.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.opt.Token)
	}
	if offset > 0 {
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", offset))
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, &unreachableError{req.URL.Host, bareURL(err)}
	}
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusPartialContent {
		return resp, nil
	}
	resp.Body.Close()
	return nil, statusFault(resp.StatusCode)
}

func statusFault(code int) error {
	status := fmt.Sprintf("the hub answers %d %s", code, http.StatusText(code))
	switch {
	case code == http.StatusUnauthorized || code == http.StatusNotFound:
		return errors.New(status + ": no such repository, revision or file, or a private one; check the name, or set HF_TOKEN")
	case code == http.StatusForbidden:
		return errors.New(status + ": accept its terms on the hub's page, then set HF_TOKEN")
	case code == http.StatusTooManyRequests || code >= 500:
		return &brokenError{errors.New(status)}
	default:
		return errors.New(status)
	}
}

// bareURL takes the address out of an error: the addresses of a hub's store carry signatures.
func bareURL(err error) error {
	if u := (*url.Error)(nil); errors.As(err, &u) {
		return u.Err
	}
	return err
}

// retry repeats try while it breaks in a way that may pass. A hub out of reach is not one: the cache may
// serve at once.
func (c *hubClient) retry(ctx context.Context, try func() error) error {
	pause := firstPause
	for n := 1; ; n++ {
		err := try()
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if broken := (*brokenError)(nil); !errors.As(err, &broken) || n == tries {
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

// fetchAll brings the named files of a listing into the snapshot.
func (c *hubClient) fetchAll(ctx context.Context, l *listing, names []string) error {
	var absent []*hub.FileInfo
	for _, name := range names {
		f := l.file(name)
		if f == nil {
			return fmt.Errorf("no %s, which %s names", name, safetensorsIndex)
		}
		if !c.present(f) {
			absent = append(absent, f)
		}
	}
	if len(absent) == 0 {
		return nil // without a lock, so that a read-only cache will do
	}
	unlock, err := c.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	for _, f := range absent {
		if c.present(f) { // another process was faster
			continue
		}
		if err := c.fetch(ctx, f); err != nil {
			return fmt.Errorf("get %s: %w", f.Name, err)
		}
	}
	return nil
}

func (l *listing) file(name string) *hub.FileInfo {
	for _, f := range l.Files {
		if f.Name == name {
			return f
		}
	}
	return nil
}

// present reports whether a file is in the snapshot with the size it should have.
func (c *hubClient) present(f *hub.FileInfo) bool {
	info, err := os.Stat(c.path(f))
	return err == nil && info.Mode().IsRegular() && (sizeOf(f) == 0 || info.Size() == sizeOf(f))
}

func (c *hubClient) path(f *hub.FileInfo) string {
	return filepath.Join(c.snapshot(), filepath.FromSlash(f.Name))
}

// lock waits until no other process of ours fetches files of this repository.
func (c *hubClient) lock(ctx context.Context) (func(), error) {
	dir := filepath.Join(c.cacheDir, ".locks", filepath.Base(c.dir))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("cache: %w", err)
	}
	lock := flock.New(filepath.Join(dir, "deeplora.lock"))
	if _, err := lock.TryLockContext(ctx, 100*time.Millisecond); err != nil {
		return nil, fmt.Errorf("lock the cache: %w", err)
	}
	return func() { _ = lock.Close() }, nil
}

// fetch brings one file into the cache: a blob named by its hash, and a link to it in the snapshot.
func (c *hubClient) fetch(ctx context.Context, f *hub.FileInfo) error {
	blobs := filepath.Join(c.dir, "blobs")
	for _, dir := range []string{blobs, filepath.Dir(c.path(f))} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("cache: %w", err)
		}
	}
	sum := stated(f)
	if sum.hex == "" {
		return c.fetchUnstated(ctx, f, blobs)
	}
	blob := filepath.Join(blobs, sum.hex)
	if sum.check(blob) != nil {
		part := blob + ".deeplora-part"
		if err := c.transferChecked(ctx, f, part, sum); err != nil {
			return err
		}
		if err := os.Rename(part, blob); err != nil {
			return err
		}
	}
	return link(blob, c.path(f))
}

// transferChecked fetches a file whose hash the hub states. A part of an earlier call that was not of
// this file shows in the hash: then once more from nothing.
func (c *hubClient) transferChecked(ctx context.Context, f *hub.FileInfo, part string, sum checksum) error {
	for again := range 2 {
		if err := c.retry(ctx, func() error { return c.transfer(ctx, f, part) }); err != nil {
			return err
		}
		err := sum.check(part)
		if err == nil {
			return nil
		}
		if removeErr := os.Remove(part); removeErr != nil || again == 1 {
			return errors.Join(err, removeErr)
		}
	}
	return nil
}

// fetchUnstated fetches from a mirror that states no hash: there is no telling whether a part of it is
// of the same content, so it starts from nothing, and the blob is named by the hash that it turns
// out to have.
func (c *hubClient) fetchUnstated(ctx context.Context, f *hub.FileInfo, blobs string) error {
	name := sha256.Sum256([]byte(c.info.Commit + "/" + f.Name))
	part := filepath.Join(blobs, hex.EncodeToString(name[:])+".deeplora-part")
	err := c.retry(ctx, func() error {
		if err := os.Remove(part); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		return c.transfer(ctx, f, part)
	})
	if err != nil {
		return err
	}
	sum, err := sumFile(part, sha256.New(), "")
	if err != nil {
		return err
	}
	c.info.Notices = append(c.info.Notices, fmt.Sprintf("%s: the hub states no hash; its sha256 is %s", f.Name, sum))
	blob := filepath.Join(blobs, sum)
	if err := os.Rename(part, blob); err != nil {
		return err
	}
	return link(blob, c.path(f))
}

// transfer appends what is missing of a file to part and syncs it.
func (c *hubClient) transfer(ctx context.Context, f *hub.FileInfo, part string) (err error) {
	file, err := os.OpenFile(part, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return fmt.Errorf("cache: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	offset, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	switch size := sizeOf(f); {
	case size > 0 && offset == size:
		return file.Sync() // whole already: its hash will tell
	case size > 0 && offset > size: // never ours
		if err := file.Truncate(0); err != nil {
			return err
		}
		offset = 0
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stall := time.AfterFunc(stallAfter, func() { cancel(fmt.Errorf("no data for %v", stallAfter)) })
	defer stall.Stop()
	resp, err := c.get(ctx, c.fileURL(f), offset)
	if unreachable := (*unreachableError)(nil); errors.As(err, &unreachable) {
		return &brokenError{err}
	} else if err != nil {
		return err
	}
	defer resp.Body.Close()
	if offset, err = startOf(resp, file, offset); err != nil {
		return err
	}
	body := &meter{ctx: ctx, r: resp.Body, client: c, file: f.Name, done: offset, total: totalOf(f, resp, offset), stall: stall}
	if _, err := io.Copy(file, body); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return c.broken(body, err)
	}
	if body.total > 0 && body.done != body.total {
		return c.broken(body, io.ErrUnexpectedEOF)
	}
	return file.Sync()
}

// broken describes a transfer that ended early. Errors of the disk are not the network's: no further
// try would help.
func (c *hubClient) broken(m *meter, err error) error {
	if disk := (*os.PathError)(nil); errors.As(err, &disk) {
		return fmt.Errorf("cache: %w", err)
	}
	if errors.Is(err, errTooLong) {
		return fmt.Errorf("the hub sends more than the %d bytes it states", m.total)
	}
	return &brokenError{fmt.Errorf("it broke off after %d of %d bytes: %w; run again to go on from there", m.done, m.total, bareURL(err))}
}

func (c *hubClient) fileURL(f *hub.FileInfo) string {
	prefix := ""
	if c.want.Dataset {
		prefix = "datasets/"
	}
	segments := strings.Split(f.Name, "/")
	for i, s := range segments {
		segments[i] = url.PathEscape(s)
	}
	return fmt.Sprintf("%s/%s%s/resolve/%s/%s", c.opt.Endpoint, prefix, c.info.Repo, c.info.Commit, strings.Join(segments, "/"))
}

// startOf returns where the reply's bytes belong: behind those we have, or, from a server that does
// not know ranges, at the start of an emptied file.
func startOf(resp *http.Response, file *os.File, offset int64) (int64, error) {
	if offset == 0 {
		return 0, nil
	}
	if resp.StatusCode == http.StatusPartialContent && strings.HasPrefix(resp.Header.Get("Content-Range"), fmt.Sprintf("bytes %d-", offset)) {
		return offset, nil
	}
	if err := file.Truncate(0); err != nil {
		return 0, err
	}
	if resp.StatusCode == http.StatusPartialContent { // of another range than asked for
		return 0, &brokenError{fmt.Errorf("the hub sends %q", resp.Header.Get("Content-Range"))}
	}
	return 0, nil
}

// meter counts a transfer's bytes, reports them, refuses more than there should be and keeps the
// stall's alarm from going off while they come.
type meter struct {
	ctx         context.Context // what has arrived already does not delay a cancellation
	r           io.Reader
	client      *hubClient
	file        string
	done, total int64 // bytes of the file; total 0 if unknown
	stall       *time.Timer
}

func (m *meter) Read(p []byte) (int, error) {
	if err := m.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := m.r.Read(p)
	m.stall.Reset(stallAfter)
	m.done += int64(n)
	m.client.info.Downloaded += int64(n)
	if m.total > 0 && m.done > m.total {
		return 0, errTooLong
	}
	if report := m.client.opt.Progress; report != nil && n > 0 {
		report(m.file, m.done, m.total)
	}
	return n, err
}

func totalOf(f *hub.FileInfo, resp *http.Response, offset int64) int64 {
	if size := sizeOf(f); size > 0 {
		return size
	}
	return max(0, resp.ContentLength) + offset
}

// sizeOf is the size that the hub states, 0 if it does not.
func sizeOf(f *hub.FileInfo) int64 {
	if f.LFS != nil && f.LFS.Size > 0 {
		return f.LFS.Size
	}
	return max(0, f.Size)
}

// checksum is a hash that the hub states: SHA-256 for large files, git's SHA-1 for small ones.
type checksum struct {
	hex string // "" if none is stated
	git bool
}

var sha256Pattern = regexp.MustCompile(`^[0-9a-f]{64}$`)

func stated(f *hub.FileInfo) checksum {
	switch {
	case f.LFS != nil && sha256Pattern.MatchString(f.LFS.SHA256):
		return checksum{hex: f.LFS.SHA256}
	case f.LFS == nil && commitPattern.MatchString(f.BlobID):
		return checksum{hex: f.BlobID, git: true}
	default:
		return checksum{}
	}
}

// check compares a file with the hash.
func (c checksum) check(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	h, prefix := sha256.New(), ""
	if c.git {
		h, prefix = sha1.New(), fmt.Sprintf("blob %d\x00", info.Size())
	}
	got, err := sumFile(path, h, prefix)
	if err != nil {
		return err
	}
	if got != c.hex {
		return fmt.Errorf("what came has hash %s, the hub states %s; try again, or another mirror", got, c.hex)
	}
	return nil
}

func sumFile(path string, h hash.Hash, prefix string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	_, _ = io.WriteString(h, prefix) // a hash takes everything
	if _, err := io.Copy(h, file); err != nil {
		return "", err
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}

// link puts a link to a blob into a snapshot, relative as Hugging Face's programs make it, so that a
// cache can be moved; on file systems without links the blob itself.
func link(blob, path string) error {
	target, err := filepath.Rel(filepath.Dir(path), blob)
	if err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if os.Symlink(target, path) == nil {
		return nil
	}
	return os.Rename(blob, path)
}
