package lora_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/internal/testshared"
	"github.com/deeplora/deeplora/lora"
)

// T30: all-dense on the tiny model with a bound of 16 is exactly the 15 kernels of the reference.
func TestT30AllDenseOfTheTinyModel(t *testing.T) {
	var tiny struct{ Kernels []lora.Shape }
	readJSON(t, testshared.Path(t, "reference", "tiny_bert.json"), &tiny)
	kernels := bertKernels(32, 64, 2, 64, 16, 3)

	selected, err := lora.Scope{Name: "all-dense", MinDim: 16}.Select(kernels, 32)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(selected.Kernels, tiny.Kernels) || len(selected.Kernels) != 15 || selected.Notice != "" {
		t.Errorf("selected %v, notice %q", selected.Kernels, selected.Notice)
	}
	_, err = lora.Scope{Name: "all-dense", MinDim: 512}.Select(kernels, 32)
	if want := "no kernel matches a min dimension of 512; the largest found among 17 kernels is 32: lower the bound"; !errors.Is(err, lora.ErrNoMatch) || err.Error() != want {
		t.Errorf("bound of 512: %v, want %q", err, want)
	}
}

func TestAllDenseLowersItsDefaultBound(t *testing.T) {
	kernels := bertKernels(128, 512, 2, 1000, 512, 2)
	selected, err := lora.Scope{Name: "all-dense"}.Select(kernels, 128)
	if err != nil {
		t.Fatal(err)
	}
	if selected.MinDim != 128 || len(selected.Kernels) != 2+12+1 {
		t.Errorf("bound %d, %d kernels", selected.MinDim, len(selected.Kernels))
	}
	if want := "all-dense: min dimension lowered from 512 to the model's hidden size, 128"; selected.Notice != want {
		t.Errorf("notice %q, want %q", selected.Notice, want)
	}
	selected, err = lora.Scope{Name: "all-dense"}.Select(berts["bert-base-cased"].kernels, 768)
	if err != nil || selected.MinDim != 512 || selected.Notice != "" {
		t.Errorf("at hidden size 768: bound %d, notice %q, error %v", selected.MinDim, selected.Notice, err)
	}
}

func TestScopesMatchWithoutPrefix(t *testing.T) {
	var bare []lora.Shape
	for _, k := range bertKernels(32, 64, 2, 64, 16, 3) {
		bare = append(bare, lora.Shape{Name: strings.TrimPrefix(k.Name, "bert."), In: k.In, Out: k.Out})
	}
	for scope, want := range map[string]int{"only-query-value": 4, "attention-mlp": 12} {
		selected, err := lora.Scope{Name: scope}.Select(bare, 32)
		if err != nil || len(selected.Kernels) != want {
			t.Errorf("%s: %d kernels, error %v, want %d", scope, len(selected.Kernels), err, want)
		}
	}
}

func TestPatterns(t *testing.T) {
	kernels := bertKernels(32, 64, 2, 64, 16, 3)
	selected, err := lora.Scope{Patterns: []string{`layer\.1\..*query$`, `pooler`, `query$`}}.Select(kernels, 32)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, k := range selected.Kernels {
		names = append(names, k.Name)
	}
	want := []string{"bert.encoder.layer.0.attention.self.query", "bert.encoder.layer.1.attention.self.query", "bert.pooler.dense"}
	if !slices.Equal(names, want) {
		t.Errorf("%v, want %v: each once, in the model's order", names, want)
	}
}

func TestScopeFaults(t *testing.T) {
	kernels := bertKernels(32, 64, 2, 64, 16, 3)
	for name, c := range map[string]struct {
		scope   lora.Scope
		kernels []lora.Shape
		noMatch bool
		want    []string
	}{
		"unknown scope": {
			lora.Scope{Name: "all-dens"},
			kernels, false,
			[]string{`unknown scope "all-dens"; nearest: all-dense (known: only-query-value attention-mlp all-dense)`},
		},
		"names of another model": {
			lora.Scope{Name: "attention-mlp"},
			[]lora.Shape{{Name: "h.0.attn.c_attn", In: 8, Out: 24}},
			true,
			[]string{"no kernel matches scope attention-mlp; the model's 1 are named like h.0.attn.c_attn"},
		},
		"no kernels": {lora.Scope{Name: "all-dense"}, nil, true, []string{"the model has none"}},
		"each pattern for itself": {
			lora.Scope{Patterns: []string{"query", "atention.output", "poolr$"}},
			kernels, true,
			[]string{
				`no kernel matches pattern "atention.output"; nearest: bert.encoder.layer.0.attention.output.dense, bert.encoder.layer.1.attention.output.dense, `,
				`no kernel matches pattern "poolr$"; nearest: bert.pooler.dense, `,
			},
		},
		"no regular expression": {lora.Scope{Patterns: []string{"query("}}, kernels, false, []string{`pattern "query(": error parsing regexp: missing closing )`}},
		"pattern and bound": {
			lora.Scope{Patterns: []string{"token_type"}, MinDim: 8},
			kernels, true,
			[]string{"no kernel matches a min dimension of 8; the largest found among 1 kernels is 2: lower the bound"},
		},
	} {
		_, err := c.scope.Select(c.kernels, 32)
		if err == nil || errors.Is(err, lora.ErrNoMatch) != c.noMatch {
			t.Errorf("%s: error %v", name, err)
			continue
		}
		for _, want := range c.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q does not say %q", name, err, want)
			}
		}
	}
}
