//go:build !noxla

package plugin

import (
	"testing"

	"github.com/gomlx/go-xla/pjrt"
)

// The release we fetch is the one that the linked go-xla is made for.
func TestReleaseIsGoXLAs(t *testing.T) {
	if pjrt.DefaultCPUVersion != releaseVersion {
		t.Errorf("go-xla wants %s, we fetch %s", pjrt.DefaultCPUVersion, releaseVersion)
	}
}
