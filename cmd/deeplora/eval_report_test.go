package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/train"
)

// evaluation reads one as eval --json writes it.
func evaluation(t *testing.T, text string) *train.Evaluation {
	t.Helper()
	var e train.Evaluation
	if err := json.Unmarshal([]byte(text), &e); err != nil {
		t.Fatal(err)
	}
	return &e
}

// What an evaluation shows, with names and texts of strangers: nothing of them commands the terminal.
func TestEvaluationReport(t *testing.T) {
	long := strings.Repeat("x", 60)
	for _, c := range []struct{ name, json, want string }{
		{
			"classes", `{"task": "films", "split": "test", "examples": 5, "metrics": {"accuracy": 0.6}, "labels": ["bad", "go\u001b[31mod and much longer"], "confusion": [[2, 1], [1, 1]],
				"errors": [{"row": 3, "text": "a\u001b]0;b\u0007\tc\nd` + long + `", "pair": "\u202e` + long + `", "truth": ["bad"], "predicted": ["good"], "loss": 2.5}]}`,
			`task       films
evaluated  5 test examples
metrics    accuracy 0.6000

true \ predicted  bad  go\x1b[31mod an…
bad               2    1
go\x1b[31mod an…  1    1

loss    row  true  predicted  text
2.5000  3    bad   good       a\x1b]0;b\x07\tc\ndxxxxxxxxxxxxxxxx… | \u202exxxxxxxxxxxxxxxxxxxxxxxxxxxxx…
`,
		},
		{
			"scores", `{"task": "own", "split": "validation", "examples": 1, "metrics": {"pearson": null}, "errors": [{"row": 0, "text": "é", "value": 4.25, "score": 1, "loss": 10.5625}]}`,
			`task       own
evaluated  1 validation examples
metrics    pearson undefined

loss     row  true  predicted  text
10.5625  0    4.25  1          é
`,
		},
		{
			"sets", `{"task": "tags", "split": "validation", "examples": 2, "metrics": {"micro_f1": 1}, "labels": ["a", "b"], "per_label": {"a": {"precision": 1, "recall": 0.5, "f1": 0.6666, "support": 2}, "b": {"precision": 0, "recall": 0, "f1": 0, "support": 0}},
				"errors": [{"row": 0, "text": "t", "truth": ["a", "b"], "loss": 1}]}`,
			`task       tags
evaluated  2 validation examples
metrics    micro_f1 1.0000

label  precision  recall  f1      support
a      1.0000     0.5000  0.6666  2
b      0.0000     0.0000  0.0000  0

loss    row  true  predicted  text
1.0000  0    a, b             t
`,
		},
	} {
		var out bytes.Buffer
		if err := newUI(&out, &bytes.Buffer{}, false, false).report(evaluation(t, c.json)); err != nil {
			t.Fatal(err)
		}
		if got := out.String(); got != c.want {
			t.Errorf("%s:\ngot\n%swant\n%s", c.name, got, c.want)
		}
	}
}

// A matrix of many classes would not fit a screen: what is mistaken most often does.
func TestManyConfusions(t *testing.T) {
	e := &train.Evaluation{Task: "many"}
	for i := range 20 {
		e.Labels = append(e.Labels, fmt.Sprint("class ", i))
		row := make([]int, 20)
		row[i], row[(i+1)%20] = 50, i
		e.Confusion = append(e.Confusion, row)
	}
	rows := confusionRows(e)
	if len(rows) != 12 || fmt.Sprint(rows[1]) != "[class 19 class 0 19]" || rows[11][0] != "and 9 more pairs: --json has the whole matrix" {
		t.Errorf("rows %v", rows)
	}
}

func TestShortened(t *testing.T) {
	for _, c := range []struct {
		text string
		n    int
		want string
	}{
		{"short", 5, "short"}, {"longer", 5, "long…"}, {"ééééé", 5, "ééééé"}, {"éééééé", 5, "éééé…"}, {strings.Repeat("é", 1000), 3, "éé…"}, {"\x1b\x1b", 6, `\x1b\…`}, {"\xff", 6, `\xff`},
	} {
		if got := shortened(c.text, c.n); got != c.want {
			t.Errorf("%q in %d: %q, want %q", c.text, c.n, got, c.want)
		}
	}
}
