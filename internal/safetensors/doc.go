// Package safetensors reads and writes the safetensors container: strict on reading, deterministic on
// writing.
//
// A file is an 8-byte little-endian header length, a JSON header (name -> dtype, shape, offsets) and
// the tensors, row-major and little-endian. Open checks everything the header promises against the
// file before a tensor is read; reading costs memory for the tensor asked for and nothing else, and is
// safe from several goroutines. Write gives the same bytes for the same tensors, whatever their order.
//
// What the tensors mean, which names a model needs, and sharded checkpoints are not known here (package
// model); nor is how a file gets to the disk whole (package atomicfile).
package safetensors
