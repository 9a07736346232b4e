// Package atomicfile writes files and directories that appear whole or not at all.
//
// Content goes to a temporary name in the same directory, is synced, renamed into place, and the
// directory is synced too: after a crash, a kill or a full disk a reader finds the old content or the
// new, never a part. Write and WriteDir leave nothing behind when they return an error or panic. What
// a killed process leaves is .NAME.tmp-* files and NAME.tmp directories. The next WriteDir of the same
// name clears its directory, which is told from a living process's by a lock; CleanLeftovers removes
// all of both from a directory that is ours.
//
// What is written is none of this package's business: formats and the layout of a run directory live
// with their owners.
package atomicfile
