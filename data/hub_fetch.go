package data

import (
	"cmp"
	"context"
	"crypto/sha1" // what git names its blobs by
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/gofrs/flock"

	"github.com/deeplora/deeplora/internal/fetch"
	"github.com/deeplora/deeplora/internal/table"
)

// This file is the hub's network side; the transfers are internal/fetch's (docs/decisions/0010-hub.md).

const maxListing = 64 << 20 // bytes of a repository's listing

// mostOf is how many bytes a file of this name may have, whatever the hub states: beyond any of its kind, and a
// bound on what one that lies can make of a disk.
func (w hubWant) mostOf(name string) int64 {
	switch {
	case path.Ext(name) == ".safetensors":
		return 64 << 30
	case w.dataset && table.Format(name) != "":
		return maxTable
	default: // JSON and word lists
		return maxTokenizerFile
	}
}

// hubPatience is how long a hub may keep us waiting. Less in tests.
var hubPatience = fetch.Options{
	Dial: 15 * time.Second, Answer: time.Minute, Stall: time.Minute,
	Pause: time.Second, Tries: 5,
}

type hubClient struct {
	*hubRepo
	client *fetch.Client
}

func newHubClient(r *hubRepo) *hubClient { return &hubClient{r, fetch.New(hubPatience)} }

func (c *hubClient) close() { c.client.CloseIdleConnections() }

// header carries the token, which is the endpoint's alone.
func (c *hubClient) header() http.Header {
	if c.opt.Token == "" {
		return nil
	}
	return http.Header{"Authorization": {"Bearer " + c.opt.Token}}
}

// unreachableError says that no answer came at all: then the cache may serve.
type unreachableError struct{ *fetch.NoReplyError }

func (e unreachableError) Error() string {
	return fmt.Sprintf("%s cannot be reached: %v", e.Host, e.Err)
}

// explain says what an error of a transfer means where the server is a hub.
func explain(err error) error {
	var none *fetch.NoReplyError
	var status *fetch.StatusError
	var wrong *fetch.SumError
	var disk *fs.PathError
	switch {
	case errors.As(err, &none):
		return unreachableError{none}
	case errors.As(err, &status):
		return statusFault(status)
	case errors.As(err, &wrong):
		return fmt.Errorf("what came has hash %s, the hub states %s; try again, or another mirror", wrong.Got, wrong.Want)
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("cache: %w; free some space, or name another folder with --cache", err)
	case errors.As(err, &disk):
		return fmt.Errorf("cache: %w", err)
	default:
		return err
	}
}

func statusFault(e *fetch.StatusError) error {
	status := fmt.Sprintf("the hub answers %d %s", e.Code, http.StatusText(e.Code))
	switch e.Code {
	case http.StatusUnauthorized, http.StatusNotFound:
		return errors.New(status + ": no such repository, revision or file, or a private one; check the name, or set HF_TOKEN")
	case http.StatusForbidden:
		return errors.New(status + ": accept its terms on the hub's page, then set HF_TOKEN")
	case http.StatusTooManyRequests:
		if e.RetryAfter > 0 {
			return fmt.Errorf("%s: try again in %v, or set HF_TOKEN", status, e.RetryAfter)
		}
		return errors.New(status + ": try again later, or set HF_TOKEN")
	default:
		return errors.New(status)
	}
}

// listing is what the hub says of a repository at a revision.
type listing struct {
	Commit string     `json:"sha"`
	Files  []*hubFile `json:"siblings"`
}

// hubFile is a file of a listing.
type hubFile struct {
	Name   string `json:"rfilename"`
	Size   int64  `json:"size"`
	BlobID string `json:"blobId"` // git's SHA-1
	LFS    *struct {
		SHA256 string `json:"sha256"`
		Size   int64  `json:"size"`
	} `json:"lfs"` // of large files
}

// list asks which commit the revision is and what it holds. Names that would lead out of the cache are
// refused, wanted or not.
func (c *hubClient) list(ctx context.Context) (*listing, error) {
	address := fmt.Sprintf("%s/api/%s/%s/revision/%s?blobs=true", c.opt.Endpoint, c.want.kind(), c.info.Repo, url.PathEscape(c.info.Revision))
	content, _, err := c.client.Page(ctx, address, c.header(), maxListing)
	if err != nil {
		return nil, explain(err)
	}
	var l listing
	if err := json.Unmarshal(content, &l); err != nil {
		return nil, fmt.Errorf("its listing is not what a hub gives: %w", err)
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

func nameOf(f *hubFile) string {
	if f == nil {
		return ""
	}
	return f.Name
}

// fetchAll brings the named files of a listing into the snapshot.
func (c *hubClient) fetchAll(ctx context.Context, l *listing, names []string) error {
	var absent []*hubFile
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
		if most := c.want.mostOf(f.Name); sizeOf(f) > most {
			return fmt.Errorf("the hub states %d bytes for %s; no such file has more than %d", sizeOf(f), f.Name, most)
		}
		if c.present(f) { // another process was faster
			continue
		}
		if err := c.fetch(ctx, f); err != nil {
			return fmt.Errorf("get %s: %w", f.Name, err)
		}
	}
	return nil
}

func (l *listing) file(name string) *hubFile {
	for _, f := range l.Files {
		if f.Name == name {
			return f
		}
	}
	return nil
}

// present reports whether a file is in the snapshot with the size it should have.
func (c *hubClient) present(f *hubFile) bool {
	info, err := os.Stat(c.path(f))
	return err == nil && info.Mode().IsRegular() && (sizeOf(f) == 0 || info.Size() == sizeOf(f))
}

func (c *hubClient) path(f *hubFile) string {
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
func (c *hubClient) fetch(ctx context.Context, f *hubFile) error {
	blobs := filepath.Join(c.dir, "blobs")
	for _, dir := range []string{blobs, filepath.Dir(c.path(f))} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return fmt.Errorf("cache: %w", err)
		}
	}
	sum := stated(f)
	blob := filepath.Join(blobs, sum.hex)
	if sum.hex != "" && sum.of(blob) {
		return link(blob, c.path(f))
	}
	part := filepath.Join(blobs, cmp.Or(sum.hex, c.partName(f))) + ".deeplora-part"
	if err := c.transfer(ctx, f, sum, part); err != nil {
		return err
	}
	if sum.hex == "" { // a mirror's: the blob is named by the hash that it turns out to have
		got, err := fetch.Sum(part, nil)
		if err != nil {
			return err
		}
		c.info.Notices = append(c.info.Notices, fmt.Sprintf("%s: the hub states no hash; its sha256 is %s", f.Name, got))
		blob = filepath.Join(blobs, got)
	}
	if err := os.Rename(part, blob); err != nil {
		return err
	}
	return link(blob, c.path(f))
}

// partName names the part of a file whose hash is not known.
func (c *hubClient) partName(f *hubFile) string {
	name := sha256.Sum256([]byte(c.info.Commit + "/" + f.Name))
	return hex.EncodeToString(name[:])
}

// transfer fetches a file into part.
func (c *hubClient) transfer(ctx context.Context, f *hubFile, sum checksum, part string) error {
	received, err := c.client.File(ctx, fetch.File{
		URL: c.fileURL(f), Header: c.header(), Size: sizeOf(f), Limit: c.want.mostOf(f.Name), Sum: sum.hex, Hash: sum.hash,
		Progress: func(step fetch.Step, done, total int64) {
			if c.opt.Progress != nil && step == fetch.Transfer {
				c.opt.Progress(f.Name, done, total)
			}
		},
	}, part)
	c.info.Downloaded += received
	if long := (*fetch.TooLongError)(nil); errors.As(err, &long) {
		if sizeOf(f) == 0 {
			return fmt.Errorf("the hub sends more than %d bytes; no such file has more", long.Limit)
		}
		return fmt.Errorf("the hub sends more than the %d bytes it states", long.Limit)
	}
	return explain(err)
}

func (c *hubClient) fileURL(f *hubFile) string {
	prefix := ""
	if c.want.dataset {
		prefix = "datasets/"
	}
	segments := strings.Split(f.Name, "/")
	for i, s := range segments {
		segments[i] = url.PathEscape(s)
	}
	return fmt.Sprintf("%s/%s%s/resolve/%s/%s", c.opt.Endpoint, prefix, c.info.Repo, c.info.Commit, strings.Join(segments, "/"))
}

// sizeOf is the size that the hub states, 0 if it does not.
func sizeOf(f *hubFile) int64 {
	if f.LFS != nil && f.LFS.Size > 0 {
		return f.LFS.Size
	}
	return max(0, f.Size)
}

// checksum is a hash that the hub states: SHA-256 for large files, git's SHA-1 for small ones.
type checksum struct {
	hex  string                     // "" if none is stated
	hash func(size int64) hash.Hash // as fetch takes it
}

var sha256Pattern = regexp.MustCompile(`^[0-9a-f]{64}$`)

func stated(f *hubFile) checksum {
	switch {
	case f.LFS != nil && sha256Pattern.MatchString(f.LFS.SHA256):
		return checksum{hex: f.LFS.SHA256}
	case f.LFS == nil && commitPattern.MatchString(f.BlobID):
		return checksum{f.BlobID, gitHash}
	default:
		return checksum{}
	}
}

// gitHash is what git names a blob of so many bytes by.
func gitHash(size int64) hash.Hash {
	h := sha1.New()
	fmt.Fprintf(h, "blob %d\x00", size)
	return h
}

// of reports whether a file is there and has the hash.
func (c checksum) of(path string) bool {
	got, err := fetch.Sum(path, c.hash)
	return err == nil && got == c.hex
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
