package completion

import (
	"bytes"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
)

const market = "%%MatrixMarket matrix coordinate "

func TestReadEntries(t *testing.T) {
	for name, c := range map[string]struct {
		text    string
		options ReadOptions
		want    string // rows cols: start col value
	}{
		"table":           {"1\t2\t0.5\n0\t0\t-3e2\n", ReadOptions{}, "2 3 [0 1 2] [0 2] [-300 0.5]"},
		"no final end":    {"0\t1\t4", ReadOptions{}, "1 2 [0 1] [1] [4]"},
		"windows":         {"0\t1\t4\r\n0\t0\t1\r\n", ReadOptions{}, "1 2 [0 2] [0 1] [1 4]"},
		"from one":        {"1\t2\t4\n", ReadOptions{OneBased: true}, "1 2 [0 1] [1] [4]"},
		"shape":           {"0\t1\t4\n", ReadOptions{Rows: 2, Cols: 4}, "2 4 [0 1 1] [1] [4]"},
		"market":          {market + "real general\n% note\n\n2 3 2\n2 3 1.5\n1 1 2\n", ReadOptions{}, "2 3 [0 1 2] [0 2] [2 1.5]"},
		"market integers": {"%%MatrixMarket MATRIX Coordinate Integer General\n1 1 1\n1 1 -7\n", ReadOptions{}, "1 1 [0 1] [0] [-7]"},
		"symmetric":       {market + "real symmetric\n3 3 2\n3 1 5\n2 2 1\n", ReadOptions{}, "3 3 [0 1 2 3] [2 1 0] [5 1 5]"},
	} {
		e, err := Read(strings.NewReader(c.text), "f", c.options)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if got := fmt.Sprint(e.Rows, e.Cols, e.Start, e.Col, e.Value); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestReadRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		text    string
		options ReadOptions
		want    string
	}{
		"empty":              {"", ReadOptions{}, "f:1: the file is empty"},
		"header":             {"user\titem\trating\n", ReadOptions{}, `f:1: row "user" is not a whole number from 0 up; a header line is not expected`},
		"two fields":         {"0\t1\t1\n0\t1\n", ReadOptions{}, "f:2: 2 fields with tabs between; want 3"},
		"blank line":         {"0\t1\t1\n\n", ReadOptions{}, "f:2: 1 fields"},
		"spaces":             {"0 1 1\n", ReadOptions{}, "f:1: 1 fields with tabs"},
		"negative":           {"0\t1\t1\n-1\t0\t1\n", ReadOptions{}, `f:2: row "-1" is not a whole number from 0 up`},
		"zero from one":      {"1\t0\t1\n", ReadOptions{OneBased: true}, `f:1: column "0" is not a whole number from 1 up`},
		"too large":          {"0\t99999999999\t1\n", ReadOptions{}, `column "99999999999"`},
		"beyond":             {"0\t5\t1\n", ReadOptions{Rows: 5, Cols: 5}, "f:1: column 5 is beyond the last, 4 (counted from 0)"},
		"beyond from one":    {"6\t5\t1\n", ReadOptions{Rows: 5, Cols: 5, OneBased: true}, "f:1: row 6 is beyond the last, 5 (counted from 1)"},
		"NaN":                {"0\t1\tNaN\n", ReadOptions{}, `f:1: value "NaN" is not a finite decimal number`},
		"infinite":           {"0\t1\t1e999\n", ReadOptions{}, `value "1e999"`},
		"hexadecimal":        {"0\t1\t0x1p3\n", ReadOptions{}, `value "0x1p3"`},
		"twice":              {"0\t1\t1\n2\t1\t1\n0\t1\t1\n", ReadOptions{}, "f:3: row 0, column 1 comes again after line 1"},
		"long line":          {"0\t1\t" + strings.Repeat("1", 5000) + "\n", ReadOptions{}, "f:1: the line is longer than 4096 bytes"},
		"empty rows":         {"0\t1\t1\n2000000000\t1\t1\n", ReadOptions{}, "f: a matrix of 2000000001 × 2 with 2 entries is nearly all empty"},
		"banner":             {"%%MatrixMarket matrix array real general\n", ReadOptions{}, "f:1: "},
		"complex":            {market + "complex general\n", ReadOptions{}, `f:1: entries are "complex"; want real or integer`},
		"skew":               {market + "real skew-symmetric\n", ReadOptions{}, `"skew-symmetric"; want general or symmetric`},
		"no size":            {market + "real general\n% a\n", ReadOptions{}, "f:2: the file ends before its size line"},
		"size of two":        {market + "real general\n2 2\n", ReadOptions{}, "f:2: \"2 2\" is not a size line"},
		"size not a number":  {market + "real general\n2 -2 1\n", ReadOptions{}, `f:2: "-2" in the size line`},
		"size of nothing":    {market + "real general\n0 2 1\n", ReadOptions{}, "f:2: a matrix of 0 rows"},
		"other size":         {market + "real general\n2 2 1\n", ReadOptions{Rows: 3}, "f:2: 2 rows; 3 were asked for"},
		"too few":            {market + "real general\n2 2 2\n1 1 1\n", ReadOptions{}, "f:3: 1 entries; the size line says 2"},
		"too many":           {market + "real general\n2 2 1\n1 1 1\n1 2 1\n", ReadOptions{}, "f:4: more entries than the 1 of the size line"},
		"market beyond":      {market + "real general\n2 2 1\n3 1 1\n", ReadOptions{}, "f:3: row 3 is beyond the last, 2 (counted from 1)"},
		"upper triangle":     {market + "real symmetric\n2 2 1\n1 2 1\n", ReadOptions{}, "f:3: row 1, column 2 is above the diagonal"},
		"market twice":       {market + "real symmetric\n2 2 2\n2 1 1\n2 1 1\n", ReadOptions{}, "comes again after line 3"},
		"market none":        {market + "real general\n2 2 0\n", ReadOptions{}, "no entries"},
		"market empty sides": {market + "real general\n2 2000000000 1\n1 1 1\n", ReadOptions{}, "nearly all empty"},
		"market symmetric":   {market + "real symmetric\n2 3 1\n2 1 1\n", ReadOptions{}, "f:2: a symmetric matrix of 2 × 3"},
	} {
		if _, err := Read(strings.NewReader(c.text), "f", c.options); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
}

// Whatever the bytes: no panic, and what is read is sorted, inside, finite, and read again from what it would be
// written as.
func FuzzObserved(f *testing.F) {
	f.Add([]byte("0\t1\t2.5\n3\t0\t-1\n"), false)
	f.Add([]byte("1\t1\t2.5\r\n"), true)
	f.Add([]byte(market+"real symmetric\n% c\n3 3 2\n3 1 5\n2 2 1\n"), false)
	f.Add([]byte(market+"integer general\n1 1 1\n1 1 1\n"), false)
	f.Fuzz(func(t *testing.T, text []byte, oneBased bool) {
		e, err := Read(bytes.NewReader(text), "f", ReadOptions{OneBased: oneBased})
		if err != nil {
			return
		}
		var again strings.Builder
		for i := range e.Rows {
			row := e.Col[e.Start[i]:e.Start[i+1]]
			if !slices.IsSorted(row) || len(slices.Compact(slices.Clone(row))) != len(row) {
				t.Fatalf("row %v", row)
			}
			for n := e.Start[i]; n < e.Start[i+1]; n++ {
				if int(e.Col[n]) >= e.Cols || e.Value[n]-e.Value[n] != 0 {
					t.Fatalf("entry %d, %d, %v of %d × %d", i, e.Col[n], e.Value[n], e.Rows, e.Cols)
				}
				fmt.Fprintf(&again, "%d\t%d\t%v\n", i, e.Col[n], e.Value[n])
			}
		}
		same, err := Read(strings.NewReader(again.String()), "f", ReadOptions{Rows: e.Rows, Cols: e.Cols})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(same.Start, e.Start) || !slices.Equal(same.Col, e.Col) || !slices.EqualFunc(same.Value, e.Value, func(a, b float64) bool {
			return math.Float64bits(a) == math.Float64bits(b)
		}) {
			t.Fatal("read another matrix from what was read")
		}
	})
}
