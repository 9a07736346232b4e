package lora_test

import (
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/deeplora/deeplora/lora"
)

func TestRegisterRefuses(t *testing.T) {
	whole, err := lora.LookupMethod("vanilla")
	if err != nil {
		t.Fatal(err)
	}
	named := func(name string) lora.Method { m := whole; m.Name = name; return m }
	for name, c := range map[string]struct {
		method lora.Method
		want   string
	}{
		"a taken name":     {whole, "register method vanilla: the name is taken"},
		"no name":          {named(""), `register method "": want a name of`},
		"capitals":         {named("DoRA"), `register method "DoRA": want a name of`},
		"a path":           {named("../x"), `register method "../x": want a name of`},
		"a hanging hyphen": {named("deep-"), `register method "deep-": want a name of`},
		"an empty row":     {lora.Method{Name: "empty"}, "register method empty: New, LearningRate, Parameters, InitialNorm not set"},
		"half a row":       {lora.Method{Name: "half", New: whole.New, LearningRate: whole.LearningRate}, "register method half: Parameters, InitialNorm not set"},
	} {
		before := len(lora.Methods())
		if err := lora.Register(c.method); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
		if after := len(lora.Methods()); after != before {
			t.Errorf("%s: refused, and the table grew from %d to %d", name, before, after)
		}
	}
}

// Of many at once, one gets a name; it stands at the end of the table, and others may read the table meanwhile.
func TestRegisterFromManyGoroutines(t *testing.T) {
	m, err := lora.LookupMethod("vanilla")
	if err != nil {
		t.Fatal(err)
	}
	m.Name = "registered-once"
	const callers = 8
	faults := make([]error, callers)
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			_, _ = lora.New("vanilla", lora.Defaults())
			faults[i] = lora.Register(m)
		})
	}
	all.Wait()
	refused := 0
	for _, err := range faults {
		if err != nil {
			refused++
		}
	}
	table := lora.Methods()
	if refused != callers-1 || table[len(table)-1].Name != m.Name {
		t.Errorf("%d of %d were refused, the table ends with %s", refused, callers, table[len(table)-1].Name)
	}
	if _, err := lora.New(m.Name, lora.Defaults()); err != nil {
		t.Error(err)
	}
}

// A method's random numbers depend on seed, kernel and factor, and on nothing else.
func TestSourceIsNamed(t *testing.T) {
	first := func(seed uint64, kernel, factor string) uint64 {
		return rand.New(lora.Site{Name: kernel, Seed: seed}.Source(factor)).Uint64()
	}
	seen := map[uint64]bool{}
	for _, seed := range []uint64{0, 1} {
		for _, kernel := range []string{"a", "b", "ab"} {
			for _, factor := range []string{"a", "b", ""} {
				v := first(seed, kernel, factor)
				if seen[v] || v != first(seed, kernel, factor) {
					t.Errorf("seed %d, kernel %q, factor %q: drawn elsewhere too, or not twice alike", seed, kernel, factor)
				}
				seen[v] = true
			}
		}
	}
}
