package jsonfile

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

type note struct {
	Name   string         `json:"name"`
	Counts map[string]int `json:"counts"`
	Share  *float64       `json:"share"`
}

func TestReadWhatWasWritten(t *testing.T) {
	share := 0.1
	path := filepath.Join(t.TempDir(), "note.json")
	for _, want := range []note{
		{"ü <&> \u2028\n", map[string]int{"b": 2, "a": 1}, &share},
		{}, // written over the other: whole, and without what was longer
	} {
		if err := Write(path, want); err != nil {
			t.Fatal(err)
		}
		var got note
		if err := Read(path, &got); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v became %+v (%v)", want, got, err)
		}
	}
	text, err := os.ReadFile(path)
	if want := "{\n  \"name\": \"\",\n  \"counts\": null,\n  \"share\": null\n}\n"; err != nil || string(text) != want {
		t.Errorf("the file is %q, want %q (%v)", text, want, err)
	}
	if entries, err := os.ReadDir(filepath.Dir(path)); err != nil || len(entries) != 1 {
		t.Errorf("left beside the file: %v %v", entries, err)
	}
}

func TestReadRefuses(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"empty", "", "file is damaged: EOF"},
		{"cut short", `{"name": "a`, "file is damaged: unexpected EOF"},
		{"unknown field", `{"nmae": "a"}`, `file is damaged: json: unknown field "nmae"`},
		{"another type", `{"name": 1}`, "file is damaged: json: cannot unmarshal number"},
		{"text behind", `{"name": "a"} {}`, "file is damaged: text after the JSON value"},
		{"an end too many", `{"name": "a"}]`, "file is damaged: text after the JSON value"},
		{"no JSON", "name: a", "file is damaged: invalid character"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "note.json")
			if err := os.WriteFile(path, []byte(tc.text), 0o644); err != nil {
				t.Fatal(err)
			}
			var got note
			err := Read(path, &got)
			if !errors.Is(err, ErrCorrupt) || !strings.HasPrefix(err.Error(), path+": "+tc.want) {
				t.Errorf("error %v, want %s", err, tc.want)
			}
		})
	}
}

// A file that is absent is no damage: callers branch on it.
func TestReadOfNothing(t *testing.T) {
	var got note
	if err := Read(filepath.Join(t.TempDir(), "note.json"), &got); !errors.Is(err, fs.ErrNotExist) || errors.Is(err, ErrCorrupt) {
		t.Errorf("error %v", err)
	}
}

// What cannot be written leaves the file that was there.
func TestWriteRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "note.json")
	if err := Write(path, 1); err != nil {
		t.Fatal(err)
	}
	if err := Write(path, math.NaN()); err == nil || !strings.HasPrefix(err.Error(), "write "+path+": ") {
		t.Errorf("NaN: %v", err)
	}
	var got int
	if err := Read(path, &got); err != nil || got != 1 {
		t.Errorf("the file holds %d (%v)", got, err)
	}
	if err := Write(filepath.Join(t.TempDir(), "absent", "note.json"), 1); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
}

// Whatever a file holds, Read gives a value or says that it is damaged; what it gives can be written.
func FuzzRead(f *testing.F) {
	for _, text := range []string{`{"name": "a", "counts": {"b": 1}, "share": 1e-3}`, "null", "{}", `{"share": 1e999}`, `{"name": "\ud800"}`, "[", "{}{}"} {
		f.Add(text)
	}
	path := filepath.Join(f.TempDir(), "note.json")
	f.Fuzz(func(t *testing.T, text string) {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		var got, again note
		if err := Read(path, &got); err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Errorf("%v is not ErrCorrupt", err)
			}
			return
		}
		if err := errors.Join(Write(path, got), Read(path, &again)); err != nil || !reflect.DeepEqual(again, got) {
			t.Errorf("%+v became %+v (%v)", got, again, err)
		}
	})
}
