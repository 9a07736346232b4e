// Package modelfiles names the files of a model beside its config and weights: what is downloaded, what is read, and
// what travels with a copy are one list. It reads what the files of sentence-transformers say of an embedding, and knows
// nothing of vocabularies and weights.
package modelfiles

// Files of a tokenizer.
const (
	Tokenizer        = "tokenizer.json"
	TokenizerConfig  = "tokenizer_config.json"
	SpecialTokens    = "special_tokens_map.json" // older checkpoints name special tokens only here
	AddedTokens      = "added_tokens.json"
	Vocabulary       = "vocab.txt"
	VocabularyJSON   = "vocab.json" // of byte-level BPE, with Merges
	Merges           = "merges.txt"
	SentencePieceBPE = "sentencepiece.bpe.model" // XLM-RoBERTa's and CamemBERT's name for a SentencePiece model
	SentencePieceS   = "spiece.model"            // ALBERT's
	SentencePieceSPM = "spm.model"               // DeBERTa's
)

// Files of sentence-transformers.
const (
	Modules        = "modules.json"
	PoolingConfig  = "1_Pooling/config.json"
	SentenceConfig = "sentence_bert_config.json"
	Prompts        = "config_sentence_transformers.json"
)

// OfTokenizer are the files that tokenizers are read from, by us and by Transformers. A model has some of them.
var OfTokenizer = []string{
	Tokenizer, TokenizerConfig, SpecialTokens, AddedTokens, Vocabulary, VocabularyJSON, Merges, SentencePieceBPE, SentencePieceS, SentencePieceSPM,
}

// OfEmbedding are the files that say how sentence-transformers makes an embedding of an encoder's last states.
var OfEmbedding = []string{Modules, PoolingConfig, SentenceConfig, Prompts}
