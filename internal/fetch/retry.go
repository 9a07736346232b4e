package fetch

import (
	"context"
	"errors"
	"net/http"
	"strconv"
	"time"
)

// passing is an error that another try may not meet.
type passing struct{ error }

func (e passing) Unwrap() error { return e.error }

// retry repeats try while its faults may pass and something comes, after pauses that double. A server may ask for a
// longer one; whether there is time for it is settled at once, not by waiting.
func (c *Client) retry(ctx context.Context, try func() (brought bool, err error)) error {
	pause, barren := c.Pause, 0
	for n := 1; ; n++ {
		brought, err := try()
		if barren++; brought {
			barren = 0
		}
		if err != nil && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if p := (passing{}); !errors.As(err, &p) || n >= c.Tries || c.Barren > 0 && barren >= c.Barren {
			return err
		}
		wait, allowed := c.pauseAfter(ctx, err, pause)
		if !allowed {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(wait):
			pause *= 2
		}
	}
}

// pauseAfter is how long to wait after a fault: what the server asks for, and no less than pause. It is not allowed
// if that is longer than the options say, or if ctx would end before.
func (c *Client) pauseAfter(ctx context.Context, err error, pause time.Duration) (wait time.Duration, allowed bool) {
	var status *StatusError
	if !errors.As(err, &status) || status.RetryAfter <= pause {
		return pause, true
	}
	longest := c.Wait
	if longest == 0 {
		longest = time.Minute
	}
	end, limited := ctx.Deadline()
	return status.RetryAfter, status.RetryAfter <= longest && (!limited || time.Now().Add(status.RetryAfter).Before(end))
}

// retryAfter reads the header of this name, seconds or a date (RFC 9110, 10.2.3); 0 for neither and for the past.
func retryAfter(h http.Header, now time.Time) time.Duration {
	const most = 1 << 30 // seconds: beyond, a Duration might overflow
	text := h.Get("Retry-After")
	if seconds, err := strconv.ParseUint(text, 10, 64); err == nil {
		return time.Duration(min(seconds, most)) * time.Second
	}
	date, err := http.ParseTime(text)
	if err != nil {
		return 0
	}
	until := min(date.Sub(now), most*time.Second) + time.Second - 1 // up to a whole second
	return max(0, until.Truncate(time.Second))
}
