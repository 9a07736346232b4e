// Package pretrain makes an encoder from text: it trains a WordPiece vocabulary, then a BertForMaskedLM by masked
// language modelling and, with a teacher, by distillation of its sentence embeddings.
//
// It plans batches and builds losses; steps, optimizer, checkpoints and resuming are train's loop. It knows
// nothing of tasks, labels or adapters.
package pretrain
