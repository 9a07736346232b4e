package settings

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"

	"github.com/deeplora/deeplora/internal/jsonfile"
)

// Fields are the settings as the fields of a JSON object, in the order of the table.
func (t Table[C]) Fields(c *C) (fields jsonfile.Object, err error) {
	for _, r := range t {
		value := r.Value(c)
		if v := reflect.ValueOf(value); v.Kind() == reflect.Slice && v.IsNil() {
			value = []string{}
		}
		text, err := json.Marshal(value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.Name, err)
		}
		fields = append(fields, jsonfile.Field{Name: r.Name, Value: text})
	}
	return fields, nil
}

// Extra is a field beside the settings: its value, or where to read it to.
type Extra struct {
	Name  string
	Value any
}

// Marshal writes the settings and, after them, other fields.
func (t Table[C]) Marshal(c *C, more ...Extra) ([]byte, error) {
	fields, err := t.Fields(c)
	if err != nil {
		return nil, err
	}
	for _, m := range more {
		text, err := json.Marshal(m.Value)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", m.Name, err)
		}
		fields = append(fields, jsonfile.Field{Name: m.Name, Value: text})
	}
	return jsonfile.Object(fields).MarshalJSON()
}

// Unmarshal reads settings, and other fields, strictly: unknown and repeated names are errors. What is absent stays as it
// is.
func (t Table[C]) Unmarshal(text []byte, c *C, more ...Extra) error {
	fields, err := jsonfile.Fields(text)
	if err != nil {
		return err
	}
	for _, f := range fields {
		if i := slices.IndexFunc(more, func(m Extra) bool { return m.Name == f.Name }); i >= 0 {
			err = jsonfile.Decode(f.Value, more[i].Value)
		} else {
			err = t.Set(c, f.Name, f.Value)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// Set sets one setting from JSON. An unknown name, null and a value of another type are errors.
func (t Table[C]) Set(c *C, name string, value json.RawMessage) error {
	r, err := t.Row(name)
	if err != nil {
		return err
	}
	if _, list := r.At(c).(*[]string); bytes.Equal(value, []byte("null")) && !list { // which Go writes for an empty one
		return fmt.Errorf("setting %q is null", name)
	}
	err = json.Unmarshal(value, r.At(c))
	if list, ok := r.At(c).(*[]string); ok && len(*list) == 0 {
		*list = nil
	}
	if wrong := (*json.UnmarshalTypeError)(nil); errors.As(err, &wrong) {
		return fmt.Errorf("setting %q: a %s where %s is wanted", name, wrong.Value, wrong.Type)
	}
	return err
}

// Key identifies what a configuration asks for: the first 16 hexadecimal digits of the sha256 of the settings that differ
// from their defaults. A setting that is added to the table changes no key.
func (t Table[C]) Key(c *C) (string, error) {
	defaults := t.Defaults()
	fields, err := t.Differences(c, &defaults).Fields(c)
	if err != nil {
		return "", err
	}
	text, err := jsonfile.Object(fields).MarshalJSON()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:8]), nil
}
