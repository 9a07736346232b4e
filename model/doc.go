// Package model is the encoder: BERT and its relatives for sequence classification and regression, BERT for masked language
// modelling too, as a graph over named weights, and the strict reading and writing of Hugging Face checkpoints.
//
// Read bert.go first, then encoder.go: what is BERT's own, and the forward pass that all families share, from top to
// bottom. family.go says what a family has to say of itself; each other one is a file like bert.go. hook.go is where
// others come in: the encoder asks a WeightHook for the product with each kernel, so that whoever adapts or measures kernels
// needs no other forward pass. config.go, checkpoint.go and weights.go read config.json and safetensors, and refuse what the encoder would
// compute wrongly; reader.go reads tensors one at a time, and save.go writes them.
//
// The package knows nothing of adapters, tasks, tokenizers or training.
package model
