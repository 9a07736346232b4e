package model

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/deeplora/deeplora/internal/jsonfile"
	"github.com/deeplora/deeplora/internal/testshared"
)

// readFields reads a config of a model_type with these fields, each of JSON.
func readFields(t *testing.T, modelType string, fields map[string]string) (*Config, error) {
	t.Helper()
	raw := map[string]json.RawMessage{"model_type": json.RawMessage(`"` + modelType + `"`)}
	for name, value := range fields {
		raw[name] = json.RawMessage(value)
	}
	text, err := json.Marshal(raw)
	if err != nil {
		t.Fatal(err)
	}
	return ReadConfig(fstest.MapFS{"config.json": {Data: text}}, "config.json")
}

// eachModelType runs a test for every model_type of every family.
func eachModelType(t *testing.T, fn func(t *testing.T, d *description, modelType string)) {
	for _, d := range families {
		for _, modelType := range slices.Sorted(maps.Keys(d.classes)) {
			t.Run(modelType, func(t *testing.T) { fn(t, d, modelType) })
		}
	}
}

// fieldsOfTransformers are those that its configs have, by model_type, at their defaults.
func fieldsOfTransformers(t *testing.T, modelType string) map[string]any {
	t.Helper()
	text, err := os.ReadFile("testdata/configs.json")
	var all map[string]map[string]any
	if err == nil {
		err = json.Unmarshal(text, &all)
	}
	if err != nil || all[modelType] == nil {
		t.Fatalf("testdata/configs.json: no %s (%v)", modelType, err)
	}
	return all[modelType]
}

// Every field that Transformers writes is honoured, harmless for a reason, or held to values.
func TestEveryFieldOfTheConfigHasAFate(t *testing.T) {
	eachModelType(t, func(t *testing.T, d *description, modelType string) {
		shared := slices.DeleteFunc(slices.Clone(commonFields), func(f jsonfile.Fate) bool {
			own, renamed := d.names[f.Name]
			return renamed && own != f.Name // the family may say of BERT's name that it is without effect
		})
		fates := slices.Concat(shared, d.fields)
		for _, fault := range fates.Faults() {
			t.Error(fault)
		}
		for _, name := range slices.Sorted(maps.Keys(fieldsOfTransformers(t, modelType))) {
			if !slices.ContainsFunc(fates, func(f jsonfile.Fate) bool { return f.Name == name }) {
				t.Errorf("%s has no fate", name)
			}
		}
		for _, f := range fates {
			if f.Only == nil {
				continue
			}
			if _, err := readFields(t, modelType, map[string]string{f.Name: `"other"`}); err == nil || !strings.Contains(err.Error(), f.Name+` is "other", which is not supported; want `+f.Only[0]) {
				t.Errorf("%s: %v", f.Name, err)
			}
			for _, value := range f.Only {
				if _, err := readFields(t, modelType, map[string]string{f.Name: value}); err != nil {
					t.Error(err)
				}
			}
		}
	})
}

// What config.json leaves out, or has null for, is as in Transformers; nothing is written that its class does not have.
func TestDefaultsAreThoseOfTransformers(t *testing.T) {
	eachModelType(t, func(t *testing.T, d *description, modelType string) {
		want := fieldsOfTransformers(t, modelType)
		nulls := map[string]string{}
		for name := range want {
			if name != "model_type" && !slices.ContainsFunc(slices.Concat(commonFields, d.fields), func(f jsonfile.Fate) bool { return f.Name == name && f.Only != nil }) {
				nulls[name] = "null"
			}
		}
		for _, fields := range []map[string]string{nil, nulls} {
			c, err := readFields(t, modelType, fields)
			if err != nil {
				t.Fatal(err)
			}
			c.Raw = nil
			text, err := configJSON(c, Base, "float32")
			var got map[string]any
			if err == nil {
				err = json.Unmarshal(text, &got)
			}
			if err != nil {
				t.Fatal(err)
			}
			delete(got, "architectures")
			delete(got, "dtype")
			for _, name := range slices.Sorted(maps.Keys(got)) {
				if is, ok := want[name]; !ok || !reflect.DeepEqual(got[name], is) {
					t.Errorf("%s is %v; Transformers has %v (%v)", name, got[name], is, ok)
				}
			}
		}
	})
}

// A config that is read does not change the next one's defaults.
func TestDefaultsStay(t *testing.T) {
	for range 2 {
		c, err := readFields(t, "distilbert", nil)
		if err != nil {
			t.Fatal(err)
		}
		if p := c.classifierDropout(); p != 0.2 {
			t.Errorf("seq_classif_dropout is %g", p)
		}
		if c, err = readFields(t, "distilbert", map[string]string{"seq_classif_dropout": "0.5"}); err != nil || c.classifierDropout() != 0.5 {
			t.Errorf("read as %g (%v)", c.classifierDropout(), err)
		}
	}
}

// Of the names that other families have for a field, those of Transformers' attribute_map are read, no others.
func TestOtherNamesOfFields(t *testing.T) {
	for _, tc := range []struct {
		fields map[string]string
		want   string
	}{
		{map[string]string{"hidden_size": "24", "num_hidden_layers": "3"}, "3 layers of 24, gelu"},
		{map[string]string{"hidden_size": "24", "dim": "24"}, "6 layers of 24, gelu"},
		{map[string]string{"hidden_size": "24", "dim": "36"}, "config.json: dim is 36 and hidden_size, its other name, 24; leave one out"},
		{map[string]string{"hidden_act": `"relu"`, "intermediate_size": "0", "layer_norm_eps": "2", "type_vocab_size": "-1"}, "6 layers of 768, gelu"},
	} {
		c, err := readFields(t, "distilbert", tc.fields)
		got := ""
		if err != nil {
			got = err.Error()
		} else {
			got = fmt.Sprintf("%d layers of %d, %s", c.NumHiddenLayers, c.HiddenSize, c.HiddenAct)
		}
		if got != tc.want {
			t.Errorf("%v: got %s, want %s", tc.fields, got, tc.want)
		}
	}
}

func TestNumbersForNamesOfClasses(t *testing.T) {
	c, err := readFields(t, "bert", map[string]string{"id2label": `{"0": 1, "1": "1.5", "2": 2.5}`})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(c.Labels(), " "); got != "1 1.5 2.5" {
		t.Errorf("labels %s: a number is its own name", got)
	}
	if _, err := readFields(t, "bert", map[string]string{"id2label": `{"0": null}`}); err == nil || !strings.Contains(err.Error(), "id2label: class 0 is null; want a name") {
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
