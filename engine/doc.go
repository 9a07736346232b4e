// Package engine opens what computes: XLA through its plugin, on the CPU or a GPU of NVIDIA, or GoMLX's Go engine.
// A program that imports this module opens a backend here, once, and hands it to packages such as train and model,
// which take any compute.Backend. With the build tag noxla there is the Go engine alone.
//
// Nothing is downloaded here: `deeplora engine install` fetches the plugin, and every program of the machine then
// finds it. What go-xla logs goes to slog's debug level and not to standard error, for every program that imports
// this package.
//
// Stable are the exported names, the names of the backends, and what Open promises. The words of notices and errors
// may change: test errors with errors.Is.
package engine
