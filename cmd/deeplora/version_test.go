package main

import (
	"runtime/debug"
	"strings"
	"testing"
)

func TestVersionOf(t *testing.T) {
	const revision = "0123456789abcdef0123456789abcdef01234567"
	tests := []struct {
		name, module string
		vcs          map[string]string
		want         string
	}{
		{"installed, or built at a tag", "v1.2.3", map[string]string{"vcs.revision": revision}, "v1.2.3"},
		{"built at a commit", "v0.0.0-20260102030405-0123456789ab", nil, "v0.0.0-20260102030405-0123456789ab"},
		{"no module version", "(devel)", map[string]string{"vcs.revision": revision, "vcs.time": "2026-01-02T03:04:05Z", "vcs.modified": "false"}, "devel-20260102030405-0123456789ab"},
		{"changed since the commit", "", map[string]string{"vcs.revision": revision, "vcs.time": "2026-01-02T03:04:05Z", "vcs.modified": "true"}, "devel-20260102030405-0123456789ab+dirty"},
		{"no time", "(devel)", map[string]string{"vcs.revision": "0123"}, "devel-0123"},
		{"neither", "(devel)", nil, "devel"},
		{"nothing", "", nil, "devel"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			info := &debug.BuildInfo{Main: debug.Module{Version: test.module}}
			for key, value := range test.vcs {
				info.Settings = append(info.Settings, debug.BuildSetting{Key: key, Value: value})
			}
			if got := versionOf(info); got != test.want {
				t.Errorf("%q, want %q", got, test.want)
			}
		})
	}
}

func TestSlower(t *testing.T) {
	const simd, tag = "without GOEXPERIMENT=simd", "the tag noxla"
	tests := []struct {
		name      string
		simd, xla bool
		goarch    string
		want      []string
	}{
		{"the Makefile's", true, true, "amd64", nil},
		{"go install", false, true, "amd64", []string{simd}},
		{"static", true, false, "amd64", []string{tag}},
		{"static, by go install", false, false, "amd64", []string{tag, simd}},
		{"no vector code for it", false, true, "arm64", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := slower(test.simd, test.xla, test.goarch)
			if (got == "") != (test.want == nil) || strings.Contains(got, "\n") {
				t.Errorf("%q", got)
			}
			for _, want := range test.want {
				if !strings.Contains(got, want) {
					t.Errorf("%q does not say %q", got, want)
				}
			}
		})
	}
}
