// Package completion recovers a low-rank matrix from some of its entries by training a product of factors
// (method.md 1): wide, narrow or compressed, by gradient descent or Adam, in float64.
//
// A Problem is drawn with a known truth or read from a file; Solve trains on it; Save writes the solution. Only the
// wide method, the baseline, forms the whole product; the others compute it at observed entries: an iteration of the
// compressed one costs O(|Ω|·k + (d+m)·k²), so that a matrix of 20,000 × 20,000 fits a laptop.
//
// The same settings give the same bits on any number of cores: the problem's size alone decides how work is split, and
// partial sums are added in a fixed order. (Processors without AVX2 round differently.)
//
// What does not belong here: networks, adapters, graphs, and pictures of the curves.
package completion
