package jsonfile

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
)

// Fate is what becomes of a field of a file that other programs write. Exactly one of Honoured, Harmless and Only is
// there.
type Fate struct {
	Name     string
	Honoured bool
	Harmless string   // why it changes nothing that is computed
	Only     []string // the values, as compact JSON, that ask for nothing else than what is done; any other is refused
}

// Fates are those of a file's fields.
type Fates []Fate

// Harmless reports whether a field is in the list as one that changes nothing.
func (fates Fates) Harmless(name string) bool {
	return slices.ContainsFunc(fates, func(f Fate) bool { return f.Name == name && f.Harmless != "" })
}

// Refused are the faults of fields whose values ask for something else than what is done, in the order of the fates.
func (fates Fates) Refused(fields map[string]json.RawMessage) (faults []error) {
	for _, f := range fates {
		value, there := fields[f.Name]
		if !there || f.Only == nil {
			continue
		}
		var compact bytes.Buffer
		if json.Compact(&compact, value) == nil && !slices.Contains(f.Only, compact.String()) {
			faults = append(faults, fmt.Errorf("%s is %.40s, which is not supported; want %s", f.Name, compact.String(), strings.Join(f.Only, " or ")))
		}
	}
	return faults
}

// Faults are those of the list itself: fields that stand in it twice, or have not one fate.
func (fates Fates) Faults() (faults []error) {
	seen := map[string]bool{}
	for _, f := range fates {
		n := 0
		for _, there := range []bool{f.Honoured, f.Harmless != "", f.Only != nil} {
			if there {
				n++
			}
		}
		if n != 1 || seen[f.Name] {
			faults = append(faults, fmt.Errorf("%s has %d fates, or stands there twice", f.Name, n))
		}
		seen[f.Name] = true
	}
	return faults
}
