package jsonfile

import (
	"encoding/json"
	"errors"
	"testing"
)

func TestFates(t *testing.T) {
	fates := Fates{{Name: "a", Honoured: true}, {Name: "b", Harmless: "of decoding"}, {Name: "c", Only: []string{"null", `{"x":1}`}}}
	if faults := fates.Faults(); faults != nil {
		t.Error(faults)
	}
	for fields, want := range map[string]string{
		`{}`:                      "",
		`{"a": 1, "b": 2}`:        "",
		`{"c": null, "other": 3}`: "",
		`{"c": { "x": 1 }}`:       "",
		`{"c": [1, 2]}`:           `c is [1,2], which is not supported; want null or {"x":1}`,
	} {
		var read map[string]json.RawMessage
		if err := json.Unmarshal([]byte(fields), &read); err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(fates.Refused(read)...); err == nil && want != "" || err != nil && err.Error() != want {
			t.Errorf("%s: got %v, want %q", fields, err, want)
		}
	}
	if fates.Harmless("a") || !fates.Harmless("b") || fates.Harmless("c") || fates.Harmless("d") {
		t.Error("b alone is harmless")
	}
	twice := Fates{{Name: "a"}, {Name: "b", Honoured: true, Harmless: "both"}, {Name: "c", Honoured: true}, {Name: "c", Honoured: true}}
	if faults := twice.Faults(); len(faults) != 3 {
		t.Errorf("want three faults, got %v", faults)
	}
}
