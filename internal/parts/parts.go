// Package parts names what a kernel does in its encoder, so that scopes mean the same in every family, whatever its
// tensors are called.
package parts

// The parts of an encoder that have kernels.
const (
	Query           = "query"
	Key             = "key"
	Value           = "value"
	Fused           = "query-key-value" // one kernel for the three
	AttentionOutput = "attention-output"
	FeedForward     = "feed-forward"
	Table           = "table" // of embeddings
	Other           = "other" // poolers, projections of embeddings or of relative positions
)
