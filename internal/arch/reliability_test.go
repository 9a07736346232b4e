package arch_test

import (
	"regexp"
	"strconv"
	"testing"
)

var promiseRow = regexp.MustCompile(`(?m)^\| R(\d+) \|.*\| ([^|]*) \|$`)

// Every promise of reliability.md has its number, in order, and names tests that exist, in the directory it says.
func TestPromisesNameTheirTests(t *testing.T) {
	functions := testFunctions(t)
	rows := promiseRow.FindAllStringSubmatch(document(t, "docs/reliability.md"), -1)
	for i, row := range rows {
		if want := strconv.Itoa(i + 1); row[1] != want {
			t.Errorf("docs/reliability.md: row %d is R%s", i+1, row[1])
		}
		checkRow(t, "docs/reliability.md: R"+row[1], row[2], functions)
	}
	if len(rows) < 20 {
		t.Errorf("docs/reliability.md has %d rows of promises: is the pattern right?", len(rows))
	}
}
