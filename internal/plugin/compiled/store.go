package compiled

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"time"

	"github.com/deeplora/deeplora/internal/atomicfile"
)

// maxStore bounds the bytes of a folder's graphs: what was not used for the longest time goes first.
const maxStore = 2 << 30

// ours is the name of a stored graph. Other files of the folder are not counted and not touched.
var ours = regexp.MustCompile(`^[0-9a-f]{64}$`)

// Store is a folder of compiled graphs. Its faults are no errors: what cannot be read is compiled again, and what cannot be
// written is compiled next time. They go to the debug log.
type Store struct {
	dir  string
	salt string // what else than the graph decides what is compiled
	most int64  // bytes
}

// NewStore is a store in a folder, which is made when something is written, readable by this user alone. As it holds machine
// code, one that others may write, or that is another user's, is not used. salt names the plugin, the processor and whatever else decides what a graph is compiled to.
func NewStore(dir, salt string) *Store { return &Store{dir, salt, maxStore} }

// key names what a program is compiled to with these options.
func (s *Store) key(program, format, options []byte) string {
	h := sha256.New()
	for _, part := range [][]byte{[]byte(s.salt), format, options, program} {
		sum := sha256.Sum256(part)
		h.Write(sum[:])
	}
	return hex.EncodeToString(h.Sum(nil))
}

// get returns what is stored under a key, or nil. What is not as it was written is removed.
func (s *Store) get(key string) []byte {
	if !s.trusted() {
		return nil
	}
	path := filepath.Join(s.dir, key)
	content, err := os.ReadFile(path)
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			slog.Debug("compiled graphs", "error", err)
		}
		return nil
	}
	if len(content) < sha256.Size {
		s.remove(key, "cut short")
		return nil
	}
	sum := sha256.Sum256(content[sha256.Size:])
	if !bytes.Equal(sum[:], content[:sha256.Size]) {
		s.remove(key, "damaged")
		return nil
	}
	now := time.Now()
	_ = os.Chtimes(path, now, now) // in a folder that cannot be written nothing is pruned either
	return content[sha256.Size:]
}

// trusted reports whether nobody but this user may have written into the folder. One that is not there is.
func (s *Store) trusted() bool {
	info, err := os.Stat(s.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return true
	}
	if err != nil || !info.IsDir() || info.Mode().Perm()&0o022 != 0 || !mine(info) {
		slog.Debug("compiled graphs are not kept: the folder is not this user's alone", "folder", s.dir, "error", err)
		return false
	}
	return true
}

func (s *Store) remove(key, why string) {
	slog.Debug("compiled graphs", "removed", key, "why", why, "error", os.Remove(filepath.Join(s.dir, key)))
}

// put stores content under a key, and makes room for it.
func (s *Store) put(key string, content []byte) {
	if int64(len(content)) > s.most/4 {
		return
	}
	err := os.MkdirAll(s.dir, 0o700)
	if err == nil && !s.trusted() {
		return
	}
	if err == nil {
		sum := sha256.Sum256(content)
		err = atomicfile.Write(filepath.Join(s.dir, key), func(w io.Writer) error {
			_, err := w.Write(sum[:])
			if err == nil {
				_, err = w.Write(content)
			}
			return err
		})
	}
	if err == nil {
		err = s.prune(key)
	}
	if err != nil {
		slog.Debug("compiled graphs", "error", err)
	}
}

// prune removes the files that were not used for the longest time until the folder is within its bound.
func (s *Store) prune(keep string) error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	var files []fs.FileInfo
	total := int64(0)
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || !ours.MatchString(e.Name()) { // an error: removed meanwhile, by another process
			continue
		}
		total += info.Size()
		files = append(files, info)
	}
	slices.SortFunc(files, func(a, b fs.FileInfo) int {
		return cmp.Or(a.ModTime().Compare(b.ModTime()), cmp.Compare(a.Name(), b.Name()))
	})
	for _, f := range files {
		if total <= s.most {
			break
		}
		if f.Name() != keep {
			s.remove(f.Name(), "the folder is full")
			total -= f.Size()
		}
	}
	return nil
}
