// Package wordpiece makes a BERT vocabulary from text, as Hugging Face's WordPieceTrainer does, and writes the
// tokenizer's files for it.
//
// Package data splits the text into words, and reads the files. Nothing here knows of models or training.
package wordpiece
