// Package linalg holds the dense linear algebra that gonum does not: Haar matrices, orthonormal bases
// that survive rank deficiency, the leading part of an SVD of a large float32 matrix, and measures of
// spectra and subspaces.
//
// Everything computes in float64 on gonum's matrices and is deterministic: work is shared
// over goroutines only where each result is computed by one of them in a fixed order, so the number of
// cores changes no bit. (Other processor families may differ in the last bits: gonum has assembly.)
//
// Faults of data (NaN) and of counts that a user chooses are errors. Orth and Extend panic, like gonum, when they are
// asked for more orthonormal columns than there are rows: callers check their ranks first.
// What does not belong here: graphs and tensors (callers hand over slices), and what a matrix means.
package linalg
