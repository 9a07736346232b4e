package data

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
)

// ownFile writes a file into a directory of its own and returns its path.
func ownFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func packed(t *testing.T, content string) string {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	if _, err := w.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

type nestedRow struct {
	Review struct {
		Text string `parquet:"text"`
	} `parquet:"review"`
	Label int64 `parquet:"label"`
}

func parquetText[T any](t *testing.T, rows []T) string {
	t.Helper()
	var b bytes.Buffer
	if err := parquet.Write(&b, rows); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Whatever the format, the same examples come out of it.
func TestOwnFormats(t *testing.T) {
	nested := make([]nestedRow, 2)
	nested[0].Review.Text, nested[0].Label = "fine, and\nlong", 1
	nested[1].Review.Text = "dull"
	for _, c := range []struct{ name, content, text string }{
		{"a.csv", "\ufefftext,label\r\n\"fine, and\nlong\",1\r\ndull,0\r\n", ""},
		{"semicolons.csv", "text;label\n\"fine, and\nlong\";1\ndull;0\n", ""},
		{"tabs.csv", "text\tlabel\n\"fine, and\nlong\"\t1\ndull\t0\n", ""},
		{"quoted.tsv", "text\tlabel\n\"fine, and\nlong\"\t1\ndull\t0\n", ""},
		{"floats.csv", "text,label\n\"fine, and\nlong\",1.0\ndull,0.0\n", ""},
		{"a.jsonl", "{\"text\": \"fine, and\\nlong\", \"label\": 1}\n\n{\"label\": 0, \"text\": \"dull\"}\n", ""},
		{"a.json", "[{\"text\": \"fine, and\\nlong\", \"label\": 1.0},\n{\"label\": 0, \"text\": \"dull\"}]\n", ""},
		{"a.csv.gz", packed(t, "text,label\n\"fine, and\nlong\",1\ndull,0\n"), ""},
		{"a.parquet", parquetText(t, nested), "review.text"},
		{"a.parquet.gz", packed(t, parquetText(t, nested)), "review.text"},
	} {
		task := lookup(t, "classification").WithColumns(c.text, "", "")
		s, err := task.LoadFiles(ownFile(t, c.name, c.content), Train, false)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		want := []Example{{Text: "fine, and\nlong", Label: 1}, {Text: "dull", Row: 1}}
		if !reflect.DeepEqual(s.Examples, want) || !slices.Equal(s.Task.Labels, []string{"0", "1"}) || s.Source.Rows != 2 {
			t.Errorf("%s: %+v of %q", c.name, s.Examples, s.Task.Labels)
		}
	}
}

// A quote in a TSV that is no pair of quotes is text.
func TestOwnTSVWithoutQuoting(t *testing.T) {
	s, err := lookup(t, "classification").LoadFiles(ownFile(t, "a.tsv", "text\tlabel\n\"Hello\" he said\tx\n\"\ty\n"), Train, false)
	if err != nil || s.Examples[0].Text != `"Hello" he said` || s.Examples[1].Text != `"` {
		t.Errorf("%+v, %v", s, err)
	}
}

// Columns are found by name, those of one text and of two.
func TestOwnColumns(t *testing.T) {
	for _, c := range []struct {
		task, header string
		texts        []string
		label        string
	}{
		{"classification", "id,text,label", []string{"text"}, "label"},
		{"classification", "Sentence,Category", []string{"Sentence"}, "Category"},
		{"classification", "label,sentence1,sentence2,idx", []string{"sentence1", "sentence2"}, "label"},
		{"classification", "premise,hypothesis,class", []string{"premise", "hypothesis"}, "class"},
		{"classification", "question,passage,target", []string{"question", "passage"}, "target"},
		{"classification", "question,label", []string{"question"}, "label"},
		{"regression", "sentence1,sentence2,label,score", []string{"sentence1", "sentence2"}, "score"},
	} {
		row := strings.Repeat("1,", strings.Count(c.header, ",")) + "1\n"
		s, err := lookup(t, c.task).LoadFiles(ownFile(t, "a.csv", c.header+"\n"+row+strings.ReplaceAll(row, "1", "2")), Train, false)
		if err != nil || !slices.Equal(s.Task.Columns, c.texts) || s.Task.LabelColumn() != c.label {
			t.Errorf("%s: %v", c.header, err)
		}
	}
}

// What a user sees of files that are not right.
func TestOwnFaults(t *testing.T) {
	many := "text,label\n"
	for i := range 1001 {
		many += fmt.Sprintf("a,n%d\n", i)
	}
	type choice struct{ task, text, pair, label, labels string }
	found, scores := choice{task: "classification"}, choice{task: "regression"}
	sets := choice{task: "multilabel"}
	for _, c := range []struct {
		choice
		name, content, want string
	}{
		{found, "a.csv", "", "a.csv: empty file"},
		{found, "a.csv", "text,label\n", "a.csv: no data rows"},
		{found, "a.txt", "text,label\n", "a.txt: the ending says no format; want .csv .tsv .jsonl .json .parquet, each also .gz"},
		{found, "a.csv", "text,text\na,b\n", `a.csv:1: two columns are called "text"`},
		{found, "a.csv", "text,label\na,b\nc\n", "a.csv:3: 1 fields; want 2, as the header has (text, label)"},
		{found, "a.csv", "text,label\na,b\n\nc,d,e\n", "a.csv:4: 3 fields; want 2"},
		{found, "a.csv", "text,label\na \"b\" c,1\n", `a.csv:2:3: a quote inside a field without quotes; write "…""…"`},
		{found, "a.csv", "text,label\n\"a\" b,1\n", "a.csv:2:3: a quoted field does not end well; a quote inside a field is written twice"},
		{found, "a.csv", "text,label\nx,1\n\"a,1\nb,0\n", "the quote that begins in the row of line 3 does not end well"},
		{found, "a.csv", "text,label\nx,1\n\xff\xfe\x00,1\n", "a.csv:3: not valid UTF-8; convert the file first"},
		{found, "a.csv", "\xff\xfet\x00e\x00", "a.csv: is UTF-16; save it as UTF-8"},
		{found, "a.csv", "text,label\na\x00,1\n", "a.csv:2: a zero byte; is this a text file?"},
		{found, "a.csv", "PK\x03\x04...", "a.csv: is a zip archive or a spreadsheet; save it as CSV"},
		{found, "a.csv", "PAR1....", "a.csv: is a parquet file; rename it to .parquet"},
		{found, "a.csv.gz", "text,label\na,1\n", "a.csv.gz: not compressed by gzip, in spite of its name"},
		{found, "a.csv.gz", packed(t, "text,label\na,1\nb,0\n")[:20], "a.csv.gz: gzip: the file ends too early"},
		{found, "a.tsv", "text\tlabel\na\n", "a.tsv:2: 1 fields; want 2"},
		{found, "a.jsonl", "{\"text\": \"a\", \"label\": 1}\n{\"text\": \"b\"\n", "a.jsonl:2: the JSON ends too early"},
		{found, "a.jsonl", "{\"text\": \"a\", \"label\": 1}\n[1]\n", "a.jsonl:2: not a JSON object, {…}"},
		{found, "a.jsonl", "{\"text\": \"a\", \"text\": \"b\", \"label\": 1}\n", `a.jsonl:1: field "text" is given twice`},
		{found, "a.jsonl", "{\"text\": \"a\", \"label\": 1}\n{\"txt\": \"b\", \"label\": 0}\n", `a.jsonl:2: no field "text"; it has txt, label`},
		{found, "a.jsonl", "{\"text\": \"a\", \"label\": 1}\n{\"text\": 5, \"label\": 0}\n", `a.jsonl:2: "text" is 5; want a text`},
		{found, "a.jsonl", "{\"text\": null, \"label\": 1}\n{\"text\": \"b\", \"label\": 0}\n", `a.jsonl:1: "text" is null; want a text`},
		{found, "a.jsonl", "{\"text\": \"a\", \"label\": \"x\"}\n{\"text\": \"b\", \"label\": \"y\"}\n{\"text\": \"b\", \"label\": [\"x\"]}\n", `a.jsonl:3: label ["x"] is not one class or score`},
		{found, "a.json", "{\"text\": \"a\", \"label\": 1}\n", "a.json: not a list of objects, [{…}, …]; a file of one object a line is called .jsonl"},
		{found, "a.json", "[{\"text\": \"a\", \"label\": 1},\n", "a.json:1: the JSON ends too early"},
		{found, "a.json", "[{\"text\": \"a\", \"label\": 1},\n7]", "a.json:2: not a JSON object, {…}"},
		{found, "a.json", "[{\"text\": \"a\", \"label\": 1}]\n[]", "a.json:2: text after the list"},
		{found, "a.json", "[]", "a.json: no data rows"},
		{found, "a.parquet", "text,label\n", "a.parquet: not a parquet file"},
		{found, "a.csv", "words,label\na,1\n", "a.csv: no column is named as texts are (text, sentence, question, review, …); give --text one of words, label"},
		{found, "a.csv", "text,stars\na,1\n", "a.csv: no column is named as labels are (label, labels, score, class, category, target); give --label one of text, stars"},
		{choice{task: "classification", text: "reviw"}, "a.csv", "review,label\na,1\n", `a.csv: no column "reviw" (--text); nearest: "review" (it has review, label)`},
		{choice{task: "classification", pair: "b"}, "a.csv", "text,label\na,1\n", `a.csv: no column "b" (--pair)`},
		{choice{task: "classification", label: "lable"}, "a.csv", "text,label\na,1\n", `a.csv: no column "lable" (--label); nearest: "label"`},
		{choice{task: "classification", text: "text", label: "text"}, "a.csv", "text,label\na,1\n", `a.csv: column "text" cannot be both text and label`},
		{found, "a.csv", "text,label\na,x\nb,\nc,y\nd, \n", "a.csv:3:3: the first of 2 rows without a label (of 4); --skip-unlabelled leaves them out"},
		{found, "a.jsonl", "{\"text\": \"a\", \"label\": 1}\n{\"text\": \"b\", \"label\": null}\n{\"text\": \"b\", \"label\": 2}\n", "a.jsonl:2: the first of 1 rows without a label (of 3)"},
		{found, "a.csv", "text,label\na,\nb,\n", `a.csv: none of its 2 rows has a label in column "label"`},
		{found, "a.csv", "text,label\na,x\nb,x\n", `a.csv: every label in column "label" is "x"; a classification needs two classes`},
		{found, "a.csv", many, `a.csv: column "label" has 1001 different labels, "n0" and so on; at most 1000 are classes`},
		{found, "a.csv", "text,label\na,Good\nb,bad\nc,good\n", `labels "Good" (`},
		{found, "a.csv", "text,label\na,1\nb,2.5\n", "a.csv:3:3: label 2.5 is not a class: the column has numbers; --task regression learns scores"},
		{choice{task: "classification", labels: "x,y"}, "a.csv", "text,label\na,x\nb,z\n", `a.csv:3:3: label "z" is not known; nearest: "x" (the classes are x, y)`},
		{choice{task: "classification", labels: "0,1"}, "a.csv", "text,label\na,1\nb,2\n", `a.csv:3:3: label "2" is not known`},
		{scores, "a.csv", "text,score\na,1\nb,high\n", `a.csv:3:3: score "high" is not a number; want a finite number`},
		{scores, "a.csv", "text,score\na,1\nb,1e999\n", `a.csv:3:3: score "1e999" is not a number`},
		{scores, "a.csv", "text,score\na,NaN\n", `a.csv:2:3: score "NaN" is not a number`},
		{found, "a.jsonl", "{\"text\": \"a\", \"label\": [\"x\"]}\n{\"text\": \"b\", \"label\": \"y\"}\n{\"text\": \"b\", \"label\": \"z\"}\n", `a.jsonl:1: label ["x"] is not one class or score; --task multilabel learns several`},
		{sets, "a.csv", "text,labels\na,x|y\nb,\n", "a.csv:3:3: the first of 1 rows without labels (of 2); write |, or [] in JSON, where none of the classes hold, or leave these rows out with --skip-unlabelled"},
		{sets, "a.jsonl", "{\"text\": \"a\", \"labels\": [\"x\", \"y\"]}\n{\"text\": \"b\", \"labels\": null}\n", "a.jsonl:2: the first of 1 rows without labels (of 2)"},
		{sets, "a.csv", "text,labels\na,x|y\nb,x||y\n", `a.csv:3:3: labels "x||y": name 2 is empty`},
		{sets, "a.csv", "text,labels\na,x|y\nb,y|\n", `a.csv:3:3: labels "y|": name 2 is empty`},
		{sets, "a.csv", "text,labels\na,x|y\nb,y|x|y\n", `a.csv:3:3: label "y" stands twice among ["y" "x" "y"]; once is enough`},
		{sets, "a.csv", "text,labels\na,x|y\nb,\"['x', 'y']\"\n", `a.csv:3:3: labels "['x', 'y']" look like a list; in a table write a|b, or keep lists in JSONL or parquet`},
		{sets, "a.csv", "text,labels\na,['x']\nb,['y']\n", `a.csv:2:3: labels "['x']" look like a list; in a table write a|b`},
		{sets, "a.csv", "text,labels\na,x|X\nb,x\n", `labels "X" (`},
		{sets, "a.csv", "text,labels\na,x\nb,|\n", `a.csv: the only class in column "labels" is "x"; a multilabel task needs two classes`},
		{sets, "a.jsonl", "{\"text\": \"a\", \"labels\": [\"x\", \"y\"]}\n{\"text\": \"b\", \"labels\": [\"x\", null]}\n", `a.jsonl:2: labels ["x", null]: item 2 is null; want a list of class names`},
		{sets, "a.jsonl", "{\"text\": \"a\", \"labels\": [\"x\", \"y\"]}\n{\"text\": \"b\", \"labels\": [[\"x\"]]}\n", `a.jsonl:2: labels [["x"]]: item 1 is ["x"]`},
		{sets, "a.jsonl", "{\"text\": \"a\", \"labels\": [\"x\", \"y\"]}\n{\"text\": \"b\", \"labels\": {\"x\": 1}}\n", `a.jsonl:2: labels {"x": 1}: no list; want a list of class names`},
		{choice{task: "multilabel", labels: "x,y"}, "a.csv", "text,labels\na,x|z\n", `a.csv:2:3: label "z" is not known; nearest: "x" (the classes are x, y)`},
		{choice{task: "qnli", text: "a", pair: "b"}, "a.csv", "a,b,label\nx,y,entails\n", `a.csv:2:5: label "entails" is not known; want entailment, not_entailment (or its id, 0 to 1)`},
		{choice{task: "stsb", text: "a", pair: "b"}, "a.csv", "a,b,score\nx,y,7\n", "a.csv:2:5: score 7 is out of range; want 0 to 5"},
	} {
		task := lookup(t, c.task).WithColumns(c.text, c.pair, c.label)
		if c.labels != "" {
			var err error
			if task, err = task.ParseLabels(c.labels); err != nil {
				t.Fatal(err)
			}
		}
		_, err := task.LoadFiles(ownFile(t, c.name, c.content), Train, false)
		wantError(t, err, c.want)
	}
}

// Names in order: numbers by value, others sorted, or as they are given.
func TestOwnLabels(t *testing.T) {
	for _, c := range []struct {
		labels, cells string
		want          []string
		ids           []float64
	}{
		{"", "10,9,-1", []string{"-1", "9", "10"}, []float64{2, 1, 0}},
		{"", "2.0,1,2", []string{"1", "2"}, []float64{1, 0, 1}},
		{"", "b,a,10,a", []string{"10", "a", "b"}, []float64{2, 1, 0, 1}},
		{"", "True,False", []string{"False", "True"}, []float64{1, 0}},
		{"", "01,1", []string{"01", "1"}, []float64{0, 1}},
		{"", "1.0,x,1,1.00", []string{"1", "x"}, []float64{0, 1, 0, 0}},
		{"b,a", "a,b,a", []string{"b", "a"}, []float64{1, 0, 1}},
		{`"x, y",z`, "z,z", []string{"x, y", "z"}, []float64{1, 1}},
	} {
		task := lookup(t, "classification")
		if c.labels != "" {
			var err error
			if task, err = task.ParseLabels(c.labels); err != nil {
				t.Fatal(err)
			}
		}
		content := "text,label\n"
		for _, cell := range strings.Split(c.cells, ",") {
			content += "a," + cell + "\n"
		}
		s, err := task.LoadFiles(ownFile(t, "a.csv", content), Train, false)
		if err != nil {
			t.Errorf("%s: %v", c.cells, err)
			continue
		}
		again, err := task.ParseLabels(s.Task.FormatLabels())
		if !slices.Equal(s.Task.Labels, c.want) || !slices.Equal(s.Labels(), c.ids) || err != nil || !slices.Equal(again.Labels, c.want) {
			t.Errorf("%s: %q, %v; want %q, %v", c.cells, s.Task.Labels, s.Labels(), c.want, c.ids)
		}
	}
}

// Sets of classes: lists, or cells with a separator, in any format. Nothing is none of them where the file says so.
func TestOwnSets(t *testing.T) {
	type row struct {
		Text   string   `parquet:"text"`
		Labels []string `parquet:"labels,list,optional"`
	}
	for _, c := range []struct{ name, content, separator string }{
		{"a.csv", "text,tags\na,y|x\nb,|\nc, x \n", ""},
		{"a.csv", "text;tags\na;\"y, x\"\nb;,\nc;x\n", ","},
		{"a.jsonl", "{\"text\": \"a\", \"labels\": [\"y\", \"x\"]}\n{\"text\": \"b\", \"labels\": []}\n{\"text\": \"c\", \"labels\": \"x\"}\n", ""},
		{"a.parquet", parquetText(t, []row{{"a", []string{"y", "x"}}, {"b", []string{}}, {"c", []string{"x"}}}), ""},
	} {
		task := lookup(t, "multilabel").WithSeparator(c.separator)
		s, err := task.LoadFiles(ownFile(t, c.name, c.content), Train, false)
		if err != nil {
			t.Errorf("%s: %v", c.content, err)
			continue
		}
		if got, want := fmt.Sprint(s.Task.Labels, s.Labels(), s.Task.Multi, s.Task.Regression()), "[x y] [1 1 0 0 1 0] true false"; got != want {
			t.Errorf("%s: %s, want %s", c.content, got, want)
		}
	}
	null := ownFile(t, "a.parquet", parquetText(t, []row{{"a", []string{"y", "x"}}, {"b", nil}}))
	_, err := lookup(t, "multilabel").LoadFiles(null, Train, false)
	wantError(t, err, "a.parquet: row 2, column labels: the first of 1 rows without labels (of 2)")
	s, err := lookup(t, "multilabel").LoadFiles(null, Test, false)
	if err != nil || !math.IsNaN(s.Examples[1].Label) {
		t.Errorf("%+v, %v", s, err)
	}
	s, err = lookup(t, "multilabel").LoadFiles(ownFile(t, "a.jsonl", `{"text": "a", "labels": [2, 10.0]}`), Train, false)
	if err != nil || !slices.Equal(s.Task.Labels, []string{"2", "10"}) {
		t.Errorf("%+v, %v", s, err)
	}
}

// A folder has its splits in files or in shards; what it lacks is fs.ErrNotExist, and named.
func TestOwnFolder(t *testing.T) {
	dir := t.TempDir()
	row := func(text string, label int64) nestedRow {
		var r nestedRow
		r.Review.Text, r.Label = text, label
		return r
	}
	for name, content := range map[string]string{
		"train-00000-of-00002.parquet": parquetText(t, []nestedRow{row("a", 1)}),
		"train-00001-of-00002.parquet": parquetText(t, []nestedRow{row("b", 0)}),
		"dev.csv":                      "label,review.text\n0,c\n1,d\n",
		"notes.txt":                    "",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	task := lookup(t, "classification").WithColumns("review.text", "", "")
	train, err := task.LoadFiles(dir, Train, false)
	if err != nil || len(train.Examples) != 2 || train.Examples[1].Text != "b" || train.Examples[1].Row != 1 {
		t.Fatalf("%+v, %v", train, err)
	}
	validation, err := train.Task.LoadFiles(dir, Validation, false)
	if err != nil || !slices.Equal(validation.Labels(), []float64{0, 1}) {
		t.Fatalf("%+v, %v", validation, err)
	}
	_, err = train.Task.LoadFiles(dir, Test, false)
	wantError(t, err, "looked for test with .csv .tsv .jsonl .json .parquet, each also .gz or in shards (-00000-of-00002); it has dev.csv, train-00000-of-00002.parquet, train-00001-of-00002.parquet")
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v is not fs.ErrNotExist", err)
	}
	named := filepath.Join(dir, "train-00001-of-00002.parquet")
	var b bytes.Buffer
	features := `{"info": {"features": {"label": {"names": ["no", "yes"], "_type": "ClassLabel"}}}}`
	if err := parquet.Write(&b, []nestedRow{row("b", 0)}, parquet.KeyValueMetadata("huggingface", features)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(named, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = task.LoadFiles(dir, Train, false)
	wantError(t, err, `train-00001-of-00002.parquet: column "label" has the class names ["no" "yes"], in `, "; parts of one split have the same")
	if err := os.Remove(filepath.Join(dir, "train-00000-of-00002.parquet")); err != nil {
		t.Fatal(err)
	}
	_, err = task.LoadFiles(dir, Train, false)
	wantError(t, err, "shard 0 of train is missing")
}

// Rows without a label are left out where that is asked for, and are no fault of a test file.
func TestOwnUnlabelled(t *testing.T) {
	path := ownFile(t, "a.csv", "text,label\na,x\nb,\nc,y\n")
	s, err := lookup(t, "classification").LoadFiles(path, Train, true)
	if err != nil || len(s.Examples) != 2 || s.Examples[1].Row != 2 || s.Skipped != 1 || !strings.Contains(strings.Join(s.Notices, "\n"), "1 of 3 rows have no label and were skipped") {
		t.Errorf("%+v, %v", s, err)
	}
	test, err := s.Task.LoadFiles(path, Test, false)
	if err != nil || len(test.Examples) != 3 || !math.IsNaN(test.Examples[1].Label) {
		t.Errorf("%+v, %v", test, err)
	}
	bare, err := s.Task.LoadFiles(ownFile(t, "test.csv", "text\na\n"), Test, false)
	if err != nil || !math.IsNaN(bare.Examples[0].Label) {
		t.Errorf("%+v, %v", bare, err)
	}
}

// What lies beside the file that was looked for is named, and classes that never occur.
func TestOwnHints(t *testing.T) {
	path := ownFile(t, "train.csv", "sentence,label\na,positive\n")
	_, err := Load(filepath.Dir(path), lookup(t, "sst2"), Train)
	wantError(t, err, "; "+path+" is there: --text, --pair and --label say its columns")
	_, err = lookup(t, "classification").LoadFiles(strings.TrimSuffix(path, ".csv")+".tsv", Train, false)
	wantError(t, err, "; "+path+" is there")
	s, err := lookup(t, "sst2").WithColumns("", "", "label").LoadFiles(path, Train, false)
	if err != nil || !strings.Contains(strings.Join(s.Notices, "\n"), "no row has the label negative") {
		t.Errorf("%+v, %v", s, err)
	}
}

func ownSplit(t *testing.T, task, content string) *Split {
	t.Helper()
	s, err := lookup(t, task).LoadFiles(ownFile(t, "a.csv", content), Train, false)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// readAgain is a manifest as it comes back from its file.
func readAgain(t *testing.T, m *Manifest) *Manifest {
	t.Helper()
	var b bytes.Buffer
	if err := m.Encode(&b); err != nil {
		t.Fatal(err)
	}
	read, err := parseManifest(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	return read
}

// The share is taken of each class, by the seed, and a manifest repeats it.
func TestHoldOut(t *testing.T) {
	content := "text,label\n"
	for i := range 100 {
		content += fmt.Sprintf("t%d,%s\n", i, []string{"a", "a", "a", "b"}[i%4])
	}
	s := ownSplit(t, "classification", content+"alone,c\n")
	train, validation, err := s.HoldOut(0.2, 7)
	if err != nil {
		t.Fatal(err)
	}
	counts := map[float64]int{}
	for _, e := range validation.Examples {
		counts[e.Label]++
	}
	if !reflect.DeepEqual(counts, map[float64]int{0: 15, 1: 5}) || len(train.Examples) != 81 || validation.Name != Validation {
		t.Errorf("%v of %d kept, %d left", counts, len(validation.Examples), len(train.Examples))
	}
	again, _, _ := s.HoldOut(0.2, 7)
	other, _, _ := s.HoldOut(0.2, 8)
	if !reflect.DeepEqual(train.Examples, again.Examples) || reflect.DeepEqual(train.Examples, other.Examples) {
		t.Error("not by the seed")
	}
	_, m, err := train.Sample(DrawOptions{Shots: 10})
	if err != nil {
		t.Fatal(err)
	}
	read := readAgain(t, m)
	left, kept, ok, err := read.HeldOut(s)
	if err != nil || !ok || !reflect.DeepEqual(left.Examples, train.Examples) || !reflect.DeepEqual(kept.Examples, validation.Examples) {
		t.Errorf("%v, %v", ok, err)
	}
	for _, share := range []float64{0, 1, -1, math.NaN()} {
		_, _, err := s.HoldOut(share, 0)
		wantError(t, err, "is not between 0 and 1")
	}
	_, _, err = ownSplit(t, "classification", "text,label\na,x\nb,y\n").HoldOut(0.5, 0)
	wantError(t, err, "no class has two examples")
}

// setsOf is a split of 120 examples with the classes a (in 60), b (in 24), c (in 6); 40 have none.
func setsOf(t *testing.T) *Split {
	content := "text,labels\n"
	for i := range 120 {
		var names []string
		if i%2 == 0 {
			names = append(names, "a")
		}
		if i%5 == 0 {
			names = append(names, "b")
		}
		if i%20 == 3 {
			names = append(names, "c")
		}
		content += fmt.Sprintf("t%d,%s\n", i, cmp.Or(strings.Join(names, "|"), "|"))
	}
	return ownSplit(t, "multilabel", content)
}

func countsOf(s *Split) string {
	counts := make([]int, len(s.Task.Labels))
	for _, e := range s.Examples {
		for _, c := range e.Classes {
			counts[c]++
		}
	}
	return fmt.Sprint(len(s.Examples), counts)
}

// Of sets the share of each class is kept for validation, the rarest one's too, and draws have k of each.
func TestSetsAreSplitByTheirClasses(t *testing.T) {
	s := setsOf(t)
	if got, want := countsOf(s), "120 [60 24 6]"; got != want {
		t.Fatal(got)
	}
	train, validation, err := s.HoldOut(1.0/3, 5)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := countsOf(train)+", "+countsOf(validation), "80 [40 16 4], 40 [20 8 2]"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	again, _, _ := s.HoldOut(1.0/3, 5)
	other, _, _ := s.HoldOut(1.0/3, 6)
	if !reflect.DeepEqual(train.Examples, again.Examples) || reflect.DeepEqual(train.Examples, other.Examples) {
		t.Error("not by the seed")
	}
	drawn, m, err := train.Sample(DrawOptions{PerClass: 2, Seed: 1})
	if err != nil || m.Rule != rulePerLabel || m.Held.Rule != ruleSharePerLabel {
		t.Fatalf("%+v, %v", m, err)
	}
	held, _, err := train.Sample(DrawOptions{PerClass: 2, Seed: 1, Held: true})
	if err != nil {
		t.Fatal(err)
	}
	rows := map[int]bool{}
	for _, part := range []*Split{drawn, held} {
		var n, a, b, c int
		if _, err := fmt.Sscanf(countsOf(part), "%d [%d %d %d]", &n, &a, &b, &c); err != nil || a < 2 || b < 2 || c < 2 || n > 6 {
			t.Errorf("drawn: %s", countsOf(part))
		}
		for _, e := range part.Examples {
			if rows[e.Row] {
				t.Errorf("row %d is drawn twice", e.Row)
			}
			rows[e.Row] = true
		}
	}
	read := readAgain(t, m)
	replayed, err := read.Replay(train)
	if err != nil || !reflect.DeepEqual(replayed.Examples, drawn.Examples) {
		t.Errorf("%v", err)
	}
	_, _, err = train.Sample(DrawOptions{PerClass: 5})
	wantError(t, err, "class c has 4 examples, of which 4 are drawn; want 5")
	_, _, err = ownSplit(t, "multilabel", "text,labels\na,x|y\nb,x\n").HoldOut(0.1, 0)
	wantError(t, err, "0.1 of 2 examples are 0; give --validation, or another share")
}

// Of scores the share is spread over their range, and draws are of the lower and the upper half.
func TestScoresAreDrawnByTheirOrder(t *testing.T) {
	content := "text,score\n"
	for i := range 40 {
		content += fmt.Sprintf("t%d,%d\n", i, 1000+(i*7)%40)
	}
	s := ownSplit(t, "regression", content)
	_, validation, err := s.HoldOut(0.1, 1)
	if err != nil || len(validation.Examples) != 4 {
		t.Fatalf("%+v, %v", validation, err)
	}
	parts := map[int]bool{}
	for _, e := range validation.Examples {
		parts[int(e.Label-1000)/10] = true
	}
	if len(parts) != 4 {
		t.Errorf("kept of the parts %v alone", parts)
	}
	drawn, _, err := s.Sample(DrawOptions{PerClass: 3, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	low := drawn.Filter(func(e Example) bool { return e.Label < 1020 })
	if len(drawn.Examples) != 6 || len(low.Examples) != 3 {
		t.Errorf("%v", drawn.Labels())
	}
	held, m, err := s.Sample(DrawOptions{PerClass: 10, Seed: 1, Held: true})
	if err != nil || m.Rule != rulePerQuantileHeld {
		t.Fatalf("%+v, %v", m, err)
	}
	first, _, err := s.Sample(DrawOptions{PerClass: 10, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range first.Examples { // of each two neighbours one, and the other is held
		if score, other := int(e.Label-1000), int(held.Examples[i].Label-1000); score/2 != i || other/2 != i || score == other {
			t.Errorf("part %d gave %d and %d", i, score, other)
		}
	}
	_, _, err = s.Sample(DrawOptions{PerClass: 11, Held: true})
	wantError(t, err, "40 examples; want 44, for 11 of the lower half of the scores and as many of the upper")
}

// Rows to predict may be rows that were trained on.
func TestOwnInputs(t *testing.T) {
	task := ownSplit(t, "classification", "review,label\na,x\nb,y\n").Task
	for _, c := range []struct{ name, content, rest string }{
		{"a.csv", "id,review,label\n7,fine,x\n", `{"id":"7","label":"x"}`},
		{"a.jsonl", "{\"id\": 7, \"review\": \"fine\"}\n", `{"id":7}`},
		{"a.jsonl", "{\"text\": \"fine\"}\n", ""},
		{"a.json", `[{"review": "fine", "label": null}]`, `{"label":null}`},
	} {
		rows, err := inputs(t, c.content, c.name, &task)
		if err != nil || len(rows) != 1 || rows[0].Example.Text != "fine" || string(rows[0].Rest) != c.rest {
			t.Errorf("%s: %+v %s, %v", c.name, rows, rows[0].Rest, err)
		}
	}
	_, err := inputs(t, "id,reviews\n7,fine\n", "a.csv", &task)
	wantError(t, err, `a.csv:2: no field "review"; nearest: "reviews" (it has id, reviews)`)
}

// FuzzOwnCSV holds that any file gives an error or examples, never a panic, and no more text than it has.
func FuzzOwnCSV(f *testing.F) {
	for _, seed := range []string{
		"text,label\na,x\nb,y\n", "\ufefftext;label\r\n\"a\"\"b\";1\r\nc;2.0\r\n", "text\tlabel\n\"a\nb\"\tx\n'\ty\n", "text,label\n\"", "text,score\na,1e5\nb,2\n", ",\n,\n",
	} {
		f.Add([]byte(seed), true)
		f.Add([]byte(seed), false)
	}
	f.Fuzz(func(t *testing.T, content []byte, csv bool) {
		dir, name := t.TempDir(), "a.tsv"
		if csv {
			name = "a.csv"
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		for _, kind := range ownKinds {
			s, err := lookup(t, kind).LoadFiles(path, Train, true)
			if err != nil {
				continue
			}
			size := 0
			for _, e := range s.Examples {
				size += len(e.Text) + len(e.Pair)
			}
			if size > len(content) || len(s.Examples) == 0 || len(s.Task.Labels) > maxClasses {
				t.Errorf("%d examples with %d bytes, %d classes", len(s.Examples), size, len(s.Task.Labels))
			}
		}
	})
}
