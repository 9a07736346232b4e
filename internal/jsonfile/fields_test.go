package jsonfile

import (
	"strings"
	"testing"
)

func TestFieldsKeepTheirOrder(t *testing.T) {
	fields, err := Fields([]byte(`{"b": [1, 2], "a": {"b": null}, "c": "x"}`))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range fields {
		got = append(got, f.Name+"="+string(f.Value))
	}
	if want := `b=[1, 2] a={"b": null} c="x"`; strings.Join(got, " ") != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestFieldsFaults(t *testing.T) {
	for text, want := range map[string]string{
		``:                     "not a JSON object",
		`[1]`:                  "not a JSON object",
		`{"a": 1, "a": 2}`:     `field "a" is given twice`,
		`{"a": 1} {}`:          "text after the JSON object",
		`{"a": 1`:              "the JSON ends too early",
		"{\"a\": 1,\n\"b\" 2}": `field "b": line 2: `,
		`{a: 1}`:               "column 2: invalid character",
		`a`:                    "column 1: invalid character",
	} {
		if _, err := Fields([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func TestObject(t *testing.T) {
	o, err := Fields([]byte(`{"task": "rte", "rnk": 8}`))
	if err != nil {
		t.Fatal(err)
	}
	if value, ok := o.Get("rnk"); !ok || string(value) != "8" {
		t.Errorf("rnk is %s (%v)", value, ok)
	}
	if value, ok := o.Get("rank"); ok {
		t.Errorf("rank is %s", value)
	}
	want := `unknown field "rnk"; nearest: rank (known: task rank)`
	if err := o.OnlyKnown([]string{"task", "rank"}); err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	if err := o.OnlyKnown([]string{"task", "rnk"}); err != nil {
		t.Error(err)
	}
}

func FuzzFields(f *testing.F) {
	f.Add([]byte(`{"a": 1, "b": {"a": [true, null]}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		fields, err := Fields(text)
		if err != nil {
			return
		}
		size := 0
		for _, field := range fields {
			size += len(field.Value)
		}
		if size > len(text) {
			t.Errorf("%d bytes of values of a text of %d", size, len(text))
		}
	})
}
