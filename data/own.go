package data

import (
	"encoding/csv"
	"fmt"
	"io/fs"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/deeplora/deeplora/internal/nearest"
	"github.com/deeplora/deeplora/internal/table"
)

// Kinds of tasks of one's own: names that LookupTask knows beside GLUE's. Columns and classes are found in the files.
const (
	classification = "classification"
	regression     = "regression"
	multilabel     = "multilabel"
)

var ownKinds = []string{classification, regression, multilabel}

// maxClasses is how many classes a task may have. More are texts, ids or scores in the wrong column.
const maxClasses = 1000

// Own reports whether the files of a task are read by the rules for tasks of one's own (Task.LoadFiles): those of
// "classification", "regression" and "multilabel", and of a task of GLUE once it has columns of its own
// (Task.WithColumns).
func (t Task) Own() bool { return t.files.own }

// Scaled reports whether scores may be of any range, so that training standardises them.
func (t Task) Scaled() bool { return t.Name == regression && t.files.own }

// WithColumns is the task, read from files by LoadFiles, with its columns by these names. What is empty is found by
// name, or is as the task has it.
func (t Task) WithColumns(text, pair, label string) Task {
	columns := make([]string, 2)
	copy(columns, t.Columns)
	if text != "" {
		columns[0] = text
	}
	if pair != "" {
		columns[1] = pair
	}
	if columns[1] == "" {
		columns = columns[:1]
	}
	if columns[0] == "" && len(columns) == 1 {
		columns = nil
	}
	t.Columns, t.files.own = columns, true
	if label != "" {
		t.files.label = label
	}
	t.files.text = nil
	return t
}

// WithSeparator is a multilabel task whose classes stand with this text between them where a cell has several, as in CSV.
// Without it, it is "|". Lists, as in JSONL and parquet, need none.
func (t Task) WithSeparator(text string) Task {
	t.files.separator = text
	return t
}

// LabelColumn is the name of the column that labels are read from, "" where it is not known yet.
func (t Task) LabelColumn() string { return t.files.label }

// LoadFiles reads a split of a task of one's own from a file, or from a folder that has train, validation and test. It
// is .csv, .tsv, .jsonl, .json or .parquet, each also .gz, or in shards. The Split's task has what was found: columns and,
// unless it is a regression, the classes in order. So read the training split first, and the others with its task.
//
// Rows without a label are counted and refused or, with skip, left out; a test split may have them. The error is
// fs.ErrNotExist where a folder has no file of the split.
func (t Task) LoadFiles(path, split string, skip bool) (*Split, error) {
	if err := checkSplitName(split); err != nil {
		return nil, err
	}
	folder, err := table.IsFolder(path)
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	paths, notices := []string{path}, []string(nil)
	if folder {
		if paths, notices, err = table.Find(path, t.ownStems(split)); err != nil {
			return nil, fmt.Errorf("data: no %s file: %w", split, err)
		}
	}
	s, err := t.LoadShards(paths, split, skip)
	if err == nil {
		s.Notices = append(notices, s.Notices...)
	}
	return s, err
}

// LoadShards reads a split as LoadFiles does, from files of which one continues the other.
func (t Task) LoadShards(paths []string, split string, skip bool) (*Split, error) {
	if err := checkSplitName(split); err != nil {
		return nil, err
	}
	if len(paths) == 0 {
		return nil, fmt.Errorf("data: no %s file: %w", split, fs.ErrNotExist)
	}
	rows, sum, err := table.Read(paths...)
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	s := &Split{Name: split, Notices: rows.Notices}
	s.Source = Source{File: filepath.Base(paths[0]), SHA256: sum, Rows: len(rows.Rows)}
	if s.Task, err = t.found(rows, split == Test); err == nil {
		if len(t.Columns) != len(s.Task.Columns) || slices.Contains(t.Columns, "") || t.files.label == "" {
			s.Notices = append(s.Notices, s.Task.columnsNotice(rows.Name))
		}
		err = s.ownExamples(rows, skip)
	}
	if err != nil {
		return nil, fmt.Errorf("data: %w", err)
	}
	return s, nil
}

// ownStems are the names of a split's file. GLUE's tasks have their own.
func (t Task) ownStems(split string) []string {
	if split == Validation {
		return []string{"validation", "dev", "valid", "val"}
	}
	return usualStems[split]
}

// Names under which columns are found, the likeliest first.
var (
	pairColumns = [][2]string{
		{"sentence1", "sentence2"},
		{"premise", "hypothesis"},
		{"question1", "question2"},
		{"text1", "text2"},
		{"text_a", "text_b"},
		{"question", "sentence"},
		{"question", "answer"},
		{"question", "context"},
		{"question", "passage"},
		{"query", "passage"},
		{"query", "document"},
		{"text", "pair"},
		{"text", "text_pair"},
	}
	textColumns  = []string{"text", "sentence", "question", "review", "content", "comment", "message", "document", "body"}
	labelColumns = []string{"label", "labels", "score", "class", "category", "target"}
	scoreColumns = []string{"score", "label", "labels", "target"}
	setColumns   = []string{"labels", "label", "tags", "topics", "categories", "classes", "target"} // of several classes
)

// found completes the task's columns from those that a file has.
func (t Task) found(rows *table.Table, unlabelled bool) (Task, error) {
	for i, name := range t.Columns {
		if name != "" && !slices.Contains(rows.Columns, name) {
			return t, noOwnColumn(rows, "--"+[]string{"text", "pair"}[i], name)
		}
	}
	if slices.Equal(t.Columns, []string{t.files.label}) {
		return t, fmt.Errorf("%s: column %q cannot be both text and label", rows.Name, t.files.label)
	}
	if len(t.Columns) == 0 || slices.Contains(t.Columns, "") {
		columns := findTexts(rows.Columns, t.files.label)
		switch {
		case columns == nil:
			return t, fmt.Errorf("%s: no column is named as texts are (%s, …); give --text one of %s", rows.Name, strings.Join(textColumns[:4], ", "), columnList(rows.Columns))
		case len(t.Columns) == 2: // of a pair the first, or GLUE's, is to be found
			t.Columns = []string{columns[0], t.Columns[1]}
		default:
			t.Columns = columns
		}
		if len(t.Columns) == 2 && t.Columns[0] == t.Columns[1] {
			return t, fmt.Errorf("%s: both texts of a pair would be column %q; give --text too", rows.Name, t.Columns[0])
		}
	}
	return t.foundLabel(rows, unlabelled)
}

func (t Task) foundLabel(rows *table.Table, unlabelled bool) (Task, error) {
	name := t.files.label
	if name == "" {
		names := labelColumns
		switch {
		case t.Regression():
			names = scoreColumns
		case t.Multi:
			names = setColumns
		}
		free := slices.DeleteFunc(slices.Clone(rows.Columns), func(c string) bool { return slices.Contains(t.Columns, c) })
		if name = findName(free, names); name == "" && !unlabelled {
			return t, fmt.Errorf("%s: no column is named as labels are (%s); give --label one of %s", rows.Name, strings.Join(names, ", "), columnList(rows.Columns))
		}
		t.files.label = name
		return t, nil
	}
	if !slices.Contains(rows.Columns, name) && !unlabelled {
		return t, noOwnColumn(rows, "--label", name)
	}
	if slices.Contains(t.Columns, name) {
		return t, fmt.Errorf("%s: column %q cannot be both text and label", rows.Name, name)
	}
	return t, nil
}

// findTexts finds the columns of one text or two.
func findTexts(columns []string, label string) []string {
	for _, pair := range pairColumns {
		first, second := findName(columns, pair[:1]), findName(columns, pair[1:])
		if first != "" && second != "" && first != label && second != label {
			return []string{first, second}
		}
	}
	if text := findName(slices.DeleteFunc(slices.Clone(columns), func(c string) bool { return c == label }), textColumns); text != "" {
		return []string{text}
	}
	return nil
}

// findName is the first of the wanted names that there is: as it is written or, failing that, in another case.
func findName(columns, wanted []string) string {
	for _, name := range wanted {
		if slices.Contains(columns, name) {
			return name
		}
	}
	for _, name := range wanted {
		if i := slices.IndexFunc(columns, func(c string) bool { return strings.EqualFold(c, name) }); i >= 0 {
			return columns[i]
		}
	}
	return ""
}

func noOwnColumn(rows *table.Table, flag, name string) error {
	return fmt.Errorf("%s: no column %q (%s); nearest: %q (it has %s)", rows.Name, name, flag, nearest.Of(name, rows.Columns), columnList(rows.Columns))
}

// columnList names columns for an error.
func columnList(columns []string) string {
	if len(columns) > 12 {
		return strings.Join(columns[:12], ", ") + fmt.Sprintf(" and %d more", len(columns)-12)
	}
	return strings.Join(columns, ", ")
}

func (t Task) columnsNotice(file string) string {
	texts := fmt.Sprintf("text in column %q", t.Columns[0])
	if t.Pair() {
		texts = fmt.Sprintf("texts in columns %q and %q", t.Columns[0], t.Columns[1])
	}
	if t.files.label == "" {
		return fmt.Sprintf("%s: %s", file, texts)
	}
	return fmt.Sprintf("%s: %s, label in %q", file, texts, t.files.label)
}

// ownExamples makes the examples of a file's rows.
func (s *Split) ownExamples(rows *table.Table, skip bool) error {
	var err error
	if s.Task.Labels == nil && !s.Task.Regression() {
		if s.Task.Labels, err = s.Task.classes(rows); err != nil {
			return err
		}
	}
	if s.Task, err = s.Task.WithDefaults(); err != nil {
		return err
	}
	missing, first := 0, ""
	for i, row := range rows.Rows {
		e := Example{Row: i, Label: math.NaN()}
		if err := s.Task.texts(rows, row, &e); err != nil {
			return err
		}
		c, _ := row.Get(s.Task.files.label)
		if s.Name == Test && strings.TrimSpace(c.Text) == "-1" && !slices.Contains(s.Task.Labels, "-1") && !s.Task.Scaled() {
			c = table.Cell{} // as GLUE writes what it does not tell
		}
		if unlabelled(c) {
			if missing++; missing == 1 {
				first = rows.At(row, s.Task.files.label)
			}
			if s.Name != Test || skip {
				continue
			}
		} else if err := s.Task.setLabel(&e, c); err != nil {
			return fmt.Errorf("%s: %w", rows.At(row, s.Task.files.label), err)
		}
		s.Examples = append(s.Examples, e)
	}
	s.noticeAbsent(rows.Name)
	return s.countUnlabelled(rows.Name, missing, first, skip)
}

// noticeAbsent names classes that a training file does not have: those of --labels, or of a task of GLUE.
func (s *Split) noticeAbsent(file string) {
	if s.Name != Train || s.Task.Regression() {
		return
	}
	var absent []string
	for id, n := range s.ClassCounts() {
		if n == 0 {
			absent = append(absent, s.Task.Labels[id])
		}
	}
	if len(absent) > 0 {
		s.Notices = append(s.Notices, fmt.Sprintf("%s: no row has the label %s", file, columnList(absent)))
	}
}

func (s *Split) countUnlabelled(file string, missing int, first string, skip bool) error {
	switch {
	case missing == 0 || s.Name == Test && !skip:
		return nil
	case !skip && s.Task.Multi:
		return fmt.Errorf("%s: the first of %d rows without labels (of %d); write %s, or [] in JSON, where none of the classes hold, or leave these rows out with --skip-unlabelled",
			first, missing, s.Source.Rows, s.Task.Separator())
	case !skip:
		return fmt.Errorf("%s: the first of %d rows without a label (of %d); --skip-unlabelled leaves them out", first, missing, s.Source.Rows)
	case len(s.Examples) == 0:
		return fmt.Errorf("%s: none of its %d rows has a label in column %q", file, s.Source.Rows, s.Task.files.label)
	}
	s.Skipped = missing
	s.Notices = append(s.Notices, fmt.Sprintf("%s: %d of %d rows have no label and were skipped", file, missing, s.Source.Rows))
	return nil
}

// texts sets the texts of an example.
func (t Task) texts(rows *table.Table, row table.Row, e *Example) error {
	for i, column := range t.Columns {
		c, ok := row.Get(column)
		switch {
		case !ok:
			return fmt.Errorf("%s: no field %q; it has %s", rows.At(row, column), column, columnList(row.Names))
		case c.Kind != table.String:
			return fmt.Errorf("%s: %q is %v; want a text", rows.At(row, column), column, c)
		case i == 0:
			e.Text = c.Text
		default:
			e.Pair, e.HasPair = c.Text, true
		}
	}
	return nil
}

func unlabelled(c table.Cell) bool {
	return c.Kind == table.Null || c.Kind == table.String && strings.TrimSpace(c.Text) == ""
}

// setLabel reads an example's label: a score, a class, or any number of classes.
func (t Task) setLabel(e *Example, c table.Cell) error {
	names, err := t.names(c)
	switch {
	case err != nil:
		return err
	case t.Multi:
		e.Label = 0
		return t.setClasses(e, names)
	case t.Regression():
		e.Label, err = t.parseLabel(names[0])
	default:
		e.Label, err = t.ownLabel(names[0])
	}
	return err
}

// names are the class names, or the score, that a label's cell has: one, or of a multilabel task any number.
func (t Task) names(c table.Cell) ([]string, error) {
	switch {
	case t.Multi:
		return t.severalNames(c)
	case c.Kind == table.Other && strings.HasPrefix(c.Text, "["):
		return nil, fmt.Errorf("label %v is not one class or score; --task multilabel learns several", c)
	case c.Kind == table.Other:
		return nil, fmt.Errorf("label %v is not one class or score", c)
	default:
		return []string{strings.TrimSpace(c.Text)}, nil
	}
}

// ownLabel is the id of a class by its name. An integer's name is the same with ".0" behind it. Ids, that is places in the
// list of names, are read of GLUE's tasks alone: of one's own a 1 is the class called 1.
func (t Task) ownLabel(text string) (float64, error) {
	for _, name := range []string{text, wholeNumber(text)} {
		if id := slices.Index(t.Labels, name); id >= 0 {
			return float64(id), nil
		}
	}
	if !slices.Contains(ownKinds, t.Name) {
		return t.parseLabel(wholeNumber(text))
	}
	return 0, fmt.Errorf("label %.60q is not known; nearest: %q (the classes are %s)", text, nearest.Of(text, t.Labels), columnList(t.Labels))
}

// wholeNumber writes an integer the shortest way: "1" for "1.0"; other texts stay as they are.
func wholeNumber(text string) string {
	whole, zeros, _ := strings.Cut(text, ".")
	if n, err := strconv.ParseInt(whole, 10, 64); err == nil && strings.Trim(zeros, "0") == "" && strconv.FormatInt(n, 10) == whole {
		return whole
	}
	return text
}

// classes finds the class names in a file: numbers by value, other names sorted.
func (t Task) classes(rows *table.Table) ([]string, error) {
	var names []string
	first, count := map[string]table.Row{}, map[string]int{}
	numbers, whole := true, true
	var fault error
	for _, row := range rows.Rows {
		c, _ := row.Get(t.files.label)
		if unlabelled(c) {
			continue
		}
		of, err := t.names(c)
		if err != nil && fault == nil { // which is reported where labels are read, if there are any
			fault = fmt.Errorf("%s: %w", rows.At(row, t.files.label), err)
		}
		for _, name := range of {
			name = wholeNumber(name)
			if count[name]++; count[name] > 1 {
				continue
			}
			names, first[name] = append(names, name), row
			_, err := strconv.ParseFloat(name, 64)
			numbers = numbers && err == nil
			_, err = strconv.ParseInt(wholeNumber(name), 10, 64)
			whole = whole && err == nil
		}
	}
	if of := rows.Classes[t.files.label]; t.declared(of, names) {
		return of, nil
	}
	switch {
	case numbers && !whole && len(names) > 0:
		i := slices.IndexFunc(names, func(n string) bool { _, err := strconv.ParseInt(wholeNumber(n), 10, 64); return err != nil })
		return nil, fmt.Errorf("%s: label %s is not a class: the column has numbers; --task regression learns scores", rows.At(first[names[i]], t.files.label), names[i])
	case whole:
		slices.SortFunc(names, byValue)
	default:
		slices.Sort(names)
	}
	if err := t.oneCase(rows, names, first, count); err != nil {
		return nil, err
	}
	switch {
	case len(names) == 0 && fault != nil:
		return nil, fault
	case len(names) == 0:
		return nil, fmt.Errorf("%s: none of its %d rows has a label in column %q", rows.Name, len(rows.Rows), t.files.label)
	case len(names) == 1 && t.Multi:
		return nil, fmt.Errorf("%s: the only class in column %q is %q; a multilabel task needs two classes", rows.Name, t.files.label, names[0])
	case len(names) == 1:
		return nil, fmt.Errorf("%s: every label in column %q is %q; a classification needs two classes", rows.Name, t.files.label, names[0])
	case len(names) > maxClasses:
		return nil, fmt.Errorf("%s: column %q has %d different labels, %q and so on; at most %d are classes: is it the label (--label), or a score (--task regression)?",
			rows.Name, t.files.label, len(names), names[0], maxClasses)
	}
	return names, nil
}

// declared reports whether classes that the file itself names, in the order of their ids, are the task's.
func (t Task) declared(classes, found []string) bool {
	if len(classes) < 2 || len(classes) > maxClasses || slices.Contains(classes, "") {
		return false
	}
	return !slices.ContainsFunc(found, func(name string) bool { return !slices.Contains(classes, name) })
}

func byValue(a, b string) int {
	x, _ := strconv.ParseInt(a, 10, 64)
	y, _ := strconv.ParseInt(b, 10, 64)
	return int(min(1, max(-1, x-y)))
}

// oneCase refuses names that differ in case alone: one of them is a slip, and nobody else can say which.
func (t Task) oneCase(rows *table.Table, names []string, first map[string]table.Row, count map[string]int) error {
	seen := map[string]string{}
	for _, name := range names {
		folded := strings.ToLower(name)
		other, twice := seen[folded]
		if !twice {
			seen[folded] = name
			continue
		}
		return fmt.Errorf("labels %q (%s, %d rows) and %q (%s, %d rows) differ in case alone; write them alike",
			other, rows.At(first[other], t.files.label), count[other], name, rows.At(first[name], t.files.label), count[name])
	}
	return nil
}

// ParseLabels reads class names in order, as --labels has them: between commas, those with a comma in quotes.
func (t Task) ParseLabels(text string) (Task, error) {
	r := csv.NewReader(strings.NewReader(text))
	r.TrimLeadingSpace = true
	names, err := r.Read()
	if err != nil {
		return t, fmt.Errorf("labels %.60q: %w", text, err)
	}
	for i := range names {
		names[i] = strings.TrimSpace(names[i])
	}
	if len(names) > maxClasses {
		return t, fmt.Errorf("labels: %d classes; want at most %d", len(names), maxClasses)
	}
	t.Labels = names
	return t.WithDefaults()
}

// FormatLabels is what ParseLabels reads.
func (t Task) FormatLabels() string {
	var b strings.Builder
	w := csv.NewWriter(&b)
	_ = w.Write(t.Labels) // a strings.Builder takes everything
	w.Flush()
	return strings.TrimSuffix(b.String(), "\n")
}
