// Package picture draws charts as SVG: lines over a common axis, intervals in rows, histograms, matrices of counts, and small
// multiples of curves that can be compared at a glance. A chart is a file of its own, or an element of a page and then in the page's colours. The
// package draws values and captions and does not know what they mean.
package picture
