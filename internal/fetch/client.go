package fetch

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Options are the time limits and the numbers of tries.
type Options struct {
	Dial   time.Duration // limit for opening a connection, and again for TLS
	Answer time.Duration // limit for the headers of a reply
	Stall  time.Duration // longest wait for the next byte of a body
	Pause  time.Duration // before the second try; doubles with each further one
	Wait   time.Duration // longest pause that a server may ask for; 0: a minute
	Tries  int           // most tries for a page or a file
	Barren int           // most tries in a row that bring no new bytes; 0: Tries
}

// Client asks servers. New makes one; its options may change between calls, but for Dial and Answer.
type Client struct {
	Options
	http http.Client
}

// New returns a client that uses the environment's proxies. It keeps connections: CloseIdleConnections ends
// them.
func New(o Options) *Client {
	transport := &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           (&net.Dialer{Timeout: o.Dial}).DialContext,
		TLSHandshakeTimeout:   o.Dial,
		ResponseHeaderTimeout: o.Answer,
		IdleConnTimeout:       90 * time.Second,
		ForceAttemptHTTP2:     true,
	}
	return &Client{o, http.Client{Transport: transport, CheckRedirect: checkRedirect}}
}

// CloseIdleConnections closes the connections that are kept for further requests.
func (c *Client) CloseIdleConnections() { c.http.CloseIdleConnections() }

// Page returns what is at an address, at most limit bytes, and the address that redirects have led to. It
// asks again after 429, 5xx and a body that breaks off; a server that does not answer is a *NoReplyError at
// once, another status than 200 a *StatusError.
func (c *Client) Page(ctx context.Context, address string, header http.Header, limit int64) (content []byte, at *url.URL, err error) {
	err = c.retry(ctx, func() (brought bool, err error) {
		content, at, err = c.page(ctx, address, header, limit)
		return false, err
	})
	return content, at, err
}

func (c *Client) page(ctx context.Context, address string, header http.Header, limit int64) ([]byte, *url.URL, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	resp, err := c.get(ctx, address, header)
	if err != nil {
		return nil, nil, err
	}
	body := newWatched(ctx, resp.Body, c.Stall, cancel, nil)
	defer body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, nil, statusFault(resp)
	}
	content, err := io.ReadAll(io.LimitReader(body, limit+1))
	if err != nil {
		return nil, nil, passing{fmt.Errorf("read %s: %w", shown(resp.Request.URL), err)}
	}
	if int64(len(content)) > limit {
		return nil, nil, fmt.Errorf("%s: %w", shown(resp.Request.URL), &TooLongError{limit})
	}
	return content, resp.Request.URL, nil
}

// RoundTrip is for a library that needs an http.RoundTripper: no redirects and no retries, but c's time limits and
// its error for a server that does not answer.
func (c *Client) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := c.http.Transport.RoundTrip(req)
	if err != nil {
		return nil, noReply(req.URL, err)
	}
	return resp, nil
}

// get asks for an address. The reply may have any status; its body is the caller's to close.
func (c *Client) get(ctx context.Context, address string, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, fmt.Errorf("not an address: %w", errors.Unwrap(err)) // url.Error would show a password
	}
	maps.Copy(req.Header, header)
	req.Header.Set("User-Agent", "deeplora")
	resp, err := c.http.Do(req)
	switch {
	case err == nil:
		return resp, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	default:
		return nil, noReply(req.URL, err)
	}
}

// redirectFault is a redirect that is not followed.
type redirectFault string

func (e redirectFault) Error() string { return string(e) }

// checkRedirect follows ten redirects and never from https to http. What identifies the user goes to the host
// it was meant for alone: net/http would also show it to another port and to subdomains. Nor does the next
// host learn the address it was sent from, which may be signed.
func checkRedirect(req *http.Request, via []*http.Request) error {
	switch from := via[len(via)-1].URL; {
	case len(via) >= 10:
		return redirectFault("stopped after 10 redirects")
	case from.Scheme == "https" && req.URL.Scheme != "https":
		return redirectFault("redirected from https to " + req.URL.Scheme)
	}
	req.Header.Del("Referer")
	if slices.ContainsFunc(via, func(v *http.Request) bool { return v.URL.Host != req.URL.Host }) {
		req.Header.Del("Authorization")
		req.Header.Del("Cookie")
	}
	return nil
}

// NoReplyError says that a request brought no reply.
type NoReplyError struct {
	Host string // that was asked last
	Err  error  // why, without the address

	address string // empty if no connection came about: then the host is all that matters
	final   bool   // another try would not do better
}

func (e *NoReplyError) Error() string {
	if e.address == "" {
		return fmt.Sprintf("%s: unreachable: %v", e.Host, e.Err)
	}
	return fmt.Sprintf("%s: %v", e.address, e.Err)
}

func (e *NoReplyError) Unwrap() error { return e.Err }

// noReply describes a request for u that brought no reply.
func noReply(u *url.URL, err error) error {
	if last := (*url.Error)(nil); errors.As(err, &last) {
		if at, parseErr := url.Parse(last.URL); parseErr == nil { // not u after a redirect
			u = at
		}
		err = last.Err
	}
	e := &NoReplyError{Host: u.Host, Err: err, address: shown(u)}
	if op := (*net.OpError)(nil); errors.As(err, &op) && (op.Op == "dial" || op.Op == "proxyconnect") {
		e.Err, e.address = op.Err, ""
	}
	if cert := (*tls.CertificateVerificationError)(nil); errors.As(err, &cert) {
		e.Err, e.final = fmt.Errorf("%w; set SSL_CERT_FILE to your network's certificates", err), true
	}
	if redirect := redirectFault(""); errors.As(err, &redirect) {
		e.final = true
	}
	return e
}

// StatusError is a reply that is not what was asked for.
type StatusError struct {
	Code       int
	RetryAfter time.Duration // what the server asks to be left alone for; 0: nothing

	address string
}

// Error has the standard words for the code, not the server's, which may be any bytes.
func (e *StatusError) Error() string {
	text := strings.TrimSpace(fmt.Sprintf("%s answers %d %s", e.address, e.Code, http.StatusText(e.Code)))
	if e.RetryAfter > 0 {
		text += fmt.Sprintf(" and asks to be left alone for %v", e.RetryAfter)
	}
	return text
}

func statusFault(resp *http.Response) error {
	e := &StatusError{resp.StatusCode, retryAfter(resp.Header, time.Now()), shown(resp.Request.URL)}
	if e.Code == http.StatusTooManyRequests || e.Code >= 500 {
		return passing{e}
	}
	return e
}

// shown is an address as an error may show it.
func shown(u *url.URL) string {
	v := *u
	if v.RawQuery != "" {
		v.RawQuery = "…"
	}
	return v.Redacted()
}
