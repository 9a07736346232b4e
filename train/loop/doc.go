// Package loop is the training loop: steps, evaluations, checkpoints, and going on from them to the same bits. What is
// trained, a fine-tuning or a pretraining, is a Job with an Objective.
//
// Read loop.go first: Run is the loop, and step is what happens in a step. program.go is the three graphs that a step
// computes: the gradients of a batch, their sum over several batches, and the optimizer (optimizer.go). state.go is what
// changes, checkpoint.go how it is kept, diagnostic.go and trace.go what is done about a loss that is infinite or NaN,
// ahead.go the compiling of graphs beside the training.
//
// The package knows no model, adapter or data. It never prints: it reports Events and returns errors.
package loop
