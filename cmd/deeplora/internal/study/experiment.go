package study

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"

	"github.com/deeplora/deeplora/internal/jsonfile"
	"github.com/deeplora/deeplora/internal/nearest"
	"github.com/deeplora/deeplora/train"
)

// Experiment is an experiment file: what differs from the defaults. Its runs are every combination of the grid's
// values, for every variant.
type Experiment struct {
	Title       string `json:"title"`
	Description string `json:"description"` // a paragraph for the report

	Preset   string  `json:"preset"`   // "" for the command line's defaults, "reference" for the paper's
	Set      Fields  `json:"set"`      // of every run
	Grid     Lists   `json:"grid"`     // values of a setting, in the order of the file
	Variants []Named `json:"variants"` // what competes, where a method's name does not say it all
	Baseline string  `json:"baseline"` // the arm that others are compared with; empty: the first
	Tune     *Tune   `json:"tune,omitempty"`

	Published *Published `json:"published"` // what others measured
}

// Fields are settings of train.Config by their JSON names, in the order of the file.
type Fields []Field

// Field is one setting and its value, as JSON.
type Field struct {
	Name  string
	Value json.RawMessage
}

// Lists are settings with several values each, in the order of the file.
type Lists []List

// List is one setting and its values, as JSON.
type List struct {
	Name   string
	Values []json.RawMessage
}

// Named is a variant: settings under a name.
type Named struct {
	Name   string // empty: the method's
	Fields Fields
	Tune   *ownGrid // what is tried for it; nil: the experiment's grid
}

// Published are numbers to hold the study against.
type Published struct {
	Source string         `json:"source"` // where they stand
	Model  string         `json:"model"`  // that they were measured on, as its config.json or its directory calls it
	Rows   []PublishedRow `json:"rows"`
}

// PublishedRow is one published number: the mean of a metric over seeds, where the settings are these.
type PublishedRow struct {
	Where  Fields  `json:"where"`  // settings, or "arm"
	Metric string  `json:"metric"` // as in result.json
	Value  float64 `json:"value"`
	Seeds  int     `json:"seeds"` // how many runs it is the mean of; 0: not said
}

// armField is what a published row may name beside settings.
const armField = "arm"

// ReadExperiment reads an experiment file. Unknown fields and settings are errors, with the nearest known name.
func ReadExperiment(path string) (*Experiment, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("experiment: %w", err)
	}
	e, err := ParseExperiment(text)
	if err != nil {
		return nil, fmt.Errorf("experiment %s: %w", path, err)
	}
	return e, nil
}

// ParseExperiment is ReadExperiment for text.
func ParseExperiment(text []byte) (*Experiment, error) {
	var e Experiment
	if err := decode(text, &e); err != nil {
		return nil, err
	}
	return &e, e.check()
}

// Override sets a setting of every run, as a flag does: text is its value as JSON, or a string. It is an error if
// the experiment varies it.
func (e *Experiment) Override(name, text string) error {
	if _, err := train.Settings().Row(name); err != nil {
		return err
	}
	varied := slices.ContainsFunc(e.Grid, func(l List) bool { return l.Name == name })
	for _, v := range e.variants() {
		varied = varied || slices.ContainsFunc(v.Fields, func(f Field) bool { return f.Name == name })
		varied = varied || slices.ContainsFunc(e.gridOf(v), func(l List) bool { return l.Name == name })
	}
	if varied {
		return fmt.Errorf("setting %q is what the experiment varies; change the file", name)
	}
	value, err := settingValue(name, text)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(e.Set, func(f Field) bool { return f.Name == name })
	if at < 0 {
		e.Set = append(e.Set, Field{Name: name})
		at = len(e.Set) - 1
	}
	e.Set[at].Value = value
	return nil
}

// settingValue is text as the JSON of a setting: as it is where that fits, a string otherwise.
func settingValue(name, text string) (json.RawMessage, error) {
	var c train.Config
	quoted, err := json.Marshal(text)
	if err != nil {
		return nil, err
	}
	if train.Settings().Set(&c, name, quoted) == nil {
		return quoted, nil
	}
	if !json.Valid([]byte(text)) {
		return nil, fmt.Errorf("setting %q: %q is not a value of it", name, text)
	}
	return json.RawMessage(text), train.Settings().Set(&c, name, json.RawMessage(text))
}

// decode reads one JSON value strictly; syntax errors name their line.
func decode(text []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if err == nil {
		if _, more := d.Token(); more != io.EOF {
			return errors.New("text after the JSON object")
		}
		return nil
	}
	if syntax := (*json.SyntaxError)(nil); errors.As(err, &syntax) {
		return fmt.Errorf("line %d: %w", 1+bytes.Count(text[:min(syntax.Offset, int64(len(text)))], []byte("\n")), err)
	}
	if name, unknown := strings.CutPrefix(err.Error(), "json: unknown field "); unknown {
		known := jsonNames(reflect.TypeOf(v).Elem())
		return fmt.Errorf("unknown field %s; nearest: %s", name, nearest.Of(strings.Trim(name, `"`), known))
	}
	return err
}

// check returns every fault that shows before the combinations are made.
func (e *Experiment) check() error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	check(e.Title != "", "title: it has none")
	check(e.Preset == "" || e.Preset == "reference", `preset: %q is unknown; want "reference" or nothing`, e.Preset)
	given := map[string]string{}
	once := func(part, name string) {
		check(given[name] == "", "%s: setting %q is in %s already", part, name, given[name])
		given[name] = part
	}
	for _, f := range e.Set {
		once("set", f.Name)
	}
	for _, l := range e.Grid {
		once("grid", l.Name)
		check(len(l.Values) > 0, "grid: %q has no values", l.Name)
		check(!repeats(l.Values), "grid: %q has a value twice", l.Name)
	}
	check(len(e.Variants) == 0 || given["method"] != "grid", "variants: the grid has methods already; say in variants what competes")
	for i, v := range e.Variants {
		for _, f := range v.Fields {
			check(given[f.Name] == "", "variants: variant %d sets %q, which is in %s", i+1, f.Name, given[f.Name])
			check(f.Name != "seed", "variants: variant %d sets the seed, by which runs are paired; give seeds in the grid", i+1)
		}
	}
	if e.Tune != nil {
		faults = append(faults, e.Tune.check(e.Variants, given))
	} else {
		own := slices.IndexFunc(e.Variants, func(v Named) bool { return v.Tune != nil })
		check(own < 0, `variants: variant %d has a grid to tune by, and the experiment no "tune", which says on what`, own+1)
	}
	if e.Published != nil {
		check(e.Published.Source != "", "published: it has no source")
		for i, row := range e.Published.Rows {
			check(row.Metric != "" && len(row.Where) > 0, "published: row %d has no metric or no where", i+1)
		}
	}
	return errors.Join(faults...)
}

func repeats(values []json.RawMessage) bool {
	seen := map[string]bool{}
	for _, v := range values {
		text := valueText(v)
		if seen[text] {
			return true
		}
		seen[text] = true
	}
	return false
}

// base is the settings that the experiment's runs start from.
func (e *Experiment) base() (train.Config, error) {
	c := train.Default()
	if e.Preset == "reference" {
		c = train.Reference()
	}
	return c, e.Set.apply(&c, "set")
}

// apply sets settings of c; part is the part of the file they stand in.
func (f Fields) apply(c *train.Config, part string) error {
	for _, field := range f {
		if err := train.Settings().Set(c, field.Name, field.Value); err != nil {
			return fmt.Errorf("%s: %w", part, err)
		}
	}
	return nil
}

// jsonNames are the names of a struct's fields in JSON.
func jsonNames(t reflect.Type) []string {
	var names []string
	for i := range t.NumField() {
		if name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); name != "" && name != "-" {
			names = append(names, name)
		}
	}
	return names
}

// valueText is a JSON value as a reader wants to see it: strings without quotes, compact otherwise.
func valueText(v json.RawMessage) string {
	var text string
	if json.Unmarshal(v, &text) == nil {
		return text
	}
	var b bytes.Buffer
	if json.Compact(&b, v) != nil {
		return string(v)
	}
	return b.String()
}

// UnmarshalJSON keeps the order of the file, and refuses a name that is there twice.
func (f *Fields) UnmarshalJSON(text []byte) error {
	*f = nil
	return object(text, func(name string, value json.RawMessage) error {
		*f = append(*f, Field{name, value})
		return nil
	})
}

// MarshalJSON writes the settings as an object.
func (f Fields) MarshalJSON() ([]byte, error) {
	return writeObject(len(f), func(i int) (string, any) { return f[i].Name, f[i].Value })
}

// UnmarshalJSON keeps the order of the file, and refuses a name that is there twice.
func (l *Lists) UnmarshalJSON(text []byte) error {
	*l = nil
	return object(text, func(name string, value json.RawMessage) error {
		list := List{Name: name}
		if err := json.Unmarshal(value, &list.Values); err != nil || list.Values == nil {
			return fmt.Errorf("grid: %q is %s; want a list of values", name, value)
		}
		*l = append(*l, list)
		return nil
	})
}

// MarshalJSON writes the lists as an object.
func (l Lists) MarshalJSON() ([]byte, error) {
	return writeObject(len(l), func(i int) (string, any) { return l[i].Name, l[i].Values })
}

// UnmarshalJSON takes the name out of the variant's settings.
func (n *Named) UnmarshalJSON(text []byte) error {
	*n = Named{}
	return object(text, func(name string, value json.RawMessage) error {
		switch name {
		case "name":
		case "tune":
			n.Tune = &ownGrid{}
			return n.Tune.UnmarshalJSON(value)
		default:
			n.Fields = append(n.Fields, Field{name, value})
			return nil
		}
		if err := json.Unmarshal(value, &n.Name); err != nil {
			return fmt.Errorf("variants: name %s is not a string", value)
		}
		return nil
	})
}

// MarshalJSON writes the name among the variant's settings.
func (n Named) MarshalJSON() ([]byte, error) {
	name, err := json.Marshal(n.Name)
	if err != nil {
		return nil, err
	}
	fields := append(Fields{{"name", name}}, n.Fields...)
	if n.Tune != nil {
		grid, err := json.Marshal(n.Tune)
		if err != nil {
			return nil, err
		}
		fields = append(fields, Field{"tune", grid})
	}
	return json.Marshal(fields)
}

// object calls field for each field of a JSON object, in order.
func object(text []byte, field func(name string, value json.RawMessage) error) error {
	fields, err := jsonfile.Fields(text)
	if err != nil {
		return err
	}
	for _, f := range fields {
		if err := field(f.Name, f.Value); err != nil {
			return err
		}
	}
	return nil
}

// writeObject writes n fields as a JSON object, in their order.
func writeObject(n int, field func(i int) (string, any)) ([]byte, error) {
	fields := make([]jsonfile.Field, n)
	for i := range fields {
		name, v := field(i)
		value, err := json.Marshal(v)
		if err != nil {
			return nil, err
		}
		fields[i] = jsonfile.Field{Name: name, Value: value}
	}
	return jsonfile.Object(fields).MarshalJSON()
}

// arms are the names of what competes, in the order of the file.
func arms(runs []Run) []string {
	var names []string
	for _, r := range runs {
		if !slices.Contains(names, r.Arm) {
			names = append(names, r.Arm)
		}
	}
	return names
}

// sortedKeys are a map's keys in order.
func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
