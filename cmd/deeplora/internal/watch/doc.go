// Package watch shows a run while it goes on, or afterwards, as a page that keeps itself up to date. It reads the files that
// the run writes and touches nothing: the run may be another process's, and knows nothing of being watched.
package watch
