package model

import (
	"strings"
	"testing"
	"testing/fstest"
)

// Every field that Transformers writes is honoured, harmless for a reason, or held to one value.
func TestEveryFieldOfTheConfigHasAFate(t *testing.T) {
	read := func(fields string) (*Config, error) {
		return ReadConfig(fstest.MapFS{"config.json": {Data: []byte(`{"model_type": "bert"` + fields + `}`)}}, "config.json")
	}
	seen := map[string]bool{}
	for _, f := range configFields {
		fates := 0
		for _, there := range []bool{f.honoured, f.harmless != "", f.only != nil} {
			if there {
				fates++
			}
		}
		if fates != 1 || seen[f.name] {
			t.Errorf("%s has %d fates, or stands there twice", f.name, fates)
		}
		seen[f.name] = true
		if f.only == nil {
			continue
		}
		if _, err := read(`, "` + f.name + `": {"a": 1}`); err == nil || !strings.Contains(err.Error(), f.name+` is {"a":1}, which is not supported`) {
			t.Errorf("%s: %v", f.name, err)
		}
		for _, value := range f.only {
			if _, err := read(`, "` + f.name + `": ` + value); err != nil {
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
