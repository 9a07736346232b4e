// Package builtin holds the files embedded in the program, so that the demo and the defaults of the
// command line need no network: a small encoder, and a few-shot STS-B split with the licence and
// attribution it is distributed under beside it.
//
// It hands out bytes and knows no format: reading them is the business of the packages that read the
// same files from a disk, so it imports nothing of this project. Programs under scripts make the files
// again, and their tests check that the files are what they make.
package builtin

import (
	"embed"
	"io/fs"
)

//go:embed STS-B
var split embed.FS

// Data returns the embedded data set in the layout of GLUE's archive: STS-B/train.tsv (256 rows),
// STS-B/validation.tsv (250 rows), and the licence files. Pass it to data.LoadFS.
func Data() fs.FS { return split }
