// Package linalg holds the dense linear algebra that gonum does not: Haar matrices, orthonormal bases
// that survive rank deficiency, the leading part of an SVD of a large float32 matrix, and measures of
// spectra and subspaces.
//
// Everything is float64 inside, single functions over gonum's mat, and deterministic: work is shared
// over goroutines only where each result is computed by one of them in a fixed order, so the number of
// cores changes no bit. (Other processor families may differ in the last bits: gonum has assembly.)
//
// Like gonum, functions panic on shapes that cannot be meant; faults of data (NaN) are errors.
// What does not belong here: graphs and tensors (callers hand over slices), and what a matrix means.
package linalg
