//go:build !noxla

package hugepages

import "C" // for memory_linux.c
