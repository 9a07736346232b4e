package plugin

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"syscall"
	"time"

	"github.com/deeplora/deeplora/internal/fetch"
)

// usual is how long the network may keep us waiting. In a closed network whose firewall swallows packets, the
// release costs releasePatience, the index Dial. Two tries without a byte are enough: there is another source.
var usual = fetch.Options{
	Dial: 5 * time.Second, Answer: 20 * time.Second, Stall: 30 * time.Second,
	Pause: time.Second, Tries: 5, Barren: 2,
}

// releasePatience is for the whole answer about go-xla's release.
const releasePatience = 5 * time.Second

// wanted is a file to download.
type wanted struct {
	url    *url.URL
	name   string // for progress and errors
	size   int64  // bytes; 0 if not known
	sha256 string // empty if not known
}

// maxDownload bounds files of unknown size.
const maxDownload = 2 << 30

var errWrongSum = errors.New("not the file that was asked for")

// download fetches a file into path, as fetch.File does: what an earlier call has left there is not fetched
// again, and the file's sum is right when there is no error.
func (in *installer) download(ctx context.Context, w wanted, path string) error {
	_, err := in.client.File(ctx, fetch.File{
		URL: w.url.String(), Size: w.size, Limit: maxDownload, Sum: w.sha256,
		Progress: func(step fetch.Step, done, total int64) { in.progress(string(step)+" "+w.name, done, total) },
	}, path)
	wrong := (*fetch.SumError)(nil)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &wrong):
		return fmt.Errorf("%w: %s has sha256 %s, want %s", errWrongSum, w.name, wrong.Got, wrong.Want)
	case errors.Is(err, syscall.ENOSPC):
		return fmt.Errorf("no space left for %s; free %s there, or name another folder with --cache: %w", path, megabytes(w.size), err)
	default:
		return fmt.Errorf("%s: %w", w.name, err)
	}
}

func megabytes(n int64) string {
	if n == 0 {
		return "some"
	}
	return fmt.Sprintf("%d MB", (n+999_999)/1_000_000)
}
