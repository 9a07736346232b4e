package lora

import "math"

// nearest returns the known name at the smallest edit distance from name, the first of equals.
func nearest(name string, known []string) string {
	best, least := "", math.MaxInt
	for _, k := range known {
		if d := distance(name, k, 0); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance counts the insertions, deletions and replacements that turn a into b. With free set to 1,
// what b has before and after the part that a turns into costs nothing: a is looked for inside b.
func distance(a, b string, free int) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j * (1 - free)
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
	if free == 0 {
		return row[len(b)]
	}
	least := math.MaxInt
	for _, d := range row {
		least = min(least, d)
	}
	return least
}
