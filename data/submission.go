package data

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Answers are the predictions for a task's test split, in the order of its examples, as GLUE's server takes
// them: class ids for CoLA, SST-2, MRPC, QQP and WNLI, class names for the others, scores for STS-B.
type Answers struct {
	Task   Task
	Values []string // of Task.Answer
}

// submissionHeader is the first line of every file of a submission.
const submissionHeader = "index\tprediction"

// submissionTime is the time of every file in a submission, the earliest that a zip can hold: equal answers
// give equal bytes.
var submissionTime = time.Date(1980, 1, 1, 0, 0, 0, 0, time.UTC)

// Answer writes a prediction, a class id or a score, as the task's submission has it. Scores are cut to the
// range of the task's own and have three decimals. It is an error if v is no class, or NaN.
func (t Task) Answer(v float64) (string, error) {
	if t.Regression() {
		if v != v {
			return "", fmt.Errorf("%s: a score is NaN", t.Name)
		}
		return strconv.FormatFloat(min(max(v, MinScore), MaxScore)+0, 'f', 3, 64), nil // +0: -0 becomes 0
	}
	if _, err := t.numberLabel(v); err != nil {
		return "", fmt.Errorf("%s: %w", t.Name, err)
	}
	if t.numbered {
		return strconv.Itoa(int(v)), nil
	}
	return t.Labels[int(v)], nil
}

// ConstantAnswers answers every test example of a task alike, by its class 0 or a score of 0: what stands in
// for a task without a model.
func ConstantAnswers(t Task) Answers {
	v, err := t.Answer(0)
	if err != nil {
		panic(err) // every task has a class 0 and a score of 0
	}
	return Answers{t, slices.Repeat([]string{v}, t.TestRows)}
}

// check refuses what GLUE's server would: another number of rows, or a value that is no answer.
func (a Answers) check() error {
	if len(a.Values) != a.Task.TestRows {
		return fmt.Errorf("%s: %d rows; GLUE's test split of %s has %d", a.Task.Submission, len(a.Values), a.Task.Name, a.Task.TestRows)
	}
	allowed := a.Task.answers()
	for i, v := range a.Values {
		switch {
		case a.Task.Regression() && !isScore(v):
			return fmt.Errorf("%s: row %d: %.60q is not a score from %g to %g with three decimals", a.Task.Submission, i, v, MinScore, MaxScore)
		case !a.Task.Regression() && !slices.Contains(allowed, v):
			return fmt.Errorf("%s: row %d: %.60q is not a label; want %s", a.Task.Submission, i, v, strings.Join(allowed, ", "))
		}
	}
	return nil
}

// answers are the labels that a submission may hold, in the order of their ids; none for a regression.
func (t Task) answers() []string {
	if !t.numbered {
		return t.Labels
	}
	var ids []string
	for id := range t.Labels {
		ids = append(ids, strconv.Itoa(id))
	}
	return ids
}

// isScore reports whether text is a score as Answer writes them: 0.000 to 5.000.
func isScore(text string) bool {
	v, err := strconv.ParseFloat(text, 64)
	return err == nil && v >= MinScore && v <= MaxScore && strconv.FormatFloat(v, 'f', 3, 64) == text
}

// WriteSubmission writes a submission's zip: a file for each task of the table, sorted by name, index and
// prediction in each row. answers holds every task once, in any order. It is an error, before anything is
// written, if one is missing or twice there, has another number of rows than GLUE's test split, or holds
// a value that is none of the task's. The bytes follow from the answers alone.
func WriteSubmission(w io.Writer, answers []Answers) error {
	files, err := submissionFiles(answers)
	if err != nil {
		return fmt.Errorf("submission: %w", err)
	}
	z := zip.NewWriter(w)
	for _, a := range files {
		f, err := z.CreateHeader(&zip.FileHeader{Name: a.Task.Submission, Method: zip.Deflate, Modified: submissionTime})
		if err != nil {
			return fmt.Errorf("submission: %w", err)
		}
		if _, err := f.Write(a.tsv()); err != nil {
			return fmt.Errorf("submission: %s: %w", a.Task.Submission, err)
		}
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("submission: %w", err)
	}
	return nil
}

// submissionFiles checks answers and sorts them by their files' names.
func submissionFiles(answers []Answers) ([]Answers, error) {
	files := slices.Clone(answers)
	slices.SortFunc(files, func(a, b Answers) int { return strings.Compare(a.Task.Submission, b.Task.Submission) })
	var faults []error
	for _, t := range tasks {
		n := 0
		for _, a := range files {
			if a.Task.Name == t.Name {
				n++
			}
		}
		if n != 1 {
			faults = append(faults, fmt.Errorf("%s is there %d times; want once", t.Submission, n))
		}
	}
	for _, a := range files {
		if err := a.check(); err != nil {
			faults = append(faults, err)
		}
	}
	return files, errors.Join(faults...)
}

// tsv is the file: a header, then index from 0 and prediction between tabs, without quotes.
func (a Answers) tsv() []byte {
	text := []byte(submissionHeader + "\n")
	for i, v := range a.Values {
		text = strconv.AppendInt(text, int64(i), 10)
		text = append(text, '\t')
		text = append(text, v...)
		text = append(text, '\n')
	}
	return text
}

// maxSubmissionFile bounds what ReadSubmission unpacks of one file: QQP's has 4 MB.
const maxSubmissionFile = 64 << 20

// ReadSubmission reads a submission's zip and holds it against the format that WriteSubmission promises: the
// files of all tasks and no others, their rows, indices and values. Answers come sorted by file.
func ReadSubmission(content []byte) ([]Answers, error) {
	z, err := zip.NewReader(bytes.NewReader(content), int64(len(content)))
	if err != nil {
		return nil, fmt.Errorf("submission: %w", err)
	}
	var answers []Answers
	for _, f := range z.File {
		i := slices.IndexFunc(tasks, func(t Task) bool { return t.Submission == f.Name })
		if i < 0 {
			return nil, fmt.Errorf("submission: %.60q is no file of a submission", f.Name)
		}
		a, err := readAnswers(f, tasks[i])
		if err != nil {
			return nil, fmt.Errorf("submission: %s: %w", f.Name, err)
		}
		answers = append(answers, a)
	}
	if answers, err = submissionFiles(answers); err != nil {
		return nil, fmt.Errorf("submission: %w", err)
	}
	return answers, nil
}

func readAnswers(f *zip.File, t Task) (Answers, error) {
	r, err := f.Open()
	if err != nil {
		return Answers{}, err
	}
	defer r.Close()
	text, err := io.ReadAll(io.LimitReader(r, maxSubmissionFile+1))
	if err != nil {
		return Answers{}, err
	}
	if len(text) > maxSubmissionFile {
		return Answers{}, fmt.Errorf("more than %d bytes", maxSubmissionFile)
	}
	lines := strings.Split(string(text), "\n")
	if last := len(lines) - 1; lines[0] != submissionHeader || lines[last] != "" {
		return Answers{}, fmt.Errorf("want a first line %q and a line end after the last", submissionHeader)
	}
	a := Answers{Task: t}
	for i, line := range lines[1 : len(lines)-1] {
		index, value, _ := strings.Cut(line, "\t")
		if index != strconv.Itoa(i) {
			return Answers{}, fmt.Errorf("line %d: index %.60q, want %d", i+2, index, i)
		}
		a.Values = append(a.Values, value)
	}
	return a, nil
}
