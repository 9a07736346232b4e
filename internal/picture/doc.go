// Package picture draws charts as SVG: lines over a common axis, intervals in rows, and small multiples of curves
// that can be compared at a glance. A chart is a file of its own or an element of a page, whose colours it then
// takes. The package knows values and captions, and nothing of what they mean.
package picture
