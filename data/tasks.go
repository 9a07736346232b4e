package data

import (
	"cmp"
	"errors"
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

// Metrics that the table and the defaults name; package train has a function for each.
const (
	accuracy = "accuracy"
	f1       = "f1"
	matthews = "matthews_correlation"
	pearson  = "pearson"
	spearman = "spearman"

	macroF1  = "macro_f1"
	microF1  = "micro_f1"
	weighted = "weighted_f1"
	subset   = "subset_accuracy"
)

// Task says what is learned. LookupTask and Tasks give those of GLUE; their slices are shared, so treat them as
// constants. A task of your own needs a name and, unless it is a regression, class names:
//
//	data.Task{Name: "reviews", Labels: []string{"bad", "good"}}
//
// NewSplit and Load complete it as WithDefaults does.
type Task struct {
	Name    string   // on the command line and in files of runs; of GLUE's, the Hugging Face configuration: "stsb"
	Columns []string // names of the text columns in parquet, JSONL and TSV: one, or two for a pair
	Labels  []string // class names, a class's id being its index; nil for a regression, whose labels are scores
	Multi   bool     // an example may have several classes, or none: Example.Classes
	Metrics []string // in the order they are reported
	Primary string   // the metric that picks the best checkpoint and compares methods

	files files
	left  bool // Primary was left to WithDefaults
}

// files is how GLUE publishes a task. The zero value stands for a task of your own: usual names, any score.
type files struct {
	folder string              // in GLUE's archive: "STS-B"; empty: the task's name
	hub    string              // in the hub's repository; empty: the task's name
	text   []string            // TSV headers of the text columns; nil: Task.Columns
	label  string              // TSV header of the label; empty: "label"
	bare   []string            // the columns of a file without a header (CoLA's train and dev)
	stems  map[string][]string // file names by split, without extension; nil: usualStems
	short  bool                // rows with too few fields are skipped and counted (QQP has about two dozen)
	long   bool                // fields beyond the header are ignored (QQP, MRPC)
	most   float64             // scores go from 0 to this, both included; 0: any finite score
	own    bool                // read by the rules for tasks of one's own (Task.Own)

	separator string // between the class names of a cell of a multilabel task; empty: defaultSeparator
}

var (
	sentence     = []string{"sentence"}
	sentencePair = []string{"sentence1", "sentence2"}
	premise      = []string{"premise", "hypothesis"}
	entailments  = []string{"entailment", "neutral", "contradiction"}
	usualStems   = map[string][]string{Train: {"train"}, Validation: {"dev", "validation"}, Test: {"test"}}
)

// tasks is GLUE: a new task is one row here.
var tasks = []Task{
	{
		Name: "cola", Columns: sentence, Labels: []string{"unacceptable", "acceptable"},
		Metrics: []string{matthews}, Primary: matthews,
		files: files{folder: "CoLA", bare: []string{"source", "label", "mark", "sentence"}},
	},
	{
		Name: "sst2", Columns: sentence, Labels: []string{"negative", "positive"},
		Metrics: []string{accuracy}, Primary: accuracy,
		files: files{folder: "SST-2"},
	},
	{
		Name: "mrpc", Columns: sentencePair, Labels: []string{"not_equivalent", "equivalent"},
		Metrics: []string{accuracy, f1}, Primary: accuracy,
		files: files{folder: "MRPC", text: []string{"#1 String", "#2 String"}, label: "Quality", long: true},
	},
	{
		Name: "stsb", Columns: sentencePair,
		Metrics: []string{pearson, spearman}, Primary: pearson,
		files: files{folder: "STS-B", label: "score", most: 5},
	},
	{
		Name: "qqp", Columns: []string{"question1", "question2"}, Labels: []string{"not_duplicate", "duplicate"},
		Metrics: []string{accuracy, f1}, Primary: accuracy,
		files: files{folder: "QQP", label: "is_duplicate", short: true, long: true},
	},
	{
		Name: "mnli", Columns: premise, Labels: entailments,
		Metrics: []string{accuracy}, Primary: accuracy,
		files: files{folder: "MNLI", text: sentencePair, label: "gold_label", stems: map[string][]string{
			Train: {"train"}, Validation: {"dev_matched", "validation_matched", "dev", "validation"}, Test: {"test_matched", "test"},
		}},
	},
	{
		Name: "mnli-mm", Columns: premise, Labels: entailments,
		Metrics: []string{accuracy}, Primary: accuracy,
		// A plain validation.tsv is the matched half: here only the full names will do.
		files: files{folder: "MNLI", hub: "mnli", text: sentencePair, label: "gold_label", stems: map[string][]string{
			Train: {"train"}, Validation: {"dev_mismatched", "validation_mismatched"}, Test: {"test_mismatched"},
		}},
	},
	{
		Name: "qnli", Columns: []string{"question", "sentence"}, Labels: []string{"entailment", "not_entailment"},
		Metrics: []string{accuracy}, Primary: accuracy,
		files: files{folder: "QNLI"},
	},
	{
		Name: "rte", Columns: sentencePair, Labels: []string{"entailment", "not_entailment"},
		Metrics: []string{accuracy}, Primary: accuracy,
		files: files{folder: "RTE"},
	},
	{
		// The reverse of RTE's order: 1 is entailment.
		Name: "wnli", Columns: sentencePair, Labels: []string{"not_entailment", "entailment"},
		Metrics: []string{accuracy}, Primary: accuracy,
		files: files{folder: "WNLI"},
	},
	{
		// The diagnostic set has no training data: models trained on mnli answer it.
		Name: "ax", Columns: premise, Labels: entailments,
		Metrics: []string{matthews}, Primary: matthews,
		files: files{folder: "diagnostic", text: sentencePair, stems: map[string][]string{Test: {"diagnostic", "test"}}},
	},
}

// Tasks returns the table: GLUE's nine tasks, MNLI's mismatched half and the diagnostic set.
func Tasks() []Task { return slices.Clone(tasks) }

// LookupTask returns the task of that name: a row of the table, or a task of one's own, "classification", "regression" or
// "multilabel", whose columns and classes LoadFiles finds. The error for an unknown name says the nearest.
func LookupTask(name string) (Task, error) {
	if slices.Contains(ownKinds, name) {
		return Task{Name: name, Multi: name == multilabel, files: files{own: true}}, nil
	}
	names := make([]string, len(tasks), len(tasks)+len(ownKinds))
	for i, t := range tasks {
		if t.Name == name {
			return t, nil
		}
		names[i] = t.Name
	}
	names = append(names, ownKinds...)
	return Task{}, fmt.Errorf("unknown task %q; nearest: %s (known: %s)", name, nearest.Of(name, names), strings.Join(names, " "))
}

// WithDefaults completes a task. Without Metrics, classes are measured by accuracy and F1 (macro, micro and weighted),
// scores by pearson, spearman, mse, mae and r2, and sets of classes by F1 (micro, macro and weighted) and by the share
// of sets that are right as a whole. Without Primary the first metric decides. It is an error if the task has no name,
// fewer than two classes or one twice, several classes an example but no names for them, more than two text columns, or
// a Primary that is not among its metrics.
func (t Task) WithDefaults() (Task, error) {
	if len(t.Metrics) == 0 {
		switch {
		case t.Multi:
			t.Metrics = []string{microF1, macroF1, weighted, subset}
		case t.Regression():
			t.Metrics = []string{pearson, spearman, "mse", "mae", "r2"}
		default:
			t.Metrics = []string{accuracy, macroF1, microF1, weighted}
		}
	}
	if t.Primary == "" {
		t.Primary, t.left = t.Metrics[0], true
	}
	switch {
	case t.Name == "":
		return t, errors.New("a task has no name; set Task.Name")
	case t.Multi && len(t.Labels) < 2:
		return t, fmt.Errorf("task %s: examples may have several classes, and it has %d; set Labels to two or more", t.Name, len(t.Labels))
	case t.Labels != nil && len(t.Labels) < 2:
		return t, fmt.Errorf("task %s has %d classes; want two or more, or Labels nil for a regression", t.Name, len(t.Labels))
	case len(t.Columns) > 2:
		return t, fmt.Errorf("task %s has %d text columns; want one, or two for a pair", t.Name, len(t.Columns))
	case !slices.Contains(t.Metrics, t.Primary):
		return t, fmt.Errorf("task %s: primary metric %q is not one of its metrics, %s", t.Name, t.Primary, strings.Join(t.Metrics, ", "))
	}
	for i, label := range t.Labels {
		if label == "" || slices.Contains(t.Labels[:i], label) {
			return t, fmt.Errorf("task %s: class %d is called %q; want a name of its own for each", t.Name, i, label)
		}
	}
	return t, nil
}

// Weighted is the task for classes that have weights: what counts then is every class alike, so macro_f1 decides, unless
// the task says otherwise.
func (t Task) Weighted() Task {
	if t.left && slices.Contains(t.Metrics, macroF1) {
		t.Primary = macroF1
	}
	return t
}

// Regression reports whether labels are scores, as STS-B's, and not classes.
func (t Task) Regression() bool {
	return t.Labels == nil && !t.Multi && !(t.files.own && t.Name == classification)
}

// NumLabels is the width of the classifier's output: the number of classes, or 1 for a regression.
func (t Task) NumLabels() int { return max(1, len(t.Labels)) }

// Pair reports whether an example is two texts.
func (t Task) Pair() bool { return len(t.Columns) == 2 }

// Splits returns the splits that the task has, in the order train, validation, test.
func (t Task) Splits() []string {
	return slices.DeleteFunc([]string{Train, Validation, Test}, func(split string) bool { return len(t.stems(split)) == 0 })
}

func (t Task) stems(split string) []string {
	if t.files.stems != nil {
		return t.files.stems[split]
	}
	return usualStems[split]
}

// folder and hubFolder are where GLUE's archive and the hub's repository have the task's files.
func (t Task) folder() string    { return cmp.Or(t.files.folder, t.Name) }
func (t Task) hubFolder() string { return cmp.Or(t.files.hub, t.Name) }

// textHeaders and labelHeader are the columns of the official TSVs.
func (t Task) textHeaders() []string {
	if t.files.text != nil {
		return t.files.text
	}
	return t.Columns
}

func (t Task) labelHeader() string { return cmp.Or(t.files.label, "label") }

// checkColumns refuses a task whose texts cannot be found in a file.
func (t Task) checkColumns() error {
	if len(t.Columns) == 0 {
		return fmt.Errorf("task %s names no text column; set Task.Columns", t.Name)
	}
	return nil
}

func (t Task) checkSplit(split string) error {
	if known := t.Splits(); !slices.Contains(known, split) && checkSplitName(split) == nil {
		return fmt.Errorf("%s has no %s split, only %s; its models are trained on mnli", t.Name, split, strings.Join(known, ", "))
	}
	return checkSplitName(split)
}

func checkSplitName(split string) error {
	if known := []string{Train, Validation, Test}; !slices.Contains(known, split) {
		return fmt.Errorf("unknown split %q; nearest: %s (known: %s)", split, nearest.Of(split, known), strings.Join(known, " "))
	}
	return nil
}

// parseLabel reads a label written as text: a score, a class name, or a class id.
func (t Task) parseLabel(text string) (float64, error) {
	if t.Multi {
		return t.numberLabel(0) // which refuses it
	}
	if t.Regression() {
		// ParseFloat also takes hexadecimal and names; a score is plain decimal.
		score, err := strconv.ParseFloat(text, 64)
		if err != nil || strings.Trim(text, "+-.0123456789eE") != "" {
			return 0, fmt.Errorf("score %q is not a number; want %s", text, t.wantScore())
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
	case t.Multi:
		return 0, fmt.Errorf("%s has several classes an example: its files are read by Task.WithColumns and LoadFiles, its examples in memory by NewSplit", t.Name)
	case t.Regression() && (math.IsNaN(v) || math.IsInf(v, 0) || t.files.most > 0 && (v < 0 || v > t.files.most)):
		return 0, fmt.Errorf("score %v is out of range; want %s", v, t.wantScore())
	case t.Regression():
		return v, nil
	case v != math.Trunc(v) || v < 0 || v >= float64(len(t.Labels)):
		return 0, fmt.Errorf("label %v is not a class; want %s", v, t.wantLabels())
	default:
		return v, nil
	}
}

func (t Task) wantScore() string {
	if t.files.most > 0 {
		return fmt.Sprintf("0 to %g", t.files.most)
	}
	return "a finite number"
}

func (t Task) wantLabels() string {
	return fmt.Sprintf("%s (or its id, 0 to %d)", strings.Join(t.Labels, ", "), len(t.Labels)-1)
}

// noColumn says that a file lacks a column or field (what), and which of those it has may be meant.
func (t Task) noColumn(what, name string, have []string) error {
	own := slices.Concat(t.Columns, t.textHeaders(), []string{t.labelHeader(), "label"})
	others := slices.DeleteFunc(slices.Clone(have), func(h string) bool { return slices.Contains(own, h) })
	if len(others) == 0 {
		return fmt.Errorf("no %s %q (is this a file of %s?)", what, name, t.Name)
	}
	return fmt.Errorf("no %s %q; nearest: %.60q (is this a file of %s?)", what, name, nearest.Of(name, others), t.Name)
}
