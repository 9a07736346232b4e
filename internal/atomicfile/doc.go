// Package atomicfile writes files and directories that appear whole or not at all.
//
// Content goes to a temporary name in the same directory, is synced, renamed into place, and the
// directory is synced too: after a crash, a kill or a full disk a reader finds the old content or the
// new, never a part. Write and WriteDir leave nothing behind when they return an error or panic; what
// a killed process leaves (.NAME.tmp-* files, NAME.tmp directories) CleanLeftovers removes.
//
// What is written is none of this package's business: formats, locks and the layout of a run
// directory live with their owners.
package atomicfile
