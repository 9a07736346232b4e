package export

import (
	"archive/zip"
	"bytes"
	"io"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/data"
)

// filled is a submission without a model.
func filled(t *testing.T) []answers {
	t.Helper()
	var all []answers
	for _, s := range submittedTasks {
		a, err := constantAnswers(s)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, a)
	}
	return all
}

func TestEveryTaskIsSubmitted(t *testing.T) {
	var names, known []string
	for _, s := range submittedTasks {
		names = append(names, s.task)
	}
	for _, task := range data.Tasks() {
		known = append(known, task.Name)
	}
	if !slices.Equal(names, known) {
		t.Errorf("submitted are %q, tasks %q", names, known)
	}
}

func submission(t *testing.T, all []answers) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := writeSubmission(&b, all); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// What the server wants: eleven files at the root, their rows, and nothing of the machine in the bytes.
func TestSubmissionFormat(t *testing.T) {
	content := submission(t, filled(t))
	z, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	texts := map[string]string{}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		names, texts[f.Name] = append(names, f.Name), string(text)
	}
	var want []string
	for _, s := range submittedTasks {
		want = append(want, s.file)
	}
	slices.Sort(want)
	if !slices.Equal(names, want) {
		t.Errorf("files %q, want %q", names, want)
	}
	for name, file := range map[string]struct {
		rows  int
		value string
	}{
		"AX.tsv": {1104, "entailment"}, "CoLA.tsv": {1063, "0"}, "MNLI-m.tsv": {9796, "entailment"}, "MNLI-mm.tsv": {9847, "entailment"},
		"MRPC.tsv": {1725, "0"}, "QNLI.tsv": {5463, "entailment"}, "QQP.tsv": {390965, "0"}, "RTE.tsv": {3000, "entailment"},
		"SST-2.tsv": {1821, "0"}, "STS-B.tsv": {1379, "0.000"}, "WNLI.tsv": {146, "0"},
	} {
		if begin := "index\tprediction\n0\t" + file.value + "\n1\t" + file.value + "\n"; !strings.HasPrefix(texts[name], begin) {
			t.Errorf("%s begins with %.50q, want %q", name, texts[name], begin)
		}
		if rows := strings.Count(texts[name], "\n") - 1; rows != file.rows {
			t.Errorf("%s: %d rows, want %d", name, rows, file.rows)
		}
	}
	backwards := filled(t)
	slices.Reverse(backwards)
	if !bytes.Equal(submission(t, backwards), content) {
		t.Error("the bytes depend on the order in which answers are given")
	}
	if back, err := readSubmission(content); err != nil || len(back) != len(submittedTasks) || len(back[6].values) != 390965 {
		t.Errorf("read again: %d files, error %v", len(back), err)
	}
}

func TestAnswer(t *testing.T) {
	for _, c := range []struct {
		task  string
		v     float64
		want  string
		fault string
	}{
		{"cola", 1, "1", ""},
		{"wnli", 0, "0", ""},
		{"mrpc", 1, "1", ""},
		{"sst2", 0, "0", ""},
		{"qqp", 1, "1", ""},
		{"mnli", 2, "contradiction", ""},
		{"mnli-mm", 1, "neutral", ""},
		{"ax", 0, "entailment", ""},
		{"rte", 1, "not_entailment", ""},
		{"qnli", 0, "entailment", ""},
		{"stsb", 3.14159, "3.142", ""},
		{"stsb", -0.2, "0.000", ""},
		{"stsb", math.Copysign(0, -1), "0.000", ""},
		{"stsb", 5.0004, "5.000", ""},
		{"stsb", math.Inf(1), "5.000", ""},
		{"stsb", math.NaN(), "", "stsb: a score is NaN"},
		{"rte", 2, "", "rte: label 2 is not a class"},
		{"cola", -1, "", "cola: label -1 is not a class"},
	} {
		i := slices.IndexFunc(submittedTasks, func(s submitted) bool { return s.task == c.task })
		a, err := newAnswers(submittedTasks[i])
		if err != nil {
			t.Fatal(err)
		}
		got, err := a.answer(c.v)
		if got != c.want || (err == nil) != (c.fault == "") || err != nil && !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%s %v: %q, error %v; want %q, %q", c.task, c.v, got, err, c.want, c.fault)
		}
	}
}

func TestWriteSubmissionRefuses(t *testing.T) {
	at := func(all []answers, name string) *answers {
		return &all[slices.IndexFunc(all, func(a answers) bool { return a.task.Name == name })]
	}
	for _, c := range []struct {
		name   string
		change func(a []answers) []answers
		fault  string
	}{
		{"a task missing", func(a []answers) []answers { return a[1:] }, "CoLA.tsv is there 0 times; want once"},
		{"a task twice", func(a []answers) []answers { return append(a, a[1]) }, "SST-2.tsv is there 2 times; want once"},
		{"a row short", func(a []answers) []answers {
			rte := at(a, "rte")
			rte.values = rte.values[1:]
			return a
		}, "RTE.tsv: 2999 rows; GLUE's test split of rte has 3000"},
		{"a name where ids are", func(a []answers) []answers {
			at(a, "wnli").values[3] = "entailment"
			return a
		}, `WNLI.tsv: row 3: "entailment" is not a label; want 0, 1`},
		{"an id where names are", func(a []answers) []answers {
			at(a, "ax").values[5] = "1"
			return a
		}, `AX.tsv: row 5: "1" is not a label; want entailment, neutral, contradiction`},
		{"a score out of range", func(a []answers) []answers {
			at(a, "stsb").values[0] = "5.001"
			return a
		}, `STS-B.tsv: row 0: "5.001" is not a score from 0 to 5`},
	} {
		t.Run(c.name, func(t *testing.T) {
			var b bytes.Buffer
			err := writeSubmission(&b, c.change(filled(t)))
			if err == nil || !strings.Contains(err.Error(), c.fault) {
				t.Errorf("error %v, want %q", err, c.fault)
			}
			if b.Len() > 0 {
				t.Errorf("%d bytes were written", b.Len())
			}
		})
	}
}

func TestReadSubmissionRefuses(t *testing.T) {
	packed := func(name, text string) []byte {
		var b bytes.Buffer
		z := zip.NewWriter(&b)
		f, err := z.Create(name)
		if err == nil {
			_, err = f.Write([]byte(text))
		}
		if err != nil || z.Close() != nil {
			t.Fatal(err)
		}
		return b.Bytes()
	}
	for _, c := range []struct {
		content []byte
		fault   string
	}{
		{[]byte("no zip"), "submission: zip:"},
		{packed("glue/RTE.tsv", ""), `"glue/RTE.tsv" is no file of a submission`},
		{packed("RTE.tsv", ""), `RTE.tsv: want a first line "index\tprediction"`},
		{packed("RTE.tsv", "index\tprediction\n0\tentailment"), "a line end after the last"},
		{packed("RTE.tsv", "index\tprediction\n1\tentailment\n"), `line 2: index "1", want 0`},
		{packed("RTE.tsv", "index\tprediction\n0\tentailment\n"), "RTE.tsv: 1 rows; GLUE's test split of rte has 3000"},
	} {
		if _, err := readSubmission(c.content); err == nil || !strings.Contains(err.Error(), c.fault) {
			t.Errorf("error %v, want %q", err, c.fault)
		}
	}
}
