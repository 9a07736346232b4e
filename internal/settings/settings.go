// Package settings describes each setting of a program once, as a row of a typed table. Flags, JSON, checks, defaults,
// the axes of a study, what a resumed run may change, a run's key and the table in docs/formats.md all come from the
// rows: a new setting is one field and one row.
//
// The package knows no setting. Rules between settings stay code, in the packages that know them.
package settings

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/deeplora/deeplora/internal/nearest"
)

// Row is one setting of a configuration C.
type Row[C any] struct {
	Name    string // long flag, field in JSON, column of a study
	Help    string // one line, no full stop
	Part    string // what it belongs to, as "adapter" or "data"
	Default any    // of the type that At points to
	Preset  any    // default under the table's preset, --reference; nil: Default

	// At gives the address of the field: *string, *bool, *int, *int64, *uint64, *float64 or *[]string.
	At func(*C) any
	// Check is the error for a value that no configuration can have, without the setting's name; nil: any value is good.
	Check func(value any) error

	Unset     any      // value that leaves the choice to the run, which replaces it by what it chose; nil: there is none
	Resumable bool     // a run that is resumed may change it
	Path      bool     // names a file or a directory, unless the value is
	Words     []string // one of these words
}

// Table is the settings of a configuration, in the order in which they are shown and written.
type Table[C any] []Row[C]

// Defaults is a configuration with every default.
func (t Table[C]) Defaults() (c C) {
	for _, r := range t {
		r.set(&c, r.Default)
	}
	return c
}

// Preset is a configuration with every default of the preset.
func (t Table[C]) Preset() (c C) {
	c = t.Defaults()
	for _, r := range t {
		if r.Preset != nil {
			r.set(&c, r.Preset)
		}
	}
	return c
}

// Names are the settings' names, in order.
func (t Table[C]) Names() []string {
	names := make([]string, len(t))
	for i, r := range t {
		names[i] = r.Name
	}
	return names
}

// Row is the row of a name. The error for an unknown name says the nearest.
func (t Table[C]) Row(name string) (Row[C], error) {
	i := slices.IndexFunc(t, func(r Row[C]) bool { return r.Name == name })
	if i < 0 {
		return Row[C]{}, fmt.Errorf("unknown setting %q; nearest: %s", name, nearest.Of(name, t.Names()))
	}
	return t[i], nil
}

// Check returns every fault of single values, each with its setting's name.
func (t Table[C]) Check(c *C) (faults []error) {
	for _, r := range t {
		if r.Check == nil {
			continue
		}
		if err := r.Check(r.Value(c)); err != nil {
			faults = append(faults, fmt.Errorf("%s: %w", r.Name, err))
		}
	}
	return faults
}

// Differences are the rows whose values differ.
func (t Table[C]) Differences(a, b *C) (rows Table[C]) {
	for _, r := range t {
		if !r.Same(a, b) {
			rows = append(rows, r)
		}
	}
	return rows
}

// Of are the rows of a part.
func (t Table[C]) Of(part string) (rows Table[C]) {
	return slices.DeleteFunc(slices.Clone(t), func(r Row[C]) bool { return r.Part != part })
}

// Choose replaces what given leaves to the run by what the run chose.
func (t Table[C]) Choose(given, chosen *C) {
	for _, r := range t {
		if r.Unset != nil && reflect.DeepEqual(r.Value(given), r.Unset) {
			r.Copy(given, chosen)
		}
	}
}

// Change takes over from given the settings that a resumed run may change, where they are given: not their defaults.
func (t Table[C]) Change(run, given *C) {
	for _, r := range t {
		if r.Resumable && !reflect.DeepEqual(r.Value(given), r.Default) {
			r.Copy(run, given)
		}
	}
}

// Absolute makes the relative paths of c absolute where something exists at them: what does not is a name of something
// else, or a fault that is reported where it is used.
func (t Table[C]) Absolute(c *C) error {
	for _, r := range t {
		if !r.Path {
			continue
		}
		paths, ok := r.At(c).(*[]string)
		if !ok {
			paths = &[]string{*r.At(c).(*string)}
		}
		for i, path := range *paths {
			if _, err := os.Stat(path); err != nil || slices.Contains(r.Words, path) {
				continue
			}
			full, err := filepath.Abs(path)
			if err != nil {
				return err
			}
			(*paths)[i] = full
		}
		if !ok {
			*r.At(c).(*string) = (*paths)[0]
		}
	}
	return nil
}

// With is the table with one row changed. It panics if there is no such row: tables are written by programmers.
func (t Table[C]) With(name string, change func(*Row[C])) Table[C] {
	changed := slices.Clone(t)
	i := slices.IndexFunc(changed, func(r Row[C]) bool { return r.Name == name })
	change(&changed[i])
	return changed
}

// Without is the table without the rows of these names.
func (t Table[C]) Without(names ...string) Table[C] {
	return slices.DeleteFunc(slices.Clone(t), func(r Row[C]) bool { return slices.Contains(names, r.Name) })
}

// Value is the row's value in c.
func (r Row[C]) Value(c *C) any { return reflect.ValueOf(r.At(c)).Elem().Interface() }

// Same reports whether two configurations have one value. An empty list is as good as none.
func (r Row[C]) Same(a, b *C) bool {
	x, y := reflect.ValueOf(r.At(a)).Elem(), reflect.ValueOf(r.At(b)).Elem()
	if x.Kind() == reflect.Slice && x.Len() == 0 && y.Len() == 0 {
		return true
	}
	return reflect.DeepEqual(x.Interface(), y.Interface())
}

// Copy takes the row's value over from another configuration.
func (r Row[C]) Copy(to, from *C) { r.set(to, r.Value(from)) }

func (r Row[C]) set(c *C, value any) {
	field := reflect.ValueOf(r.At(c)).Elem()
	if value == nil {
		field.SetZero()
		return
	}
	field.Set(reflect.ValueOf(value))
}

// AtLeast refuses whole numbers below least.
func AtLeast(least int) func(any) error {
	return func(value any) error {
		if n := reflect.ValueOf(value).Int(); n < int64(least) {
			return fmt.Errorf("%d is less than %d", n, least)
		}
		return nil
	}
}

// Between refuses numbers outside low to high, and NaN.
func Between(low, high float64) func(any) error {
	return func(value any) error {
		if v := value.(float64); !(v >= low && v <= high) {
			return fmt.Errorf("%g is not between %g and %g", v, low, high)
		}
		return nil
	}
}

// Probability refuses numbers that are not between 0 and below 1.
func Probability(value any) error {
	if p := value.(float64); !(p >= 0 && p < 1) {
		return fmt.Errorf("%g is not between 0 and below 1", p)
	}
	return nil
}

// OneOf refuses words that are not known, and says the nearest.
func OneOf(known ...string) func(any) error {
	return func(value any) error {
		if word := value.(string); !slices.Contains(known, word) {
			return fmt.Errorf("%q is unknown; nearest: %s (known: %s)", word, nearest.Of(word, known), strings.Join(known, " "))
		}
		return nil
	}
}

// Unless is check for all values but one, which stands for something else.
func Unless(special any, check func(any) error) func(any) error {
	return func(value any) error {
		if value == special {
			return nil
		}
		return check(value)
	}
}

// Faults collects what is wrong between settings.
type Faults []error

// Add adds err, unless it is nil.
func (f *Faults) Add(err error) {
	if err != nil {
		*f = append(*f, err)
	}
}

// Check adds a fault unless ok.
func (f *Faults) Check(ok bool, format string, args ...any) {
	if !ok {
		*f = append(*f, fmt.Errorf(format, args...))
	}
}

// Err is all of them as one error, nil if there are none.
func (f Faults) Err() error { return errors.Join(f...) }

// ErrConfig is what errors.Is finds in errors about settings that turn out not to fit what they are used with.
var ErrConfig = errors.New("settings do not fit")

// Error makes err, unless it is nil, one that is ErrConfig.
func Error(err error) error {
	if err == nil {
		return nil
	}
	return configError{err}
}

type configError struct{ error }

func (e configError) Is(target error) bool { return target == ErrConfig }
func (e configError) Unwrap() error        { return e.error }
