package nearest

import (
	"slices"
	"testing"
)

func TestOf(t *testing.T) {
	known := []string{"vanilla", "deep-wide", "deep-narrow", "deep-compressed"}
	for name, want := range map[string]string{
		"vanila": "vanilla", "lora2": "vanilla", "deep-compresed": "deep-compressed", "Deep-Wide": "deep-wide", "deep_narrow": "deep-narrow",
	} {
		if got := Of(name, known); got != want {
			t.Errorf("Of(%q) = %q, want %q", name, got, want)
		}
	}
	if got := Of("x", nil); got != "" {
		t.Errorf("Of none = %q", got)
	}
}

func TestInside(t *testing.T) {
	known := []string{"bert.layer.0.query", "bert.layer.0.value", "bert.pooler"}
	if got := Inside("qery", known, 1); !slices.Equal(got, []string{"bert.layer.0.query"}) {
		t.Errorf("Inside = %v", got)
	}
	if got := Inside("pooler", known, 9); len(got) != 3 || got[0] != "bert.pooler" {
		t.Errorf("Inside = %v", got)
	}
}
