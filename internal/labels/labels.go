// Package labels matches the class names of a model with those of a task, one to one. It knows nothing of what the names
// stand for. An output that is taken for another class than it was trained for gives wrong answers without a word, so
// that whatever could be meant in two ways is an error.
package labels

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ErrOther is the error for two lists that do not name the same classes.
var ErrOther = errors.New("the classes are not the same")

// Match says where in have each name of want stands. Lists that are equal are matched as they stand, whatever they hold.
// Otherwise a name is matched with the one that is spelled alike and, only where there is none, with the single one that
// differs in case. It is ErrOther where a name has no partner, and an error that shows the names where a partner is not
// certain: a name that is there twice, or two that differ in case alone.
func Match(have, want []string) (order []int, err error) {
	if len(have) != len(want) {
		return nil, ErrOther
	}
	order = make([]int, len(want))
	if slices.Equal(have, want) {
		for i := range order {
			order[i] = i
		}
		return order, nil
	}
	if !sameFolded(have, want) { // before what is ambiguous: nobody asks which of other classes is meant
		return nil, ErrOther
	}
	for _, names := range [][]string{have, want} {
		if err := repeated(names); err != nil {
			return nil, err
		}
	}
	at := positions(have, func(name string) string { return name })
	folded, wanted := positions(have, fold), positions(want, fold)
	for i, name := range want {
		if exact, ok := at[name]; ok {
			order[i] = exact[0]
			continue
		}
		near, rivals := folded[fold(name)], wanted[fold(name)]
		if len(near) > 1 {
			return nil, fmt.Errorf("class %q could be %q or %q", name, have[near[0]], have[near[1]])
		}
		if len(rivals) > 1 {
			return nil, fmt.Errorf("class %q could be %q or %q", have[near[0]], want[rivals[0]], want[rivals[1]])
		}
		order[i] = near[0]
	}
	return order, nil
}

// sameFolded reports whether each name has one that it could be matched with, in both directions.
func sameFolded(a, b []string) bool {
	inA, inB := positions(a, fold), positions(b, fold)
	for name := range inA {
		if inB[name] == nil {
			return false
		}
	}
	return len(inA) == len(inB)
}

// repeated is the error for a name that is there twice.
func repeated(names []string) error {
	first := map[string]int{}
	for i, name := range names {
		if j, twice := first[name]; twice {
			return fmt.Errorf("%q is the name of two classes, %d and %d", name, j, i)
		}
		first[name] = i
	}
	return nil
}

// positions are the places of names, by what key makes of them.
func positions(names []string, key func(string) string) map[string][]int {
	at := map[string][]int{}
	for i, name := range names {
		at[key(name)] = append(at[key(name)], i)
	}
	return at
}

// fold makes names alike that differ in case alone.
func fold(name string) string { return strings.ToLower(strings.ToUpper(name)) }

// Placeholder is the name Transformers gives a class that nobody named.
func Placeholder(i int) string { return "LABEL_" + strconv.Itoa(i) }

// Unnamed reports whether all names are the placeholders of their positions.
func Unnamed(names []string) bool {
	for i, name := range names {
		if !strings.EqualFold(name, Placeholder(i)) {
			return false
		}
	}
	return true
}
