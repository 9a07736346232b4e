// Package train joins the encoder (package model), the adapters (lora) and the examples (data): it trains, evaluates,
// saves, resumes and predicts.
//
// Read train.go first: Train creates a run, or goes on with one, and finishes it. job.go is the run as the loop sees it:
// batches, loss, evaluation, checkpoints; the loop itself is package train/loop. hook.go is the only place that knows both
// adapters and the encoder; gradient.go gives the compressed start its first gradients. settings.go is the table of a run's
// settings, finished.go a finished run on disk, predictor.go a run, or a checkpoint, that predicts.
//
// A run is begun once its config.json is there, and finished once its result.json is.
//
// The package never prints: it reports events and returns errors. It takes its backend from the caller.
package train
