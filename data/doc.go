// Package data turns examples into batches of token ids.
//
// It has three parts, in the order in which an example passes through them:
//   - where examples come from: the table of GLUE tasks (tasks.go), the official TSVs (glue.go), parquet and JSONL
//     (table.go), examples that the program already has (memory.go), files of the Hugging Face hub in a local cache
//     (hub.go), and the rows that predict reads (inputs.go);
//   - which of them are used: few-shot draws (fewshot.go) and the manifests that repeat a draw (manifest.go);
//   - how they reach the encoder: tokenization (tokenize.go), their order in training, padding, length buckets and
//     masks (batch.go), several examples in one row (batch_packed.go).
//
// The package must know nothing of models, adapters and optimizers. A Task only names its metrics; package train
// computes them. All random numbers come from the named streams of internal/rng.
package data
