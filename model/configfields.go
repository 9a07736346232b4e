package model

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// configField is what becomes of a field of config.json. Exactly one of honoured, harmless and only is there.
type configField struct {
	name     string
	honoured bool     // by Config or, for the tokenizer's, where that is read
	harmless string   // why it changes no logit
	only     []string // the values, as JSON, that ask for nothing else than what is computed; any other is refused
}

// configFields are the fields that Transformers 4 and 5 and their users write for BERT. Of one that is not here
// Transformers' own BertModel takes no notice.
var configFields = []configField{
	{name: "model_type", honoured: true},
	{name: "vocab_size", honoured: true},
	{name: "hidden_size", honoured: true},
	{name: "num_hidden_layers", honoured: true},
	{name: "num_attention_heads", honoured: true},
	{name: "intermediate_size", honoured: true},
	{name: "hidden_act", honoured: true},
	{name: "hidden_dropout_prob", honoured: true},
	{name: "attention_probs_dropout_prob", honoured: true},
	{name: "classifier_dropout", honoured: true},
	{name: "max_position_embeddings", honoured: true},
	{name: "type_vocab_size", honoured: true},
	{name: "initializer_range", honoured: true},
	{name: "layer_norm_eps", honoured: true},
	{name: "pad_token_id", honoured: true},
	{name: "position_embedding_type", honoured: true},
	{name: "is_decoder", honoured: true},
	{name: "add_cross_attention", honoured: true},
	{name: "tie_word_embeddings", honoured: true},
	{name: "id2label", honoured: true},
	{name: "num_labels", honoured: true},
	{name: "problem_type", honoured: true},
	{name: "tokenizer_class", honoured: true},
	{name: "architectures", honoured: true},

	{name: "is_encoder_decoder", only: []string{"null", "false"}},
	{name: "pruned_heads", only: []string{"null", "{}"}},
	{name: "quantization_config", only: []string{"null"}},
	{name: "compression_config", only: []string{"null"}},

	{name: "label2id", harmless: "id2label names the outputs, in Transformers too"},
	{name: "dtype", harmless: "the type in the files is read, and computed in float32"},
	{name: "torch_dtype", harmless: "the older name of dtype"},
	{name: "transformers_version", harmless: "who wrote the file"},
	{name: "_name_or_path", harmless: "where it lay"},
	{name: "use_cache", harmless: "of decoders"},
	{name: "bos_token_id", harmless: "of decoders"},
	{name: "eos_token_id", harmless: "of decoders"},
	{name: "sep_token_id", harmless: "the tokenizer's files say it"},
	{name: "cls_token_id", harmless: "the tokenizer's files say it"},
	{name: "return_dict", harmless: "how Python gets the outputs"},
	{name: "output_hidden_states", harmless: "how Python gets the outputs"},
	{name: "output_attentions", harmless: "how Python gets the outputs"},
	{name: "chunk_size_feed_forward", harmless: "the same sums in parts"},
	{name: "gradient_checkpointing", harmless: "the same sums twice"},
	{name: "attn_implementation", harmless: "which of equal programs computes attention"},
	{name: "_attn_implementation", harmless: "which of equal programs computes attention"},
	{name: "torchscript", harmless: "how Python is compiled"},
	{name: "use_bfloat16", harmless: "of TPUs"},
	{name: "finetuning_task", harmless: "what it was trained on; the task is asked for"},
	{name: "task_specific_params", harmless: "of generating text"},
	{name: "directionality", harmless: "of Google's own program"},
	{name: "pooler_fc_size", harmless: "of Google's own program; Transformers has one pooler"},
	{name: "pooler_num_attention_heads", harmless: "as pooler_fc_size"},
	{name: "pooler_num_fc_layers", harmless: "as pooler_fc_size"},
	{name: "pooler_size_per_head", harmless: "as pooler_fc_size"},
	{name: "pooler_type", harmless: "as pooler_fc_size"},
	{name: "sentence_transformers", harmless: "what a cross-encoder does with its logits"},
	{name: "sbert_ce_default_activation_function", harmless: "what a cross-encoder does with its logits"},
	{name: "auto_map", harmless: "Transformers takes its own BERT too unless it is told to trust the model's code"},
}

// checkRaw refuses values that ask for another computation.
func (c *Config) checkRaw() (faults []error) {
	said := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(c.Raw)) {
		var compact bytes.Buffer
		if json.Compact(&compact, c.Raw[name]) == nil {
			said[name] = compact.String()
		}
	}
	for _, f := range configFields {
		if value, there := said[f.name]; there && f.only != nil && !slices.Contains(f.only, value) {
			faults = append(faults, fmt.Errorf("%s is %.40s, which is not supported", f.name, value))
		}
	}
	return faults
}
