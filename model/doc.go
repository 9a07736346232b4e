// Package model is the encoder: BERT for sequence classification and regression, as a graph over
// named weights, and the strict reading of Hugging Face checkpoints.
//
// Read bert.go first: it is the whole forward pass, top to bottom. hook.go holds the one seam: the
// encoder asks a WeightHook for the product with each named kernel, so that whoever adapts, merges or
// measures weights does it there. config.go, checkpoint.go and weights.go read config.json and
// safetensors, and refuse whatever they cannot honour.
//
// The package knows nothing of adapters, tasks, tokenizers or training.
package model
