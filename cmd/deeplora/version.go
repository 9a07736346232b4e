package main

import (
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/deeplora/deeplora/internal/plugin"
)

// version is the program's version as the build recorded it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "devel"
	}
	return versionOf(info)
}

// versionOf is the version of the module, which go install and a build in a clone state. Where they could not tell it,
// it is the time and the revision of the commit, written as in Go's own versions of commits without a tag.
func versionOf(info *debug.BuildInfo) string {
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	v := "devel"
	if at, err := time.Parse(time.RFC3339, setting(info, "vcs.time")); err == nil {
		v += "-" + at.UTC().Format("20060102150405")
	}
	if revision := setting(info, "vcs.revision"); revision != "" {
		v += "-" + revision[:min(12, len(revision))]
	}
	if setting(info, "vcs.modified") == "true" {
		v += "+dirty"
	}
	return v
}

func setting(info *debug.BuildInfo, key string) string {
	for _, s := range info.Settings {
		if s.Key == key {
			return s.Value
		}
	}
	return ""
}

// libraries are the versions of the modules whose arithmetic a run's bits depend on.
func libraries() map[string]string {
	versions := map[string]string{}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return versions
	}
	versions["go"] = info.GoVersion
	for _, m := range info.Deps {
		switch m.Path {
		case "github.com/gomlx/gomlx", "github.com/gomlx/compute", "github.com/gomlx/go-xla", "github.com/gomlx/go-huggingface", "gonum.org/v1/gonum":
			if m.Replace != nil { // what was compiled
				m = &debug.Module{Path: m.Path, Version: strings.TrimSpace(m.Replace.Path + " " + m.Replace.Version)}
			}
			versions[m.Path] = m.Version
		}
	}
	return versions
}

func builtWithSIMD() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(strings.Split(setting(info, "GOEXPERIMENT"), ","), "simd")
}

// slower says what another build of this program would compute faster, and how to come to it; empty if there is none.
func slower(simd, xla bool, goarch string) string {
	var faults []string
	if !xla {
		faults = append(faults, "the tag noxla leaves XLA out and everything to the slow Go engine: build without it")
	}
	if !simd && goarch == "amd64" { // the vector code is for amd64
		faults = append(faults, "without GOEXPERIMENT=simd the Go engine and matrix-completion are several times slower: build or install again with it in the environment")
	}
	return strings.Join(faults, "; ")
}

func slowerHere() string { return slower(builtWithSIMD(), plugin.Linked, runtime.GOARCH) }
