// Package wordpiece makes a BERT vocabulary from text, as Hugging Face's WordPieceTrainer does, and the files in
// which a model carries it.
//
// Words are cut by package data, which also reads the files. Nothing here knows of models or training.
package wordpiece
