// Package data turns examples into batches of token ids.
//
// Three kinds of thing live here, in the order the data meets them:
//   - where examples come from: the table of GLUE tasks (tasks.go), the official TSVs (glue.go),
//     parquet and JSONL (table.go), a model or data set of the hub in a local cache (hub.go), and the
//     rows that predict reads (inputs.go);
//   - which of them are used: few-shot draws (fewshot.go) and the manifests that replay one
//     (manifest.go);
//   - how they reach the encoder: tokenization (tokenize.go), the order of training, padding, length
//     buckets and masks (batch.go), several examples a row (batch_packed.go).
//
// Nothing here may know of models, adapters, optimizers or metrics' formulas: a Task names its
// metrics, package train computes them. Randomness comes from internal/rng's named streams alone.
package data
