// Package atomicfile writes files and directories that appear whole or not at all.
//
// Content goes to a temporary name in the same directory, is synced, renamed into place, and the
// directory is synced too: after a crash, a kill or a full disk a reader finds the old content or the
// new, never a part. Write and WriteDir leave nothing behind when they return an error or panic. What
// a killed process leaves is .NAME.tmp-* files and NAME.tmp directories. The next WriteDir of the same
// name removes such a directory; a lock shows whether the process that made it still lives. CleanLeftovers
// removes both kinds from a directory that is ours.
//
// The package knows nothing of what is written: formats and the layout of a run directory belong to its callers.
package atomicfile
