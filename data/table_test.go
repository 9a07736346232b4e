package data

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/parquet-go/parquet-go"
)

// pairs are the rows of scripts/goldens/data.py.
var pairs = []Example{
	{Text: "A \"quoted\tfield\" with a tab.", Pair: "Zweiter Satz: für später.", HasPair: true, Label: 3.8, Row: 0},
	{Text: "A plane is taking off.", Pair: "", HasPair: true, Label: 5, Row: 1},
	{Text: "", Pair: "An air plane\nis taking off.", HasPair: true, Label: 0, Row: 2},
	{Text: "A man is smoking.", Pair: "A man is skating.", HasPair: true, Label: 0.5, Row: 3},
	{Text: "A plane is taking off.", Pair: "An air plane is taking off.", HasPair: true, Label: 3.667, Row: 4},
}

func golden(t testing.TB, name string) *fstest.MapFile {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return &fstest.MapFile{Data: content}
}

func TestParquetFromPyArrow(t *testing.T) {
	classes := []float64{0, 1, 1, 0, 1}
	names := []float64{0, 1, 0, 1, 0}
	none := []float64{math.NaN(), math.NaN(), math.NaN(), math.NaN(), math.NaN()}
	for _, c := range []struct {
		golden, task, split, path string
		labels                    []float64
	}{
		{"stsb.parquet", "stsb", Train, "stsb/train-00000-of-00001.parquet", []float64{3.8, 5, 0, 0.5, 3.667}},
		{"stsb.parquet", "stsb", Validation, "data/validation-00000-of-00001-0123456789abcdef.parquet", []float64{3.8, 5, 0, 0.5, 3.667}},
		{"rte_plain.parquet", "rte", Train, "train.parquet", classes},
		{"rte_names.parquet", "rte", Validation, "RTE/dev.parquet", names},
		{"sst2_test.parquet", "sst2", Test, "sst2/test-00000-of-00001.parquet", none},
	} {
		t.Run(c.golden, func(t *testing.T) {
			task := lookup(t, c.task)
			s, err := LoadFS(fstest.MapFS{c.path: golden(t, c.golden)}, task, c.split)
			if err != nil {
				t.Fatal(err)
			}
			if len(s.Examples) != len(pairs) || s.Source.Rows != len(pairs) || s.Source.File != c.path {
				t.Fatalf("%+v", s)
			}
			for i, e := range s.Examples {
				want := pairs[i]
				if !task.Pair() {
					want.Pair, want.HasPair = "", false
				}
				if want.Label = c.labels[i]; math.IsNaN(want.Label) && math.IsNaN(e.Label) {
					want.Label, e.Label = 0, 0
				}
				if !same(e, want) {
					t.Errorf("row %d: %+v, want %+v", i, e, want)
				}
			}
		})
	}
}

func TestParquetFaults(t *testing.T) {
	whole := golden(t, "stsb.parquet").Data
	footer := bytes.Clone(whole)
	binary.LittleEndian.PutUint32(footer[len(footer)-8:], math.MaxUint32)
	for _, c := range []struct {
		name, task, split string
		content           []byte
		want              string
	}{
		{"cut off", "stsb", Train, whole[:len(whole)/2], "glue: train.parquet: not a parquet file: "},
		{"empty", "stsb", Train, nil, "not a parquet file: 0 bytes"},
		{"a TSV", "stsb", Train, []byte("sentence1\tsentence2\tscore\n"), "not a parquet file"},
		{"a footer of 4 GiB", "stsb", Train, footer, "its footer is longer than the file"},
		{"another task's file", "sst2", Train, whole, `train.parquet: no column "sentence"; nearest: "sentence1" (is this a file of sst2?)`},
		{"a null", "sst2", Train, golden(t, "nulls.parquet").Data, `row 1: column "sentence": no text (null)`},
		{"hidden labels", "sst2", Train, golden(t, "sst2_test.parquet").Data, `row 0: column "label": label -1 is not a class`},
		{"a score for a class", "rte", Train, whole, `row 0: column "label": label 3.8 is not a class`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := LoadFS(fstest.MapFS{c.split + ".parquet": &fstest.MapFile{Data: c.content}}, lookup(t, c.task), c.split)
			wantError(t, err, c.want)
		})
	}
}

func parquetOf[T any](t *testing.T, rows ...T) *fstest.MapFile {
	t.Helper()
	var file bytes.Buffer
	w := parquet.NewGenericWriter[T](&file)
	if _, err := w.Write(rows); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &fstest.MapFile{Data: file.Bytes()}
}

// Labels come as every type that a writer may choose.
func TestParquetLabelTypes(t *testing.T) {
	type base struct {
		Sentence string `parquet:"sentence"`
	}
	type int32s struct {
		base
		Label int32 `parquet:"label"`
	}
	type doubles struct {
		base
		Label float64 `parquet:"label"`
	}
	type optional struct {
		base
		Label *int64 `parquet:"label"`
	}
	type booleans struct {
		base
		Label bool `parquet:"label"`
	}
	type lists struct {
		base
		Label []int64 `parquet:"label"`
	}
	type bytesOnly struct {
		Sentence int64 `parquet:"sentence"`
		Label    int64 `parquet:"label"`
	}
	one, a := int64(1), base{"a"}
	for _, c := range []struct {
		name string
		file *fstest.MapFile
		want string // "" for label 1
	}{
		{"int32", parquetOf(t, int32s{a, 1}), ""},
		{"double", parquetOf(t, doubles{a, 1}), ""},
		{"optional", parquetOf(t, optional{a, &one}), ""},
		{"null", parquetOf(t, optional{a, &one}, optional{a, nil}), `row 1: column "label": no label (null); only a test split may lack labels`},
		{"boolean", parquetOf(t, booleans{a, true}), "a label of kind BOOLEAN; want an integer, a float or a class name"},
		{"list", parquetOf(t, lists{a, []int64{1}}), `column "label" is a list; want one value a row`},
		{"no label", parquetOf(t, a), `no column "label"`},
		{"text of numbers", parquetOf(t, bytesOnly{1, 1}), `column "sentence" is INT(64,true); want strings`},
		{"not UTF-8", parquetOf(t, int32s{base{"\xff"}, 1}), `row 0: column "sentence": not valid UTF-8`},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, err := LoadFS(fstest.MapFS{"train.parquet": c.file}, lookup(t, "sst2"), Train)
			if c.want != "" {
				wantError(t, err, c.want)
			} else if err != nil || s.Examples[0].Label != 1 || s.Examples[0].Text != "a" {
				t.Errorf("%+v, %v", s, err)
			}
		})
	}
}

// A kilobyte of parquet can claim a billion rows: the library would give them all.
func TestParquetRowBomb(t *testing.T) {
	type row struct {
		Sentence string `parquet:"sentence,dict,snappy"`
		Label    int64  `parquet:"label,dict,snappy"`
	}
	var file bytes.Buffer
	w := parquet.NewGenericWriter[row](&file)
	batch := make([]row, 1<<16)
	for i := range batch {
		batch[i].Sentence = "the same again"
	}
	for range 40 {
		if _, err := w.Write(batch); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	_, err := LoadFS(fstest.MapFS{"train.parquet": &fstest.MapFile{Data: file.Bytes()}}, lookup(t, "sst2"), Train)
	wantError(t, err, "more rows than its size allows")
}

func TestJSONL(t *testing.T) {
	const content = `{"sentence1": "A \"quoted\tfield\" with a tab.", "sentence2": "Zweiter Satz: f\u00fcr später.", "label": 3.8, "idx": 0}

{"label": "5", "sentence2": "", "sentence1": "A plane is taking off."}
{"sentence1": "", "sentence2": "An air plane\nis taking off.", "label": 0, "more": {"sentence1": [1, 2]}}`
	s, err := LoadFS(fstest.MapFS{"train.jsonl": text(content)}, lookup(t, "stsb"), Train)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range s.Examples {
		if !same(e, pairs[i]) {
			t.Errorf("row %d: %+v, want %+v", i, e, pairs[i])
		}
	}
	if len(s.Examples) != 3 || s.Source.Rows != 3 {
		t.Errorf("%d examples of %d rows", len(s.Examples), s.Source.Rows)
	}

	s, err = LoadFS(fstest.MapFS{"test.jsonl": text(`{"sentence":"a","label":-1}` + "\n" + `{"sentence":"b"}` + "\n" + `{"sentence":"c","label":"positive"}`)}, lookup(t, "sst2"), Test)
	if err != nil {
		t.Fatal(err)
	}
	if got := s.Labels(); !math.IsNaN(got[0]) || !math.IsNaN(got[1]) || got[2] != 1 {
		t.Errorf("labels %v", got)
	}
}

func TestJSONLFaults(t *testing.T) {
	const good = `{"sentence1":"a","sentence2":"b","label":1}` + "\n"
	for _, c := range []struct{ name, line, want string }{
		{"no column", `{"sentence1":"a","sentense2":"b","label":1}`, `glue: train.jsonl:2: no field "sentence2"; nearest: "sentense2" (is this a file of rte?)`},
		{"column of another case", `{"Sentence1":"a","sentence2":"b","label":1}`, `no field "sentence1"; nearest: "Sentence1"`},
		{"no label", `{"sentence1":"a","sentence2":"b"}`, `train.jsonl:2: no field "label"; only a test split may lack labels`},
		{"hidden label", `{"sentence1":"a","sentence2":"b","label":-1}`, `label -1 is not a class`},
		{"half a label", `{"sentence1":"a","sentence2":"b","label":0.5}`, `label 0.5 is not a class`},
		{"a list for a label", `{"sentence1":"a","sentence2":"b","label":[1]}`, `label [1] is neither a name nor a number`},
		{"a label too large", `{"sentence1":"a","sentence2":"b","label":1e999}`, `train.jsonl:2: `},
		{"null text", `{"sentence1":null,"sentence2":"b","label":1}`, `field "sentence1" is null; want a string`},
		{"a number for text", `{"sentence1":7,"sentence2":"b","label":1}`, `field "sentence1" is 7; want a string`},
		{"a field twice", `{"sentence1":"a","sentence1":"c","sentence2":"b","label":1}`, `train.jsonl:2: field "sentence1" is given twice`},
		{"a list", `["a","b",1]`, `not a JSON object, {…}`},
		{"cut off", `{"sentence1":"a","sentence2":"b"`, `the JSON ends too early`},
		{"cut off in a value", `{"sentence1":"a","sentence2":"b`, `the JSON ends too early`},
		{"two objects", good[:len(good)-1] + good, `text after the JSON object`},
		{"not JSON", `{sentence1: "a"}`, `train.jsonl:2: column 2: `},
		{"not UTF-8", "{\"sentence1\":\"\xff\",\"sentence2\":\"b\",\"label\":1}", `train.jsonl:2: not valid UTF-8`},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := LoadFS(fstest.MapFS{"train.jsonl": text(good + c.line + "\n" + good)}, lookup(t, "rte"), Train)
			wantError(t, err, c.want)
		})
	}
}

func FuzzJSONL(f *testing.F) {
	f.Add("stsb", `{"sentence1": "a", "sentence2": "b", "label": 3.5, "idx": 0}`)
	f.Add("rte", `{"sentence1": "a\ud800", "sentence2": "\u0000", "label": "entailment"}`+"\r\n\n")
	f.Add("sst2", "\ufeff{\"sentence\":\"a\",\"label\":1}\n{\"sentence\":\"b\",\"label\":0,\"x\":[{}]}")
	f.Fuzz(func(t *testing.T, name, content string) {
		task, err := LookupTask(name)
		if err != nil {
			t.Skip()
		}
		for _, split := range task.Splits() {
			s, err := LoadFS(fstest.MapFS{split + ".jsonl": text(content)}, task, split)
			if err != nil {
				continue
			}
			if n := strings.Count(content, "\n") + 1; len(s.Examples) > n || s.Source.Rows != len(s.Examples) {
				t.Fatalf("%d examples, %d rows of %d lines", len(s.Examples), s.Source.Rows, n)
			}
			checkExamples(t, s)
		}
	})
}

// checkExamples holds for whatever was read without an error.
func checkExamples(t *testing.T, s *Split) {
	t.Helper()
	for i, e := range s.Examples {
		if _, err := s.Task.numberLabel(e.Label); err != nil && !(math.IsNaN(e.Label) && s.Name == Test) {
			t.Fatalf("example %d of %s: %v", i, s.Name, err)
		}
		if e.HasPair != s.Task.Pair() || e.Row != i {
			t.Fatalf("example %d of %s: %+v", i, s.Task.Name, e)
		}
	}
}

func FuzzParquet(f *testing.F) {
	for _, name := range []string{"stsb.parquet", "rte_plain.parquet", "rte_names.parquet", "sst2_test.parquet"} {
		f.Add(golden(f, name).Data)
	}
	f.Fuzz(func(t *testing.T, content []byte) {
		for _, name := range []string{"stsb", "rte", "sst2"} {
			s, err := LoadFS(fstest.MapFS{"test.parquet": &fstest.MapFile{Data: content}}, lookup(t, name), Test)
			if err == nil {
				checkExamples(t, s)
			}
		}
	})
}
