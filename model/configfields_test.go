package model

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/deeplora/deeplora/internal/jsonfile"
	"github.com/deeplora/deeplora/internal/testshared"
)

// Every field that Transformers writes is honoured, harmless for a reason, or held to one value.
func TestEveryFieldOfTheConfigHasAFate(t *testing.T) {
	read := func(of, fields string) (*Config, error) {
		return ReadConfig(fstest.MapFS{"config.json": {Data: []byte(`{"model_type": "` + of + `"` + fields + `}`)}}, "config.json")
	}
	for _, d := range families {
		shared := slices.DeleteFunc(slices.Clone(commonFields), func(f jsonfile.Fate) bool {
			own, renamed := d.names[f.Name]
			return renamed && own != f.Name // the family may say of BERT's name that it is without effect
		})
		for _, fault := range slices.Concat(shared, d.fields).Faults() {
			t.Errorf("%s: %v", d.prefix, fault)
		}
		of := slices.Sorted(maps.Keys(d.classes))[0]
		for _, f := range slices.Concat(commonFields, d.fields) {
			if f.Only == nil {
				continue
			}
			if _, err := read(of, `, "`+f.Name+`": {"a": 1}`); err == nil || !strings.Contains(err.Error(), f.Name+` is {"a":1}, which is not supported`) {
				t.Errorf("%s of %s: %v", f.Name, of, err)
			}
			for _, value := range f.Only {
				if _, err := read(of, `, "`+f.Name+`": `+value); err != nil {
					t.Errorf("%s: %v", of, err)
				}
			}
		}
	}
	c, err := read("bert", `, "id2label": {"0": 1, "1": "1.5", "2": 2.5}`)
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(c.Labels(), " "); got != "1 1.5 2.5" {
		t.Errorf("labels %s: a number is its own name", got)
	}
	if _, err := read("bert", `, "id2label": {"0": null}`); err == nil || !strings.Contains(err.Error(), "id2label: class 0 is null; want a name") {
		t.Errorf("no name: %v", err)
	}
}

// So is every field of the files that Transformers wrote of each family.
func TestEveryFieldOfTheGoldensHasAFate(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(testshared.Path(t, "reference", "encoders"), "*", "config.json"))
	own, _ := filepath.Glob(filepath.Join("testdata", "*", "config.json"))
	if err != nil || len(files) == 0 || len(own) == 0 {
		t.Fatalf("no goldens: %v %v (%v)", files, own, err)
	}
	for _, file := range append(files, own...) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var raw map[string]json.RawMessage
		if err := json.Unmarshal(text, &raw); err != nil {
			t.Fatal(err)
		}
		c, err := parseConfig(raw)
		if err != nil {
			continue // another family
		}
		fates := slices.Concat(commonFields, c.kind().fields)
		for _, field := range slices.Sorted(maps.Keys(raw)) {
			if !slices.ContainsFunc(fates, func(f jsonfile.Fate) bool { return f.Name == field }) {
				t.Errorf("%s: %s has no fate", file, field)
			}
		}
	}
}
