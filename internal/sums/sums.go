// Package sums writes and verifies SHA256SUMS: the sha256 of the files of a directory, as sha256sum writes and checks
// them. It finds damage, not forgery, and knows nothing of what the files are.
package sums

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/deeplora/deeplora/internal/atomicfile"
	"github.com/deeplora/deeplora/internal/jsonfile"
)

// File is the name of the file of sums.
const File = "SHA256SUMS"

// Write writes the sums of the named files of a directory (paths in it, with slashes), or without names of all files
// below it.
func Write(dir string, names ...string) error {
	if len(names) == 0 {
		var err error
		if names, err = below(dir); err != nil {
			return fmt.Errorf("write sums: %w", err)
		}
	}
	var text bytes.Buffer
	for _, name := range slices.Sorted(slices.Values(names)) {
		sum, err := Of(os.DirFS(dir), name)
		if err != nil {
			return fmt.Errorf("write sums: %w", err)
		}
		fmt.Fprintf(&text, "%s  %s\n", sum, name)
	}
	return atomicfile.WriteBytes(filepath.Join(dir, File), text.Bytes())
}

// below lists the files below a directory, without the file of sums.
func below(dir string) (names []string, err error) {
	err = fs.WalkDir(os.DirFS(dir), ".", func(name string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && name != File {
			names = append(names, name)
		}
		return err
	})
	return names, err
}

// Verify compares files with the sums beside them: the named ones that have a sum, or without names all that have one.
// Without a file of sums it returns nil. A file that differs or is missing is a jsonfile.ErrCorrupt.
func Verify(fsys fs.FS, names ...string) error {
	text, err := fs.ReadFile(fsys, File)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	known, err := parse(text)
	if err != nil {
		return err
	}
	for _, line := range known {
		if len(names) > 0 && !slices.Contains(names, line.name) {
			continue
		}
		sum, err := Of(fsys, line.name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return fmt.Errorf("%s: %w: it is missing, and %s lists it", line.name, jsonfile.ErrCorrupt, File)
		case err != nil:
			return err
		case sum != line.sum:
			return fmt.Errorf("%s: %w: its sha256 is %s, %s has %s", line.name, jsonfile.ErrCorrupt, sum, File, line.sum)
		}
	}
	return nil
}

// VerifyAll is Verify for a directory that was written with its sums: that they are missing is jsonfile.ErrCorrupt too.
func VerifyAll(fsys fs.FS) error {
	if _, err := fs.Stat(fsys, File); errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w: its %s is missing", jsonfile.ErrCorrupt, File)
	}
	return Verify(fsys)
}

type line struct{ sum, name string }

// parse reads lines of a sum in hexadecimal, two characters, and a name, as sha256sum writes them; or with --tag, as
// BSD's sha256 does: SHA256 (name) = sum. Names may begin with ./, sums be in capitals.
func parse(text []byte) (lines []line, err error) {
	scanner := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; scanner.Scan(); n++ {
		sum, name, ok := cut(strings.TrimSuffix(scanner.Text(), "\r"))
		raw, err := hex.DecodeString(sum)
		for strings.HasPrefix(name, "./") {
			name = strings.TrimPrefix(name, "./")
		}
		if !ok || err != nil || len(raw) != sha256.Size || !fs.ValidPath(name) || path.Base(name) == "." {
			return nil, fmt.Errorf("%s:%d: %w: want a sha256, two spaces and the name of a file", File, n, jsonfile.ErrCorrupt)
		}
		if name != File { // of itself no file can hold the sum
			lines = append(lines, line{hex.EncodeToString(raw), name})
		}
	}
	if err := scanner.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", File, jsonfile.ErrCorrupt, err)
	}
	return lines, nil
}

// cut parts a line into sum and name.
func cut(text string) (sum, name string, ok bool) {
	if tagged, is := strings.CutPrefix(text, "SHA256 ("); is {
		i := strings.LastIndex(tagged, ") = ")
		if i < 0 {
			return "", "", false
		}
		return tagged[i+len(") = "):], tagged[:i], true
	}
	sum, name, _ = strings.Cut(text, " ")
	if len(name) < 2 || name[0] != ' ' && name[0] != '*' {
		return "", "", false
	}
	return sum, name[1:], true
}

// Of is the sha256 of a file in hexadecimal.
func Of(fsys fs.FS, name string) (string, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
