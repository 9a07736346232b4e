package plugin

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/deeplora/deeplora/internal/fetch"
)

// This file runs go-xla's CUDA installer, which knows which of NVIDIA's libraries belong together and where
// the plugin looks for them, and mends three of its manners: it begins by deleting the CUDA that is there,
// its requests have neither timeout nor end, and it takes no index but the public one.

var printedVersion = regexp.MustCompile(`Jax version (\S+)`)

func (in *installer) fetchCUDA(ctx context.Context) (Plugin, error) {
	if in.goos != "linux" || in.arch != "amd64" {
		return Plugin{}, fmt.Errorf("CUDA: no plugin for %s/%s", in.goos, in.arch)
	}
	if in.cuda == nil {
		return Plugin{}, errNoXLA
	}
	if !GPUPresent() {
		in.notice("no NVIDIA device is to be seen here; the plugin will not open until there is one")
	}
	nvidia := filepath.Join(in.dir, "nvidia")
	restore, err := setAside(nvidia)
	if err != nil {
		return Plugin{}, fmt.Errorf("CUDA: %w", err)
	}
	printed, err := in.runCUDAInstaller(ctx)
	p := Plugin{Kind: CUDA, Path: filepath.Join(in.dir, goxlaCUDA), Source: "go-xla installer"}
	if err == nil {
		p, err = p.Verify(true)
	}
	if err != nil {
		return Plugin{}, errors.Join(fmt.Errorf("CUDA: go-xla's installer: %w", err), restore(false))
	}
	if m := printedVersion.FindStringSubmatch(printed); m != nil {
		p.Version = m[1]
	}
	p.Source, p.Recorded = "go-xla installer", true
	return p, errors.Join(writeRecord(p), restore(true))
}

// setAside renames a folder so that it can come back. restore deletes it, if what replaced it is good, or
// brings it back. What a process that was killed has set aside comes back first.
func setAside(dir string) (restore func(good bool) error, err error) {
	aside := dir + ".deeplora-before"
	back := func() error {
		if _, err := os.Lstat(aside); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
		return os.Rename(aside, dir)
	}
	if err := back(); err != nil {
		return nil, err
	}
	if err := os.Rename(dir, aside); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	return func(good bool) error {
		if good {
			return os.RemoveAll(aside)
		}
		if err := os.RemoveAll(dir); err != nil { // half an installation
			return err
		}
		return back()
	}, nil
}

// runCUDAInstaller runs go-xla's installer with its printing kept from standard output, which is for
// results, and its requests watched. Both are global to the process while it runs.
func (in *installer) runCUDAInstaller(ctx context.Context) (printed string, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	client := *http.DefaultClient
	http.DefaultClient.Transport = &watched{in: in, ctx: ctx, cancel: cancel}
	defer func() { *http.DefaultClient = client }()
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v", v)
		}
		if ctx.Err() != nil && err != nil {
			err = context.Cause(ctx)
		}
	}()
	return in.cuda(in.dir)
}

// watched is a transport that ends with its context and when no data comes, reports progress, and resolves
// addresses relative to the page they were read from, as mirrors give them. Pages of the public index are
// asked of the index that is set.
type watched struct {
	in     *installer
	ctx    context.Context
	cancel context.CancelCauseFunc
	page   *url.URL // the last one of the index
}

func (t *watched) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(t.ctx)
	switch {
	case !req.URL.IsAbs() && t.page != nil:
		req.URL = t.page.ResolveReference(req.URL)
		req.Host = ""
	case req.URL.Host == "pypi.org" && strings.HasSuffix(req.URL.Path, "/json") && t.in.index != nil:
		// …/simple has its sibling …/pypi/<project>/json.
		project := path.Base(path.Dir(req.URL.Path))
		req.URL = t.in.index.JoinPath("..", "pypi", project, "json")
		req.Host, t.page = "", req.URL
	}
	if t.page != nil {
		inheritUser(req.URL, t.page)
	}
	if user := req.URL.User; user != nil && req.Header.Get("Authorization") == "" {
		password, _ := user.Password()
		req.SetBasicAuth(user.Username(), password)
	}
	resp, err := t.in.client.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 400 { // the installer would take an error's page for what it asked for
		resp.Body.Close()
		return nil, fmt.Errorf("%s answers %s", req.URL.Redacted(), resp.Status)
	}
	phase := "fetch " + path.Base(req.URL.Path)
	if req.URL == t.page {
		phase = "ask for " + path.Base(path.Dir(req.URL.Path))
	}
	resp.Body = t.watch(resp, phase)
	return resp, nil
}

func (t *watched) watch(resp *http.Response, phase string) io.ReadCloser {
	cancel := func(err error) { t.cancel(fmt.Errorf("%s: %w", phase, err)) }
	total := max(0, resp.ContentLength)
	return fetch.Watch(t.ctx, resp.Body, t.in.client.Stall, cancel, func(done int64) { t.in.progress(phase, done, total) })
}

// GPUPresent reports whether the system shows a GPU of NVIDIA's. Whether it answers, opening the plugin
// tells.
func GPUPresent() bool {
	for _, pattern := range []string{"/dev/nvidia[0-9]*", "/dev/dxg"} { // the second: Linux inside Windows
		if found, _ := filepath.Glob(pattern); len(found) > 0 {
			return true
		}
	}
	return false
}
