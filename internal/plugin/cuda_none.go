//go:build noxla || !(linux && amd64)

package plugin

// goxlaCUDAInstaller is nil where go-xla is not linked or has no CUDA.
var goxlaCUDAInstaller cudaInstaller
