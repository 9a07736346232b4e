package plugin

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// fromPath installs a file that the user has: a library, a wheel, go-xla's archive, or a folder with one.
func (in *installer) fromPath() (Plugin, error) {
	file := in.From
	info, err := os.Stat(file)
	if err != nil {
		return Plugin{}, fmt.Errorf("--from: %w", err)
	}
	if info.IsDir() {
		if file, err = in.onlyCandidate(file); err != nil {
			return Plugin{}, fmt.Errorf("--from %s: %w", in.From, err)
		}
	}
	from := origin{source: "file " + filepath.Base(file)}
	_, from.version, _ = parseName(filepath.Base(file))
	entry, want := "", ""
	for _, w := range wheels {
		if filepath.Base(file) != w.file {
			continue
		}
		// A pinned wheel's name promises its content.
		sum, err := sumFile(file)
		if err == nil && sum != w.sha256 {
			err = fmt.Errorf("%w: its sha256 is %s, want %s; rename it if it is meant to be another", errWrongSum, sum, w.sha256)
		}
		if err != nil {
			return Plugin{}, fmt.Errorf("--from %s: %w", file, err)
		}
		entry, want = w.entry, w.pluginSHA256
	}
	if err := in.checkLibrary(file); err != nil {
		return Plugin{}, fmt.Errorf("--from %s: %w", file, err)
	}
	p, err := in.placeFile(file, entry, want, from)
	if err != nil {
		return Plugin{}, fmt.Errorf("--from %s: %w", file, err)
	}
	return in.recognise(p)
}

// checkLibrary refuses a library that is no plugin of the kind that is asked for, before it is copied.
func (in *installer) checkLibrary(file string) error {
	if isArchive(file) {
		return nil // its member is checked when it is out
	}
	cuda := strings.Contains(filepath.Base(file), "cuda")
	switch {
	case cuda && in.Kind == CPU:
		return errors.New("by its name a plugin for CUDA; add --cuda")
	case !cuda && in.Kind == CUDA:
		return errors.New("its name has no cuda in it: is it a plugin for CUDA? Rename it, or leave out --cuda")
	}
	return Check(file)
}

// recognise gives a plugin whose sum is pinned its right origin.
func (in *installer) recognise(p Plugin) (Plugin, error) {
	w, known := wheelOfPlugin(p.SHA256)
	if !known {
		in.notice("the plugin's sha256 %s is none that this program knows", p.SHA256)
		return p, nil
	}
	p.Source, p.Version = w.source(), w.version
	return p, writeRecord(p)
}

// onlyCandidate returns the one file of a folder that may be or hold a plugin. Of several, one of a pinned
// wheel's name is taken.
func (in *installer) onlyCandidate(dir string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", bare(err)
	}
	var names []string
	for _, e := range entries {
		name := e.Name()
		if kind, _, ok := parseName(name); (ok && kind == in.Kind) || in.looksLikePlugin(name) || isArchive(name) {
			names = append(names, name)
		}
		for _, w := range wheels {
			if name == w.file && in.Kind == CPU {
				return filepath.Join(dir, name), nil
			}
		}
	}
	switch len(names) {
	case 0:
		return "", errors.New("no library with a plugin's name, wheel or .tar.gz in it")
	case 1:
		return filepath.Join(dir, names[0]), nil
	default:
		return "", fmt.Errorf("%d files could be meant, name one: %s", len(names), strings.Join(names, ", "))
	}
}
