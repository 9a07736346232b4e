package data

import (
	"io"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

func inputs(t *testing.T, content, name string, task *Task) ([]Input, error) {
	t.Helper()
	var all []Input
	for in, err := range ReadInputs("", strings.NewReader(content), name, task) {
		if err != nil {
			return all, err
		}
		all = append(all, in)
	}
	return all, nil
}

func TestInputs(t *testing.T) {
	got, err := inputs(t, strings.Join([]string{
		`{"text": "a"}`,
		``,
		`{"pair": "c", "text": "b"}`,
		`{"text": "", "pair": null}`,
		`{"input_ids": [101, 7, 102]}`,
		`{"input_ids": [101, 7, 102, 0, 0], "token_type_ids": [0, 0, 1, 0, 0], "attention_mask": [1, 1, 1, 0, 0], "tokens": ["[CLS]"]}`,
	}, "\n"), "-", nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 5 || got[4].Line != 6 || got[4].Example.Row != 4 {
		t.Fatalf("%+v", got)
	}
	for i, want := range []Example{{Text: "a"}, {Text: "b", Pair: "c", HasPair: true}, {Text: ""}} {
		e := got[i].Example
		if !math.IsNaN(e.Label) || e.Text != want.Text || e.Pair != want.Pair || e.HasPair != want.HasPair || got[i].Ready {
			t.Errorf("input %d: %+v, want %+v", i, got[i], want)
		}
	}
	if e := got[3]; !e.Ready || !slices.Equal(e.Encoded.IDs, []int32{101, 7, 102}) || e.Encoded.Types != nil {
		t.Errorf("%+v", e)
	}
	if e := got[4]; !e.Ready || !slices.Equal(e.Encoded.IDs, []int32{101, 7, 102}) || !slices.Equal(e.Encoded.Types, []int32{0, 0, 1}) {
		t.Errorf("%+v: padding should be off", e)
	}
}

func TestInputTSV(t *testing.T) {
	rte := lookup(t, "rte")
	got, err := inputs(t, "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tanything\n1\tc\td\t\n", "x/test.tsv", &rte)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 2 || got[1].Line != 3 || got[1].Example.Text != "c" || got[1].Example.Pair != "d" || got[1].Example.Row != 1 {
		t.Errorf("%+v", got)
	}
	_, err = inputs(t, "index\tsentence1\tsentence2\n0\ta\n", "test.tsv", &rte)
	wantError(t, err, "test.tsv:2: 2 fields; want 3")
	_, err = inputs(t, "", "test.tsv", &rte)
	wantError(t, err, "test.tsv: empty file")
	_, err = inputs(t, "a\n", "test.tsv", nil)
	wantError(t, err, "test.tsv: the columns of a TSV depend on the task; give --task, or JSONL")
}

func TestInputFaults(t *testing.T) {
	rte, sst2 := lookup(t, "rte"), lookup(t, "sst2")
	for _, c := range []struct {
		line string
		task *Task
		want string
	}{
		{`{"txt": "a"}`, nil, `in.jsonl:2: unknown field "txt"; nearest: text (known: text pair input_ids token_type_ids attention_mask tokens)`},
		{`{"text": "a", "Pair": "b"}`, nil, `unknown field "Pair"; nearest: pair`},
		{`{"text": "a", "label": 1}`, nil, `unknown field "label"`},
		{`{"pair": "a"}`, nil, `in.jsonl:2: neither "text" nor "input_ids"`},
		{`{}`, nil, `neither "text" nor "input_ids"`},
		{`{"text": 1}`, nil, `field "text" is 1; want a string`},
		{`{"text": null}`, nil, `field "text" is null; want a string`},
		{`{"text": "a", "input_ids": [1]}`, nil, `both "text" and "input_ids"; want one of them`},
		{`{"text": "a", "token_type_ids": [1]}`, nil, `field "token_type_ids" goes with "input_ids"`},
		{`{"input_ids": [1], "pair": "a"}`, nil, `field "pair" goes with "text"`},
		{`{"input_ids": []}`, nil, `input_ids has no token`},
		{`{"input_ids": [1, 0], "attention_mask": [0, 0]}`, nil, `input_ids has no token`},
		{`{"input_ids": [1, -2]}`, nil, `input_ids[1] is -2; want 0 to 2147483647`},
		{`{"input_ids": [1, null]}`, nil, `field "input_ids" is not a list of 32-bit integers`},
		{`{"input_ids": null}`, nil, `field "input_ids" is not a list of 32-bit integers`},
		{`{"input_ids": [1.5]}`, nil, `field "input_ids" is not a list of 32-bit integers`},
		{`{"input_ids": [3000000000]}`, nil, `field "input_ids" is not a list of 32-bit integers`},
		{`{"input_ids": [1, 2], "token_type_ids": [0]}`, nil, `1 token_type_ids for 2 input_ids`},
		{`{"input_ids": [1, 2], "attention_mask": [1]}`, nil, `attention_mask has 1 numbers for 2 input_ids`},
		{`{"input_ids": [1, 2], "attention_mask": [0, 1]}`, nil, `attention_mask[0] is 0 before a 1`},
		{`{"input_ids": [1, 2], "attention_mask": [1, 2]}`, nil, `attention_mask[1] is 2; want 0 to 1`},
		{`{"text": "a"}`, &rte, `rte takes two texts; "pair" is missing`},
		{`{"text": "a", "pair": "b"}`, &sst2, `sst2 takes one text; "pair" is too many`},
		{`{"text": "a", "text": "b"}`, nil, `field "text" is given twice`},
		{`not json`, nil, `in.jsonl:2: column 1: `},
	} {
		first := `{"input_ids": [5]}`
		got, err := inputs(t, first+"\n"+c.line+"\n"+first, "in.jsonl", c.task)
		if err == nil {
			t.Errorf("%s: no error", c.line)
			continue
		}
		if wantError(t, err, c.want); len(got) != 1 {
			t.Errorf("%s: %d rows came, want the one before it", c.line, len(got))
		}
	}
}

func TestInputStops(t *testing.T) {
	n := 0
	for range ReadInputs("", strings.NewReader(strings.Repeat(`{"text":"a"}`+"\n", 100)), "-", nil) {
		if n++; n == 3 {
			break
		}
	}
	if n != 3 {
		t.Errorf("%d rows after a break", n)
	}
	for _, err := range ReadInputs("", iotest.ErrReader(io.ErrClosedPipe), "-", nil) {
		wantError(t, err, "standard input:1: io: read/write on closed pipe")
	}
}

// The rows of an input need not fit in memory.
func TestInputsInConstantMemory(t *testing.T) {
	line := `{"text":"` + strings.Repeat("x", 1000) + `"}` + "\n"
	const rows = 50_000 // 50 MB
	var before, now runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	n, most := 0, uint64(0)
	for _, err := range ReadInputs("", io.LimitReader(repeating(line), int64(rows*len(line))), "-", nil) {
		if err != nil {
			t.Fatal(err)
		}
		if n++; n%10_000 == 0 {
			runtime.GC()
			runtime.ReadMemStats(&now)
			most = max(most, now.HeapAlloc)
		}
	}
	if n != rows {
		t.Fatalf("%d rows", n)
	}
	if most > before.HeapAlloc+2<<20 {
		t.Errorf("%d bytes held while reading, %d before", most, before.HeapAlloc)
	}
}

// repeating gives a text over and over.
type repeating string

func (r repeating) Read(p []byte) (int, error) {
	n := 0
	for n+len(r) <= len(p) {
		n += copy(p[n:], r)
	}
	if n == 0 {
		return 0, io.ErrShortBuffer
	}
	return n, nil
}

func FuzzInputs(f *testing.F) {
	f.Add("in.jsonl", `{"text": "a", "pair": "b"}`)
	f.Add("in.jsonl", `{"input_ids": [1, 2], "token_type_ids": [0, 1], "attention_mask": [1, 0]}`+"\n\n"+`{"text":""}`)
	f.Add("in.tsv", "index\tsentence1\tsentence2\n0\ta\tb\n")
	f.Fuzz(func(t *testing.T, name, content string) {
		rte := lookup(t, "rte")
		for _, task := range []*Task{nil, &rte} {
			line := 0
			for in, err := range ReadInputs("", strings.NewReader(content), name, task) {
				if err != nil {
					if line < 0 {
						t.Fatal("rows after an error")
					}
					line = -1
					continue
				}
				if line < 0 || in.Line <= line {
					t.Fatalf("line %d after line %d", in.Line, line)
				}
				line = in.Line
				if in.Ready && (len(in.Encoded.IDs) == 0 || in.Encoded.Types != nil && len(in.Encoded.Types) != len(in.Encoded.IDs)) {
					t.Fatalf("%+v", in)
				}
				if !in.Ready && task != nil && !in.Example.HasPair {
					t.Fatalf("a pair task got %+v", in)
				}
			}
		}
	})
}
