package data

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/deeplora/deeplora/internal/nearest"
)

// The splits of every task. MNLI's mismatched half is a task of its own, mnli-mm.
const (
	Train      = "train"
	Validation = "validation"
	Test       = "test"
)

// The metrics a task may name; package train has a function for each.
const (
	Accuracy = "accuracy"
	F1       = "f1"
	Matthews = "matthews_correlation"
	Pearson  = "pearson"
	Spearman = "spearman"
)

// The range of a regression's scores (STS-B), both ends included.
const (
	MinScore = 0.0
	MaxScore = 5.0
)

// Task is one row of the table: all that this project knows of a GLUE task. Values come from
// LookupTask or Tasks and are shared: treat the slices as constants.
type Task struct {
	Name       string   // the Hugging Face configuration, and the name on the command line: "stsb"
	Folder     string   // the folder in GLUE's own archive: "STS-B"
	Columns    []string // text columns in Hugging Face's parquet and JSONL: one, or two for a pair
	Labels     []string // class names, a class's id being its index (Hugging Face's order); nil for a regression
	Metrics    []string // GLUE's metrics, in the order they are reported
	Primary    string   // the metric that picks the best checkpoint and compares methods
	Submission string   // the file's name in a GLUE submission: "STS-B.tsv"
	TestRows   int      // examples of GLUE's own test split: a submission answers all of them

	numbered bool   // a submission has class ids, not names
	config   string // the folder in the hub's parquet files, where it differs from Name
	tsv      layout
}

// layout is what the official TSVs of a task look like. A split's file is found by its stem, its
// columns by the header.
type layout struct {
	text  []string            // header names of the text columns
	label string              // header name of the label, absent from test files
	bare  []string            // the columns of a file without a header (CoLA's train and dev)
	stems map[string][]string // file names by split, without extension, where they are not the usual ones
	short bool                // rows with too few fields are skipped and counted (QQP has about two dozen)
	long  bool                // fields beyond the header are ignored (QQP, MRPC)
}

var (
	sentence     = []string{"sentence"}
	sentencePair = []string{"sentence1", "sentence2"}
	entailments  = []string{"entailment", "neutral", "contradiction"}
	usualStems   = map[string][]string{Train: {"train"}, Validation: {"dev", "validation"}, Test: {"test"}}
)

// tasks is GLUE: a new task is one row here.
var tasks = []Task{
	{
		Name: "cola", Folder: "CoLA", Columns: sentence, Labels: []string{"unacceptable", "acceptable"},
		Metrics: []string{Matthews}, Primary: Matthews, Submission: "CoLA.tsv", TestRows: 1063, numbered: true,
		tsv: layout{text: sentence, label: "label", bare: []string{"source", "label", "mark", "sentence"}},
	},
	{
		Name: "sst2", Folder: "SST-2", Columns: sentence, Labels: []string{"negative", "positive"},
		Metrics: []string{Accuracy}, Primary: Accuracy, Submission: "SST-2.tsv", TestRows: 1821, numbered: true,
		tsv: layout{text: sentence, label: "label"},
	},
	{
		Name: "mrpc", Folder: "MRPC", Columns: sentencePair, Labels: []string{"not_equivalent", "equivalent"},
		Metrics: []string{Accuracy, F1}, Primary: Accuracy, Submission: "MRPC.tsv", TestRows: 1725, numbered: true,
		tsv: layout{text: []string{"#1 String", "#2 String"}, label: "Quality", long: true},
	},
	{
		Name: "stsb", Folder: "STS-B", Columns: sentencePair,
		Metrics: []string{Pearson, Spearman}, Primary: Pearson, Submission: "STS-B.tsv", TestRows: 1379,
		tsv: layout{text: sentencePair, label: "score"},
	},
	{
		Name: "qqp", Folder: "QQP", Columns: []string{"question1", "question2"}, Labels: []string{"not_duplicate", "duplicate"},
		Metrics: []string{Accuracy, F1}, Primary: Accuracy, Submission: "QQP.tsv", TestRows: 390965, numbered: true,
		tsv: layout{text: []string{"question1", "question2"}, label: "is_duplicate", short: true, long: true},
	},
	{
		Name: "mnli", Folder: "MNLI", Columns: []string{"premise", "hypothesis"}, Labels: entailments,
		Metrics: []string{Accuracy}, Primary: Accuracy, Submission: "MNLI-m.tsv", TestRows: 9796,
		tsv: layout{text: sentencePair, label: "gold_label", stems: map[string][]string{
			Train: {"train"}, Validation: {"dev_matched", "validation_matched", "dev", "validation"}, Test: {"test_matched", "test"},
		}},
	},
	{
		Name: "mnli-mm", Folder: "MNLI", Columns: []string{"premise", "hypothesis"}, Labels: entailments,
		Metrics: []string{Accuracy}, Primary: Accuracy, Submission: "MNLI-mm.tsv", TestRows: 9847, config: "mnli",
		// A plain validation.tsv is the matched half: here only the full names will do.
		tsv: layout{text: sentencePair, label: "gold_label", stems: map[string][]string{
			Train: {"train"}, Validation: {"dev_mismatched", "validation_mismatched"}, Test: {"test_mismatched"},
		}},
	},
	{
		Name: "qnli", Folder: "QNLI", Columns: []string{"question", "sentence"}, Labels: []string{"entailment", "not_entailment"},
		Metrics: []string{Accuracy}, Primary: Accuracy, Submission: "QNLI.tsv", TestRows: 5463,
		tsv: layout{text: []string{"question", "sentence"}, label: "label"},
	},
	{
		Name: "rte", Folder: "RTE", Columns: sentencePair, Labels: []string{"entailment", "not_entailment"},
		Metrics: []string{Accuracy}, Primary: Accuracy, Submission: "RTE.tsv", TestRows: 3000,
		tsv: layout{text: sentencePair, label: "label"},
	},
	{
		// The reverse of RTE's order: 1 is entailment.
		Name: "wnli", Folder: "WNLI", Columns: sentencePair, Labels: []string{"not_entailment", "entailment"},
		Metrics: []string{Accuracy}, Primary: Accuracy, Submission: "WNLI.tsv", TestRows: 146, numbered: true,
		tsv: layout{text: sentencePair, label: "label"},
	},
	{
		// The diagnostic set has no training data: models trained on mnli answer it.
		Name: "ax", Folder: "diagnostic", Columns: []string{"premise", "hypothesis"}, Labels: entailments,
		Metrics: []string{Matthews}, Primary: Matthews, Submission: "AX.tsv", TestRows: 1104,
		tsv: layout{text: sentencePair, label: "label", stems: map[string][]string{Test: {"diagnostic", "test"}}},
	},
}

// Tasks returns the table: GLUE's nine tasks, MNLI's mismatched half and the diagnostic set.
func Tasks() []Task { return slices.Clone(tasks) }

// LookupTask returns the task of that name. The error for an unknown one names the nearest.
func LookupTask(name string) (Task, error) {
	names := make([]string, len(tasks))
	for i, t := range tasks {
		if t.Name == name {
			return t, nil
		}
		names[i] = t.Name
	}
	return Task{}, fmt.Errorf("unknown task %q; nearest: %s (known: %s)", name, nearest.Of(name, names), strings.Join(names, " "))
}

// Regression reports whether labels are scores (STS-B) and not classes.
func (t Task) Regression() bool { return t.Labels == nil }

// NumLabels is the width of the classifier's output: the number of classes, or 1 for a regression.
func (t Task) NumLabels() int { return max(1, len(t.Labels)) }

// Pair reports whether an example is two texts.
func (t Task) Pair() bool { return len(t.Columns) == 2 }

// Splits returns the splits that the task has, in the order train, validation, test.
func (t Task) Splits() []string {
	return slices.DeleteFunc([]string{Train, Validation, Test}, func(split string) bool { return len(t.stems(split)) == 0 })
}

func (t Task) stems(split string) []string {
	if t.tsv.stems != nil {
		return t.tsv.stems[split]
	}
	return usualStems[split]
}

// hubFolder is the folder of the task's parquet files in the hub's repository.
func (t Task) hubFolder() string {
	if t.config != "" {
		return t.config
	}
	return t.Name
}

func (t Task) checkSplit(split string) error {
	known := t.Splits()
	switch {
	case slices.Contains(known, split):
		return nil
	case slices.Contains([]string{Train, Validation, Test}, split):
		return fmt.Errorf("%s has no %s split, only %s; its models are trained on mnli", t.Name, split, strings.Join(known, ", "))
	default:
		return fmt.Errorf("unknown split %q; nearest: %s (known: %s)", split, nearest.Of(split, known), strings.Join(known, " "))
	}
}

// parseLabel reads a label written as text: a score, a class name, or a class id.
func (t Task) parseLabel(text string) (float64, error) {
	if t.Regression() {
		// ParseFloat also takes hexadecimal and names; a score is plain decimal.
		score, err := strconv.ParseFloat(text, 64)
		if err != nil || strings.Trim(text, "+-.0123456789eE") != "" {
			return 0, fmt.Errorf("score %q is not a number; want %g to %g", text, MinScore, MaxScore)
		}
		return t.numberLabel(score)
	}
	if id := slices.Index(t.Labels, text); id >= 0 {
		return float64(id), nil
	}
	id, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("label %q is not known; want %s", text, t.wantLabels())
	}
	return t.numberLabel(float64(id))
}

// numberLabel checks a label that came as a number: a score, or a class id.
func (t Task) numberLabel(v float64) (float64, error) {
	switch {
	case t.Regression() && !(v >= MinScore && v <= MaxScore): // NaN is outside too
		return 0, fmt.Errorf("score %v is out of range; want %g to %g", v, MinScore, MaxScore)
	case t.Regression():
		return v, nil
	case v != math.Trunc(v) || v < 0 || v >= float64(len(t.Labels)):
		return 0, fmt.Errorf("label %v is not a class; want %s", v, t.wantLabels())
	default:
		return v, nil
	}
}

func (t Task) wantLabels() string {
	return fmt.Sprintf("%s (or its id, 0 to %d)", strings.Join(t.Labels, ", "), len(t.Labels)-1)
}

// noColumn says that a file lacks a column or field (what), and which of those it has may be meant.
func (t Task) noColumn(what, name string, have []string) error {
	own := slices.Concat(t.Columns, t.tsv.text, []string{t.tsv.label, "label"})
	others := slices.DeleteFunc(slices.Clone(have), func(h string) bool { return slices.Contains(own, h) })
	if len(others) == 0 {
		return fmt.Errorf("no %s %q (is this a file of %s?)", what, name, t.Name)
	}
	return fmt.Errorf("no %s %q; nearest: %.60q (is this a file of %s?)", what, name, nearest.Of(name, others), t.Name)
}
