// Package completion recovers a low-rank matrix from some of its entries by training a product of factors
// (method.md 1): wide, narrow or compressed, by gradient descent or Adam, in float64.
//
// A Problem is made of a known truth or read from a file; Solve trains on it; Save writes what came of it. Only
// observed entries are ever formed but by the wide method, which is the baseline: an iteration of the compressed one
// costs O(|Ω|·k + (d+m)·k²), so that a matrix of 20,000 × 20,000 fits a laptop.
//
// The same settings give the same bits on any number of cores: work is cut into parts by the size of the problem
// alone, and what the parts sum is added in their order. (Processors without AVX2 round otherwise.)
//
// What does not belong here: networks, adapters, graphs, and pictures of the curves.
package completion
