// Package picture draws small multiples of curves as SVG: many small panels with the same axes, so that they
// can be compared at a glance. It knows values and captions, and nothing of what they mean.
package picture
