package data

import (
	"fmt"

	"github.com/deeplora/deeplora/internal/jsonfile"
)

// tokenizerFields are the fields that Transformers 4 and 5 and their users write for encoders' tokenizers. Of a field that
// is not here Transformers' own classes take no notice.
var tokenizerFields = jsonfile.Fates{
	{Name: "tokenizer_class", Honoured: true},
	{Name: "do_lower_case", Honoured: true},
	{Name: "tokenize_chinese_chars", Honoured: true},
	{Name: "strip_accents", Honoured: true},
	{Name: "do_basic_tokenize", Honoured: true},
	{Name: "never_split", Honoured: true},
	{Name: "cls_token", Honoured: true},
	{Name: "sep_token", Honoured: true},
	{Name: "pad_token", Honoured: true},
	{Name: "unk_token", Honoured: true},
	{Name: "mask_token", Honoured: true},
	{Name: "additional_special_tokens", Honoured: true},
	{Name: "extra_special_tokens", Honoured: true},
	{Name: "added_tokens_decoder", Honoured: true},
	{Name: "add_prefix_space", Honoured: true},
	{Name: "keep_accents", Honoured: true},
	{Name: "split_by_punct", Honoured: true},

	{Name: "word_tokenizer_type", Only: []string{"null", `"basic"`}},
	{Name: "subword_tokenizer_type", Only: []string{"null", `"wordpiece"`}},
	{Name: "do_word_tokenize", Only: []string{"null", "true"}},
	{Name: "do_subword_tokenize", Only: []string{"null", "true"}},
	{Name: "mecab_kwargs", Only: []string{"null", "{}"}},
	{Name: "sudachi_kwargs", Only: []string{"null", "{}"}},
	{Name: "jumanpp_kwargs", Only: []string{"null", "{}"}},
	{Name: "spm_file", Only: []string{"null"}},
	{Name: "vocab_type", Only: []string{"null", `"spm"`}},
	{Name: "sp_model_kwargs", Only: []string{"null", "{}"}},
	{Name: "clean_text", Only: []string{"null", "true"}},
	{Name: "split_special_tokens", Only: []string{"null", "false"}},
	{Name: "truncation_side", Only: []string{"null", `"right"`}},
	{Name: "padding_side", Only: []string{"null", `"right"`}}, // to the left, positions would depend on the batch

	{Name: "model_max_length", Harmless: "lengths are the caller's, --max-length"},
	{Name: "max_len", Harmless: "as model_max_length"},
	{Name: "max_length", Harmless: "as model_max_length"},
	{Name: "truncation_strategy", Harmless: "the longer text is cut first, always"},
	{Name: "stride", Harmless: "one part of a text is read"},
	{Name: "pad_to_multiple_of", Harmless: "padding is masked"},
	{Name: "pad_token_type_id", Harmless: "padding is masked"},
	{Name: "model_input_names", Harmless: "the encoder takes ids, types and mask"},
	{Name: "clean_up_tokenization_spaces", Harmless: "of decoding"},
	{Name: "wordpieces_prefix", Harmless: "of decoding"},
	{Name: "bos_token", Harmless: "cls_token again, or in no template"},
	{Name: "eos_token", Harmless: "sep_token again, or in no template"},
	{Name: "unk_id", Harmless: "the vocabulary says it"},
	{Name: "trim_offsets", Harmless: "of places in the text"},
	{Name: "errors", Harmless: "of decoding"},
	{Name: "legacy", Harmless: "of classes for other models"},
	{Name: "merges_file", Harmless: "where it lay"},
	{Name: "chat_template", Harmless: "of conversations"},
	{Name: "name_or_path", Harmless: "where it lay"},
	{Name: "special_tokens_map_file", Harmless: "where it lay"},
	{Name: "tokenizer_file", Harmless: "where it lay"},
	{Name: "vocab_file", Harmless: "where it lay"},
	{Name: "from_slow", Harmless: "how it was made"},
	{Name: "use_fast", Harmless: "which of two equal programs reads it"},
	{Name: "backend", Harmless: "which of two equal programs reads it"},
	{Name: "is_local", Harmless: "where it lay"},
	{Name: "local_files_only", Harmless: "where it lay"},
	{Name: "processor_class", Harmless: "of images and sound"},
	{Name: "auto_map", Harmless: "Transformers takes its own class too unless it is told to trust the model's code"},
}

// check refuses what the files ask for that is not done.
func (c *tokenizerConfig) check(in folder, fromJSON bool) error {
	if err := c.findFamily(in, fromJSON); err != nil {
		return err
	}
	if faults := tokenizerFields.Refused(c.fields); faults != nil {
		return fmt.Errorf("%s: %w", in.path(configFile), faults[0])
	}
	return nil
}
