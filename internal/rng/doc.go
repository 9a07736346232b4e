// Package rng gives named streams of random numbers.
//
// A stream is its key: a hash of the algorithm's version, the seed and the names it was asked for by,
// as in rng.New(seed, "init", kernel) or rng.New(seed, "dropout").At(step). Two streams of different
// names or indices are independent, so no draw ever shifts another and nothing has to be saved to
// resume: a counter names its own numbers.
//
// The numbers are the same on every platform and under every Go version: the generator is ChaCha8 as
// specified in C2SP chacha8rand, and everything above its 64-bit words (normals, permutations, bounded
// integers) is written here with arithmetic that no compiler may fuse. Changing any of them means
// changing version in rng.go and the golden values in the tests.
//
// What does not belong here: anything shaped (matrices: internal/linalg) or about data.
package rng
