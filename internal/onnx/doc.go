// Package onnx writes what a GoMLX function computes as an ONNX graph, and reads such a graph again.
//
// There is no second forward pass: Trace calls the function as training does, on an engine that computes nothing and
// notes each operation. It does so for several sizes of a batch, from which every size in the graph is found as a
// function of the number of rows and their length (sizes.go). The operations become ONNX's (emit.go). Read builds a
// GoMLX graph from a file's nodes (read.go), to hold what was written against what was meant.
//
// The package knows nothing of encoders.
package onnx
