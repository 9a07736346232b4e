// Package nearest finds the name that was most likely meant by a mistyped one.
//
// Every error about an unknown name (a flag, a field, a task, a method, a pattern of kernels) ends with the
// nearest known one; this is the one place that defines the distance. It knows nothing of what the names
// stand for.
package nearest

import (
	"cmp"
	"math"
	"slices"
	"strings"
)

// longest is how many bytes of a name are compared, so that names from hostile files cannot make it slow.
const longest = 256

// Of returns the known name with the smallest edit distance from name, upper and lower case alike, the first
// of equals; "" if none is known.
func Of(name string, known []string) string {
	best, least := "", math.MaxInt
	for _, k := range known {
		if d := distance(name, k, false); d < least {
			best, least = k, d
		}
	}
	return best
}

// Inside returns the n known names that hold something nearest to part, nearest first.
func Inside(part string, known []string, n int) []string {
	sorted := slices.Clone(known)
	slices.SortStableFunc(sorted, func(a, b string) int {
		return cmp.Compare(distance(part, a, true), distance(part, b, true))
	})
	return sorted[:min(n, len(sorted))]
}

// distance counts the insertions, deletions and replacements that turn a into b, or into the part of b
// nearest to it.
func distance(a, b string, inside bool) int {
	a, b = fold(a), fold(b)
	row := make([]int, len(b)+1)
	for j := range row {
		if !inside {
			row[j] = j
		}
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			replace := diagonal
			if a[i] != b[j] {
				replace++
			}
			diagonal = row[j+1]
			row[j+1] = min(replace, row[j]+1, row[j+1]+1)
		}
	}
	if inside {
		return slices.Min(row)
	}
	return row[len(b)]
}

func fold(s string) string { return strings.ToLower(s[:min(len(s), longest)]) }
