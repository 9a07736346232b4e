// Package envtruth reads switches from the environment, as Hugging Face's own programs do. It knows nothing of what they
// switch.
package envtruth

import (
	"os"
	"strings"
)

// On reports whether a variable is set to anything but nothing, 0, false, no or off, in upper or lower case.
func On(name string) bool {
	switch strings.ToLower(strings.TrimSpace(os.Getenv(name))) {
	case "", "0", "false", "no", "off", "n", "f":
		return false
	default:
		return true
	}
}
