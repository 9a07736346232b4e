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
	} {
		if _, err := Fields([]byte(text)); err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
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
