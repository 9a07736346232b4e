package lora

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/deeplora/deeplora/internal/nearest"
	"github.com/deeplora/deeplora/internal/parts"
)

// ErrNoMatch: a scope or a pattern selects no kernel of the model.
var ErrNoMatch = errors.New("no kernel matches")

// Shape is a kernel as a scope sees it: its Hugging Face name without ".weight" and K's shape [In, Out].
type Shape struct {
	Name    string
	In, Out int
	// Part is what it does in its encoder, as package model tells it of any family: "query", "key", "value",
	// "query-key-value", "attention-output", "feed-forward". Empty: what BERT's names, with or without a prefix, say.
	Part string
}

// scopes pick the parts of an encoder. Without parts it is every kernel: all-dense picks by size alone, embeddings and
// pooler included (method.md 2.2).
var scopes = []struct {
	name  string
	parts []string
}{
	{"only-query-value", []string{parts.Query, parts.Value, parts.Fused}},
	{"attention-mlp", []string{parts.Query, parts.Key, parts.Value, parts.Fused, parts.AttentionOutput, parts.FeedForward}},
	{"all-dense", nil},
}

// berts are the parts that BERT's names tell.
var berts = []struct {
	part string
	name *regexp.Regexp
}{
	{parts.Query, regexp.MustCompile(`(^|\.)attention\.self\.query$`)},
	{parts.Key, regexp.MustCompile(`(^|\.)attention\.self\.key$`)},
	{parts.Value, regexp.MustCompile(`(^|\.)attention\.self\.value$`)},
	{parts.AttentionOutput, regexp.MustCompile(`(^|\.)attention\.output\.dense$`)},
	{parts.FeedForward, regexp.MustCompile(`(^|\.)layer\.\d+\.(intermediate|output)\.dense$`)},
}

func (s Shape) part() string {
	if s.Part != "" {
		return s.Part
	}
	for _, b := range berts {
		if b.name.MatchString(s.Name) {
			return b.part
		}
	}
	return ""
}

// allDenseMinDim is the reference's bound on a kernel's shorter side in all-dense.
const allDenseMinDim = 512

// Scopes returns the names of the scopes.
func Scopes() []string {
	var names []string
	for _, s := range scopes {
		names = append(names, s.name)
	}
	return names
}

// Scope says which kernels get an adapter.
type Scope struct {
	Name     string   // one of Scopes; unused if there are Patterns
	Patterns []string // regular expressions found anywhere in a kernel's name; a kernel needs one of them
	// MinDim leaves out kernels whose shorter side is below it. 0 is no bound, except in all-dense: 512
	// there, or the model's hidden size where that is smaller.
	MinDim int
}

// Selection is what a scope picked.
type Selection struct {
	Kernels []Shape // in the order they were given in
	MinDim  int     // the bound that was applied, 0 for none
	Notice  string  // for the user, or empty: a bound that was lowered
}

// Select picks the kernels of a model of that hidden size. It is an error, joined from all that apply, if
// a pattern is no regular expression, or if it or the scope as a whole matches nothing (ErrNoMatch).
func (s Scope) Select(kernels []Shape, hidden int) (Selection, error) {
	picked := Selection{MinDim: s.MinDim}
	var err error
	if len(s.Patterns) > 0 {
		picked.Kernels, err = matching(s.Patterns, kernels)
	} else {
		picked.Kernels, err = named(s.Name, kernels)
		if s.Name == "all-dense" && s.MinDim == 0 {
			picked.MinDim = allDenseMinDim
			if 0 < hidden && hidden < allDenseMinDim {
				picked.MinDim = hidden
				picked.Notice = fmt.Sprintf("all-dense: min dimension lowered from %d to the model's hidden size, %d", allDenseMinDim, hidden)
			}
		}
	}
	if err != nil {
		return Selection{}, err
	}
	return picked.bounded()
}

// bounded drops the kernels below the bound.
func (p Selection) bounded() (Selection, error) {
	var kept []Shape
	largest := 0
	for _, k := range p.Kernels {
		short := min(k.In, k.Out)
		largest = max(largest, short)
		if short >= p.MinDim {
			kept = append(kept, k)
		}
	}
	if len(kept) == 0 {
		return Selection{}, fmt.Errorf("%w a min dimension of %d; the largest found among %d kernels is %d: lower the bound", ErrNoMatch, p.MinDim, len(p.Kernels), largest)
	}
	p.Kernels = kept
	return p, nil
}

func named(scope string, kernels []Shape) ([]Shape, error) {
	for _, known := range scopes {
		if known.name != scope {
			continue
		}
		if known.parts == nil && len(kernels) > 0 {
			return kernels, nil
		}
		var picked []Shape
		for _, k := range kernels {
			if slices.Contains(known.parts, k.part()) {
				picked = append(picked, k)
			}
		}
		if len(picked) == 0 {
			return nil, fmt.Errorf("%w scope %s%s", ErrNoMatch, scope, example(kernels))
		}
		return picked, nil
	}
	return nil, fmt.Errorf("unknown scope %q; nearest: %s (known: %s)", scope, nearest.Of(scope, Scopes()), strings.Join(Scopes(), " "))
}

// matching returns the kernels that one of the patterns matches, each once. Every pattern has to match:
// one that does not is a typing error, however much the others find.
func matching(patterns []string, kernels []Shape) ([]Shape, error) {
	var faults []error
	wanted := map[string]bool{}
	for _, p := range patterns {
		expression, err := regexp.Compile(p)
		if err != nil {
			faults = append(faults, fmt.Errorf("pattern %q: %w", p, err))
			continue
		}
		found := filter(expression, kernels)
		if len(found) == 0 {
			faults = append(faults, fmt.Errorf("%w pattern %q%s", ErrNoMatch, p, nearby(p, kernels)))
		}
		for _, k := range found {
			wanted[k.Name] = true
		}
	}
	if len(faults) > 0 {
		return nil, errors.Join(faults...)
	}
	return slices.DeleteFunc(slices.Clone(kernels), func(k Shape) bool { return !wanted[k.Name] }), nil
}

func filter(expression *regexp.Regexp, kernels []Shape) []Shape {
	var picked []Shape
	for _, k := range kernels {
		if expression.MatchString(k.Name) {
			picked = append(picked, k)
		}
	}
	return picked
}

// example names a kernel, so that one sees how the model calls them.
func example(kernels []Shape) string {
	if len(kernels) == 0 {
		return "; the model has none"
	}
	return fmt.Sprintf("; the model's %d are named like %s", len(kernels), kernels[len(kernels)/2].Name)
}

// nearby names the kernels that hold something closest to the pattern's letters.
func nearby(pattern string, kernels []Shape) string {
	const shown = 3
	if len(kernels) == 0 {
		return "; the model has none"
	}
	plain := strings.Map(func(r rune) rune {
		if strings.ContainsRune(`^$\()[]{}?*+|`, r) {
			return -1
		}
		return r
	}, pattern)
	var names []string
	for _, k := range kernels {
		names = append(names, k.Name)
	}
	return "; nearest: " + strings.Join(nearest.Inside(plain, names, shown), ", ")
}
