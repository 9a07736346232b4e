package completion

import (
	"context"
	"strings"
	"testing"
)

// The limit of 32-bit offsets is met before anything of that size is drawn: the range finder is wider than the model.
func TestTooManyColumnsAreAnError(t *testing.T) {
	e := newEntries(2, 1<<27, []Triple{{0, 0, 1}, {1, 1, 1}})
	c := Default()
	c.Width = 2
	_, err := Solve(context.Background(), &Problem{Observed: e}, c, nil)
	if want := "transpose the matrix or take a smaller width"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %q", err, want)
	}
}
