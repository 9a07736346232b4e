package plugin

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
)

// Kind is what a plugin computes on.
type Kind string

// The kinds of plugins that are used here. Others (TPU, Metal) are passed over.
const (
	CPU  Kind = "cpu"
	CUDA Kind = "cuda"
)

// Remedy is the command that installs a plugin of this kind.
func (k Kind) Remedy() string {
	if k == CUDA {
		return "deeplora engine install --cuda"
	}
	return "deeplora engine install"
}

// Plugin is a plugin on disk.
type Plugin struct {
	Kind     Kind   `json:"kind"`
	Path     string `json:"path"`    // absolute
	Size     int64  `json:"size"`    // bytes
	SHA256   string `json:"sha256"`  // empty until Verify has said that the plugin is sound
	Source   string `json:"source"`  // where it came from; without a record, where it was found
	Version  string `json:"version"` // empty if nothing states it
	Recorded bool   `json:"recorded"`
}

// PathEnv names further folders with plugins, separated as in PATH. go-xla reads the same variable.
const PathEnv = "PJRT_PLUGIN_LIBRARY_PATH"

// systemDir is where plugins for all users are. A variable for tests.
var systemDir = "/usr/local/lib/go-xla"

// pluginName matches the names that go-xla knows plugins by: pjrt_c_api_cpu_plugin.so,
// pjrt_c_api_cpu_v0.114.0_plugin.so, pjrt_c_api_cuda_plugin.so, pjrt-plugin-cuda13.so.
var pluginName = regexp.MustCompile(`^(?:pjrt_c_api_(cpu|cuda)(?:[0-9]+)?(?:_(.+))?_plugin|pjrt[-_]plugin[-_](cpu|cuda)(?:[0-9]+)?(?:[-_](.+))?)\.(?:so|dylib)$`)

var versionName = regexp.MustCompile(`^v?[0-9]`)

// Find returns the plugins on this machine in the order in which they are preferred, of one kind or, with
// "", of both. It opens none of them and reads no more than their records. None at all is no error; a
// folder that exists and cannot be read is.
func Find(kind Kind) ([]Plugin, error) {
	var found []Plugin
	var files []os.FileInfo // of found, to take a file met under two names once
	for _, place := range places() {
		plugins, err := place.plugins(kind)
		if err != nil {
			return nil, fmt.Errorf("engine: look for plugins in %s: %w", place.what, err)
		}
		for _, p := range plugins {
			info, err := os.Stat(p.Path)
			if err != nil || slices.ContainsFunc(files, func(f os.FileInfo) bool { return os.SameFile(f, info) }) {
				continue // a link to nowhere, or to what we have
			}
			p.Size = info.Size()
			found, files = append(found, p), append(files, info)
		}
	}
	return found, nil
}

// First returns the plugin of a kind that comes first, if there is any.
func First(plugins []Plugin, kind Kind) (Plugin, bool) {
	i := slices.IndexFunc(plugins, func(p Plugin) bool { return p.Kind == kind })
	if i < 0 {
		return Plugin{}, false
	}
	return plugins[i], true
}

// place is a folder where plugins may be.
type place struct {
	dir, what string
	recorded  bool // only plugins with a record
}

// places are all folders, the preferred first. go-xla puts CUDA's plugin into a folder nvidia of its own.
func places() []place {
	var all []place
	user, err := userDir()
	if err == nil {
		all = append(all, place{user, user, true}, place{filepath.Join(user, "nvidia"), user, true})
	}
	for _, dir := range filepath.SplitList(os.Getenv(PathEnv)) {
		if abs, err := filepath.Abs(dir); dir != "" && err == nil {
			all = append(all, place{abs, PathEnv, false})
		}
	}
	for _, dir := range []string{user, systemDir} {
		if dir != "" {
			all = append(all, place{dir, dir, false}, place{filepath.Join(dir, "nvidia"), dir, false})
		}
	}
	return all
}

// userDir is where go-xla's own installer puts plugins of one user, and where Install puts them.
func userDir() (string, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("no home directory to install into: %w", err)
	}
	if runtime.GOOS == "darwin" {
		return filepath.Join(home, "Library", "Application Support", "go-xla"), nil
	}
	return filepath.Join(home, ".local", "lib", "go-xla"), nil
}

// plugins lists what one folder has: files before links to them, then names without a version before
// those with one, then the highest version.
func (pl place) plugins(kind Kind) ([]Plugin, error) {
	entries, err := os.ReadDir(pl.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(entries, compareEntries)
	var found []Plugin
	for _, e := range entries {
		k, version, ok := parseName(e.Name())
		if !ok || (kind != "" && k != kind) {
			continue
		}
		p := Plugin{Kind: k, Path: filepath.Join(pl.dir, e.Name()), Source: "found in " + pl.what, Version: version}
		// An unreadable record counts as one: Verify says what is wrong with it.
		if r, err := readRecord(p.Path); !errors.Is(err, fs.ErrNotExist) {
			p.Recorded, p.Source, p.Version = true, r.Source, r.Version
		}
		if p.Recorded || !pl.recorded {
			found = append(found, p)
		}
	}
	return found, nil
}

// parseName reads kind and version out of a plugin's file name.
func parseName(name string) (kind Kind, version string, ok bool) {
	m := pluginName.FindStringSubmatch(name)
	if m == nil {
		return "", "", false
	}
	if version = m[2] + m[4]; !versionName.MatchString(version) {
		version = ""
	}
	return Kind(m[1] + m[3]), version, true
}

func compareEntries(a, b fs.DirEntry) int {
	if aLink, bLink := a.Type()&fs.ModeSymlink != 0, b.Type()&fs.ModeSymlink != 0; aLink != bLink {
		if aLink {
			return 1
		}
		return -1
	}
	_, aVersion, _ := parseName(a.Name())
	_, bVersion, _ := parseName(b.Name())
	switch {
	case aVersion == bVersion:
		return strings.Compare(a.Name(), b.Name())
	case aVersion == "":
		return -1
	case bVersion == "":
		return 1
	default:
		return compareVersions(bVersion, aVersion)
	}
}

// compareVersions orders v0.98.0 before v0.114.0: runs of digits by their value, the rest as text.
func compareVersions(a, b string) int {
	for a != "" && b != "" {
		aNumber, aRest := leadingDigits(a)
		bNumber, bRest := leadingDigits(b)
		if aNumber == "" || bNumber == "" {
			if a[0] != b[0] {
				return strings.Compare(a, b)
			}
			a, b = a[1:], b[1:]
			continue
		}
		// Of two numbers without leading zeros the longer is the greater.
		if c := len(aNumber) - len(bNumber); c != 0 {
			return c
		}
		if c := strings.Compare(aNumber, bNumber); c != 0 {
			return c
		}
		a, b = aRest, bRest
	}
	return len(a) - len(b)
}

func leadingDigits(s string) (digits, rest string) {
	rest = strings.TrimLeft(s, "0123456789")
	digits = s[:len(s)-len(rest)]
	if digits == "" {
		return "", s
	}
	if digits = strings.TrimLeft(digits, "0"); digits == "" {
		digits = "0"
	}
	return digits, rest
}
