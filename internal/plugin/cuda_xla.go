//go:build !noxla && linux && amd64

package plugin

import (
	"errors"
	"os"

	goxla "github.com/gomlx/go-xla/installer"
)

// goxlaCUDAInstaller installs the plugin of the newest JAX with CUDA 13 and the libraries it names. Wheels
// stay in go-xla's cache, so that the next try does not fetch gigabytes again.
var goxlaCUDAInstaller cudaInstaller = func(dir string) (printed string, err error) {
	file, err := os.CreateTemp("", tempPrefix+"*.tmp")
	if err != nil {
		return "", err
	}
	stdout := os.Stdout
	os.Stdout = file // Quiet is not quiet: it draws a spinner and prints a last line
	defer func() {
		os.Stdout = stdout
		content, readErr := os.ReadFile(file.Name())
		printed = string(content)
		err = errors.Join(err, readErr, file.Close(), os.Remove(file.Name()))
	}()
	return "", goxla.CudaInstall("cuda13", "latest", dir, true, goxla.Quiet)
}
