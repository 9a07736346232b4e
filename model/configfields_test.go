package model

import (
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// Every field that Transformers writes is honoured, harmless for a reason, or held to one value.
func TestEveryFieldOfTheConfigHasAFate(t *testing.T) {
	read := func(fields string) (*Config, error) {
		return ReadConfig(fstest.MapFS{"config.json": {Data: []byte(`{"model_type": "bert"` + fields + `}`)}}, "config.json")
	}
	for _, d := range families {
		for _, fault := range slices.Concat(commonFields, d.fields).Faults() {
			t.Errorf("%s: %v", d.prefix, fault)
		}
	}
	for _, f := range commonFields {
		if f.Only == nil {
			continue
		}
		if _, err := read(`, "` + f.Name + `": {"a": 1}`); err == nil || !strings.Contains(err.Error(), f.Name+` is {"a":1}, which is not supported`) {
			t.Errorf("%s: %v", f.Name, err)
		}
		for _, value := range f.Only {
			if _, err := read(`, "` + f.Name + `": ` + value); err != nil {
				t.Error(err)
			}
		}
	}
	c, err := read(`, "id2label": {"0": 1, "1": "1.5", "2": 2.5}`)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(c.Labels(), " "); got != "1 1.5 2.5" {
		t.Errorf("labels %s: a number is its own name", got)
	}
	if _, err := read(`, "id2label": {"0": null}`); err == nil || !strings.Contains(err.Error(), "id2label: class 0 is null; want a name") {
		t.Errorf("no name: %v", err)
	}
}
