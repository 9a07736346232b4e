//go:build unix

package compiled

import (
	"io/fs"
	"os"
	"syscall"
)

// mine reports whether a file is this user's, or the system's.
func mine(info fs.FileInfo) bool {
	stat, ok := info.Sys().(*syscall.Stat_t)
	return ok && (int(stat.Uid) == os.Geteuid() || stat.Uid == 0)
}
