package serve

import (
	"encoding/json"
	"errors"
	"testing"
	"unicode/utf8"

	"github.com/deeplora/deeplora/data"
)

func TestParse(t *testing.T) {
	for body, want := range map[string]request{
		`{"inputs": "a"}`:   {inputs: []data.Example{{Text: "a"}}, single: true},
		`{"inputs": ["a"]}`: {inputs: []data.Example{{Text: "a"}}, single: true},
		` {"truncate": true, "inputs" : [ "a" , "" ] }`:                         {inputs: []data.Example{{Text: "a", HasPair: true}}, single: true, truncate: true},
		`{"inputs": [["a"], ["b", "c"]], "raw_scores": true, "truncate": null}`: {inputs: []data.Example{{Text: "a"}, {Text: "b", Pair: "c", HasPair: true}}, raw: true},
	} {
		got, err := parse([]byte(body), 2)
		if err != nil {
			t.Errorf("%s: %v", body, err)
			continue
		}
		a, _ := json.Marshal(got.inputs)
		b, _ := json.Marshal(want.inputs)
		if string(a) != string(b) || got.single != want.single || got.truncate != want.truncate || got.raw != want.raw {
			t.Errorf("%s: %+v, want %+v", body, got, want)
		}
	}
}

// Whatever a client sends, it is a request of texts that can be tokenized, or a fault that names no code but 400, 413, 422.
func FuzzRequest(f *testing.F) {
	for _, seed := range []string{
		`{"inputs": "a"}`, `{"inputs": ["a", "b"]}`, `{"inputs": [["a"], ["b", "c"]], "truncate": true, "raw_scores": false}`, `{"inputs": "\ud83d"}`,
		"{\"inputs\": \"\xff\"}", `{"inputs": [[[["a"]]]]}`, `{"inputs": []}`, `[`, ``, `{"inputs": 1e999}`, `{"truncation_direction": "Right", "inputs": "\ufffd"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		r, err := parse(body, 4)
		if err != nil {
			var fault *fault
			if !errors.As(err, &fault) || fault.status != 400 && fault.status != 413 && fault.status != 422 || fault.Text == "" {
				t.Fatalf("%#v", err)
			}
			if text, err := json.Marshal(fault); err != nil || !utf8.Valid(text) {
				t.Fatalf("%s: %v", text, err)
			}
			return
		}
		if n := len(r.inputs); n < 1 || n > 4 || r.single && n != 1 {
			t.Fatalf("%d inputs, single: %v", n, r.single)
		}
		for _, x := range r.inputs {
			if !utf8.ValidString(x.Text) || !utf8.ValidString(x.Pair) || len(x.Text)+len(x.Pair) > len(body) || x.Pair != "" && !x.HasPair {
				t.Fatalf("%q and %q of %q", x.Text, x.Pair, body)
			}
		}
	})
}
