package labels

import (
	"errors"
	"slices"
	"testing"
)

func TestNamesAreMatchedOneToOne(t *testing.T) {
	for _, tc := range []struct {
		name       string
		have, want []string
		order      []int
		err        string
	}{
		{"as they stand", []string{"no", "yes"}, []string{"no", "yes"}, []int{0, 1}, ""},
		{"in another order", []string{"no", "maybe", "yes"}, []string{"yes", "no", "maybe"}, []int{2, 0, 1}, ""},
		{"in another case", []string{"NEGATIVE", "POSITIVE"}, []string{"positive", "negative"}, []int{1, 0}, ""},
		{"two in two cases, as they stand", []string{"US", "us", "other"}, []string{"US", "us", "other"}, []int{0, 1, 2}, ""},
		{"two in two cases, turned", []string{"US", "us", "other"}, []string{"other", "us", "US"}, []int{2, 1, 0}, ""},
		{"two in two cases, one more in another", []string{"US", "us", "Other"}, []string{"us", "US", "other"}, []int{1, 0, 2}, ""},
		{"one of two cases is another", []string{"US", "us"}, []string{"us", "Us"}, nil, `class "Us" could be "US" or "us"`},
		{"one there for two", []string{"US", "x", "X"}, []string{"us", "Us", "x"}, nil, `class "US" could be "us" or "Us"`},
		{"twice, as they stand", []string{"a", "a"}, []string{"a", "a"}, []int{0, 1}, ""},
		{"twice in the model", []string{"a", "a", "b"}, []string{"b", "a", "A"}, nil, `"a" is the name of two classes, 0 and 1`},
		{"twice in the task", []string{"b", "a", "A"}, []string{"a", "b", "a"}, nil, `"a" is the name of two classes, 0 and 2`},
		{"others", []string{"a", "b"}, []string{"a", "c"}, nil, ErrOther.Error()},
		{"fewer", []string{"a", "b"}, []string{"a"}, nil, ErrOther.Error()},
		{"sharp s is no case", []string{"straße"}, []string{"strasse"}, nil, ErrOther.Error()},
		{"letters of three cases", []string{"ǆ", "σ"}, []string{"ǅ", "ς"}, []int{0, 1}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			order, err := Match(tc.have, tc.want)
			if !slices.Equal(order, tc.order) || (err == nil) != (tc.err == "") || err != nil && err.Error() != tc.err {
				t.Errorf("%v, %v; want %v, %s", order, err, tc.order, tc.err)
			}
			if tc.err == ErrOther.Error() && !errors.Is(err, ErrOther) {
				t.Error("no ErrOther")
			}
		})
	}
}

func TestUnnamed(t *testing.T) {
	if !Unnamed([]string{"LABEL_0", "label_1"}) || Unnamed([]string{"LABEL_1", "LABEL_0"}) || Unnamed([]string{"LABEL_0", "yes"}) {
		t.Error("placeholders are LABEL_ and their position")
	}
}
