package main

import (
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"
	"strings"

	"github.com/deeplora/deeplora/internal/memory"
	"github.com/deeplora/deeplora/internal/plugin"
)

// describeMachine says what the times are of; versions are the peer's, nil without one.
func describeMachine(backend string, versions map[string]string) []fact {
	facts := []fact{{"processor", processor("/proc/cpuinfo")}}
	if total := memory.Total(); total > 0 {
		facts = append(facts, fact{"memory", fmt.Sprintf("%.0f GB", float64(total)/1e9)})
	}
	facts = append(facts, fact{"deeplora", engineOf(backend)})
	var peer []string
	for _, name := range slices.Sorted(maps.Keys(versions)) {
		peer = append(peer, name+" "+versions[name])
	}
	if len(peer) > 0 {
		facts = append(facts, fact{"peer", strings.Join(peer, ", ")})
	}
	return facts
}

// engineOf says on what deeplora computes.
func engineOf(backend string) string {
	about := fmt.Sprintf("%s, %s", runtime.Version(), backend)
	_, kind, xla := strings.Cut(backend, ":")
	if !xla {
		return about
	}
	plugins, err := plugin.Find(plugin.Kind(kind))
	if err != nil {
		return about
	}
	p, _ := plugin.First(plugins, plugin.Kind(kind))
	if p.Version != "" {
		about += " plugin " + p.Version
	}
	if p, err = p.Verify(false); err == nil {
		about += fmt.Sprintf(", sha256 %.12s", p.SHA256)
	}
	return about
}

// processor is the model and the number of its cores that this process may use, by Linux's list of them.
func processor(cpuinfo string) string {
	name := runtime.GOARCH
	text, _ := os.ReadFile(cpuinfo) // elsewhere there is none
	for line := range strings.Lines(string(text)) {
		if key, value, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(key) == "model name" {
			name = strings.TrimSpace(value)
			break
		}
	}
	return fmt.Sprintf("%s, %d cores", name, runtime.NumCPU())
}
