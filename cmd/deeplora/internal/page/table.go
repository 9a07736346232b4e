package page

import (
	"math"
	"strconv"
)

// Table is a table of a page.
type Table struct {
	Label   string // to those who cannot see it
	Columns []Column
	Rows    [][]Entry
}

// Column is a column's head.
type Column struct {
	Name    string
	Numeric bool
}

// Entry is what stands in a table: Sort, where it is not empty, is what it is sorted by.
type Entry struct {
	Text, Sort, Class, Link string
	Bar                     float64 // length of a bar before the text, in percent of the longest; 0: none
}

// Words are columns of text.
func Words(names ...string) (columns []Column) {
	for _, name := range names {
		columns = append(columns, Column{Name: name})
	}
	return columns
}

// Numbers are columns of numbers.
func Numbers(names ...string) (columns []Column) {
	for _, name := range names {
		columns = append(columns, Column{name, true})
	}
	return columns
}

// Number is an entry for a number, shown as text, or as a dash where it is not finite.
func Number(v float64, text string) Entry {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return Entry{Text: "–", Sort: "-Infinity"}
	}
	return Entry{Text: text, Sort: strconv.FormatFloat(v, 'g', -1, 64)}
}

// Whole is an entry for a whole number.
func Whole(n int) Entry { return Number(float64(n), strconv.Itoa(n)) }
