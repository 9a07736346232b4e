//go:build !linux

package plugin

import "errors"

// processor is known on Linux alone.
func processor() (string, error) { return "", errors.New("the processor is not known") }

// BFloat16 is known on Linux alone.
func BFloat16() string { return "" }
