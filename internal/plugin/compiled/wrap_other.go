//go:build !linux || noxla

package compiled

import "errors"

// Supported says whether plugins can be wrapped on this system.
const Supported = false

// Wrap is for Linux alone.
func Wrap(string, string, *Store) (name string, err error) {
	return "", errors.New("compiled graphs are kept on Linux alone")
}
