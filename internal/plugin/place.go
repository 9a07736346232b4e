package plugin

import (
	"archive/tar"
	"archive/zip"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
)

// This file brings a plugin out of a library, a wheel or go-xla's archive into its place.

const (
	ownName  = "pjrt_c_api_cpu_deeplora_plugin.so" // not go-xla's name, which its installer makes a link of
	goxlaCPU = "pjrt_c_api_cpu_plugin.so"
	// goxlaCUDA is in a folder nvidia because the plugin looks for NVIDIA's libraries in ../nvidia.
	goxlaCUDA = "nvidia/pjrt_c_api_cuda_plugin.so"

	tempPrefix = ".deeplora-"
	maxPlugin  = 4 << 30 // bytes; the largest known, of CUDA, has 411 MB
)

// origin is what a record says of where a plugin came from.
type origin struct{ source, version string }

// placeFile installs the library, wheel or archive at file. entry names the plugin in an archive; with "" it
// is the one member that looks like one. wantSHA256, where not empty, is the plugin's.
func (in *installer) placeFile(file, entry, wantSHA256 string, from origin) (Plugin, error) {
	switch {
	case strings.HasSuffix(file, ".tar.gz"):
		return in.placeFromTar(file, wantSHA256, from)
	case isArchive(file):
		return in.placeFromZip(file, entry, wantSHA256, from)
	}
	f, err := os.Open(file)
	if err != nil {
		return Plugin{}, err
	}
	defer f.Close()
	return in.place(f, fileSize(file), wantSHA256, from)
}

func (in *installer) placeFromZip(file, entry, wantSHA256 string, from origin) (Plugin, error) {
	z, err := zip.OpenReader(file)
	if err != nil {
		return Plugin{}, fmt.Errorf("open %s: %w; is it a whole wheel?", file, bare(err))
	}
	defer z.Close()
	var found []*zip.File
	for _, f := range z.File {
		if f.Name == entry || entry == "" && in.looksLikePlugin(f.Name) {
			found = append(found, f)
		}
	}
	if len(found) != 1 {
		return Plugin{}, fmt.Errorf("%s holds %d files that could be a %s plugin, want one: %s", file, len(found), in.Kind, zipNames(found))
	}
	r, err := found[0].Open()
	if err != nil {
		return Plugin{}, fmt.Errorf("%s: %s: %w", file, found[0].Name, err)
	}
	defer r.Close()
	return in.place(r, int64(min(found[0].UncompressedSize64, maxPlugin+1)), wantSHA256, from)
}

func zipNames(files []*zip.File) string {
	var names []string
	for _, f := range files {
		names = append(names, f.Name)
	}
	return strings.Join(names, ", ")
}

func (in *installer) placeFromTar(file, wantSHA256 string, from origin) (Plugin, error) {
	f, err := os.Open(file)
	if err != nil {
		return Plugin{}, err
	}
	defer f.Close()
	unzipped, err := gzip.NewReader(f)
	if err != nil {
		return Plugin{}, fmt.Errorf("open %s: %w", file, err)
	}
	for archive := tar.NewReader(unzipped); ; {
		header, err := archive.Next()
		if err == io.EOF {
			return Plugin{}, fmt.Errorf("%s holds no %s plugin", file, in.Kind)
		}
		if err != nil {
			return Plugin{}, fmt.Errorf("read %s: %w", file, err)
		}
		if header.Typeflag == tar.TypeReg && in.looksLikePlugin(header.Name) {
			return in.place(archive, header.Size, wantSHA256, from)
		}
	}
}

// memberName matches plugins in archives: by go-xla's names, and as wheels name them.
var memberName = regexp.MustCompile(`^(libpjrt_cpu|xla_cpu_pjrt|xla_cuda_plugin)\.so$`)

func (in *installer) looksLikePlugin(member string) bool {
	name := path.Base(member)
	if kind, _, ok := parseName(name); ok {
		return kind == in.Kind
	}
	return memberName.MatchString(name) && strings.Contains(name, "cuda") == (in.Kind == CUDA)
}

// place writes a plugin of size bytes under a temporary name, checks it, syncs it and only then gives it its
// name: programs that have the old file open keep it, and at no time is half a plugin found. Not
// atomicfile.Write: the whole file has to be looked at before it takes the name.
func (in *installer) place(r io.Reader, size int64, wantSHA256 string, from origin) (p Plugin, err error) {
	target := filepath.Join(in.dir, ownName)
	if in.Kind == CUDA {
		target = filepath.Join(in.dir, goxlaCUDA)
	}
	if size > maxPlugin {
		return p, fmt.Errorf("the plugin has more than %d bytes: is it one?", int64(maxPlugin))
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
		return p, err
	}
	tmp, err := os.CreateTemp(filepath.Dir(target), tempPrefix+"*.tmp")
	if err != nil {
		return p, err
	}
	defer func() {
		closeErr := tmp.Close()
		if err != nil {
			err = errors.Join(noSpace(err, target, size), os.Remove(tmp.Name()))
		} else if !errors.Is(closeErr, os.ErrClosed) {
			err = closeErr
		}
	}()
	sum, err := in.writePlugin(tmp, r, size, wantSHA256)
	if err != nil {
		return p, err
	}
	p = Plugin{Kind: in.Kind, Path: target, Size: size, SHA256: sum, Source: from.source, Version: from.version, Recorded: true}
	return p, in.commit(tmp.Name(), p)
}

// writePlugin copies, sums, syncs and checks a plugin, and closes its file.
func (in *installer) writePlugin(tmp *os.File, r io.Reader, size int64, wantSHA256 string) (sum string, err error) {
	h := sha256.New()
	meter := &meter{report: func(done int64) { in.progress("install", done, size) }}
	if _, err := io.Copy(io.MultiWriter(tmp, h, meter), io.LimitReader(r, size+1)); err != nil {
		return "", err
	}
	if meter.done != size {
		return "", fmt.Errorf("the plugin has %d bytes where its archive says %d", meter.done, size)
	}
	sum = hex.EncodeToString(h.Sum(nil))
	if wantSHA256 != "" && sum != wantSHA256 {
		return "", fmt.Errorf("%w: the plugin's sha256 is %s, want %s", errWrongSum, sum, wantSHA256)
	}
	if err := tmp.Chmod(0o755); err != nil {
		return "", err
	}
	if err := tmp.Sync(); err != nil {
		return "", err
	}
	if err := Check(tmp.Name()); err != nil {
		return "", err
	}
	return sum, tmp.Close()
}

// meter counts what is written to it.
type meter struct {
	done   int64
	report func(done int64)
}

func (m *meter) Write(p []byte) (int, error) {
	m.done += int64(len(p))
	m.report(m.done)
	return len(p), nil
}

// commit gives a checked file its name and its record. The old record goes first: whatever happens after
// that leaves a plugin without a record, which is one to open, and never one with a record of another.
func (in *installer) commit(tmp string, p Plugin) error {
	if err := os.Remove(recordPath(p.Path)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(tmp, p.Path); err != nil {
		return err
	}
	if p.Kind == CPU {
		in.linkForGoXLA()
	}
	return writeRecord(p) // syncs the folder
}

// linkForGoXLA makes the plugin known to every GoMLX program of this user under the name they look for,
// unless that name is taken. This program does not need the link, so it may fail.
func (in *installer) linkForGoXLA() {
	link := filepath.Join(in.dir, goxlaCPU)
	if _, err := os.Lstat(link); errors.Is(err, fs.ErrNotExist) {
		_ = os.Symlink(ownName, link)
	}
}

func fileSize(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// noSpace explains a full disk.
func noSpace(err error, target string, size int64) error {
	if !errors.Is(err, syscall.ENOSPC) {
		return err
	}
	return fmt.Errorf("no space left for %s; free %s there: %w", target, megabytes(size), syscall.ENOSPC)
}

// removeLeftovers takes away what processes that were killed have left in a folder.
func removeLeftovers(dir string) {
	leftovers, _ := filepath.Glob(filepath.Join(dir, tempPrefix+"*.tmp")) // the pattern is well formed
	for _, file := range leftovers {
		_ = os.Remove(file) // if it cannot be removed it is in nobody's way
	}
}
