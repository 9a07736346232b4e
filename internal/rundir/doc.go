// Package rundir makes, locks and opens the directory of a run: of a training, a pretraining or a study. A directory is a
// run's once its marker file is there. The package knows nothing of what a run writes into it.
package rundir
