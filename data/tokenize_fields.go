package data

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/deeplora/deeplora/internal/nearest"
	"github.com/deeplora/deeplora/internal/readfile"
)

// bertClasses are the classes of Transformers that read vocab.txt as BERT does. A class is known by its whole name:
// BertJapaneseTokenizer and BertGenerationTokenizer cut words otherwise.
var bertClasses = []string{
	"BertTokenizer", "BertTokenizerFast", "BertTokenizerLegacy",
	"ConvBertTokenizer", "ConvBertTokenizerFast", "DPRContextEncoderTokenizer", "DPRContextEncoderTokenizerFast",
	"DPRQuestionEncoderTokenizer", "DPRQuestionEncoderTokenizerFast", "ElectraTokenizer", "ElectraTokenizerFast",
	"LayoutLMTokenizer", "LayoutLMTokenizerFast", "MobileBertTokenizer", "MobileBertTokenizerFast",
	"RetriBertTokenizer", "RetriBertTokenizerFast", "SqueezeBertTokenizer", "SqueezeBertTokenizerFast",
}

// fileClasses take tokenizer.json as it stands, whatever it holds; it is held to be BERT's where it is read.
var fileClasses = []string{"PreTrainedTokenizerFast", "TokenizersBackend"}

// tokenizerField is what becomes of a field of tokenizer_config.json. Exactly one of honoured, harmless and only is there.
type tokenizerField struct {
	name     string
	honoured bool
	harmless string   // why it changes no id
	only     []string // the values, as JSON, that ask for nothing else than what is done; any other is refused
}

// tokenizerFields are the fields that Transformers 4 and 5 and their users write for BERT's tokenizers. Of a field that
// is not here Transformers' own BertTokenizer takes no notice.
var tokenizerFields = []tokenizerField{
	{name: "tokenizer_class", honoured: true},
	{name: "do_lower_case", honoured: true},
	{name: "tokenize_chinese_chars", honoured: true},
	{name: "strip_accents", honoured: true},
	{name: "do_basic_tokenize", honoured: true},
	{name: "never_split", honoured: true},
	{name: "cls_token", honoured: true},
	{name: "sep_token", honoured: true},
	{name: "pad_token", honoured: true},
	{name: "unk_token", honoured: true},
	{name: "mask_token", honoured: true},
	{name: "additional_special_tokens", honoured: true},
	{name: "extra_special_tokens", honoured: true},
	{name: "added_tokens_decoder", honoured: true},

	{name: "word_tokenizer_type", only: []string{"null", `"basic"`}},
	{name: "subword_tokenizer_type", only: []string{"null", `"wordpiece"`}},
	{name: "do_word_tokenize", only: []string{"null", "true"}},
	{name: "do_subword_tokenize", only: []string{"null", "true"}},
	{name: "mecab_kwargs", only: []string{"null", "{}"}},
	{name: "sudachi_kwargs", only: []string{"null", "{}"}},
	{name: "jumanpp_kwargs", only: []string{"null", "{}"}},
	{name: "spm_file", only: []string{"null"}},
	{name: "clean_text", only: []string{"null", "true"}},
	{name: "split_special_tokens", only: []string{"null", "false"}},
	{name: "truncation_side", only: []string{"null", `"right"`}},
	{name: "padding_side", only: []string{"null", `"right"`}}, // to the left, positions would depend on the batch

	{name: "model_max_length", harmless: "lengths are the caller's, --max-length"},
	{name: "max_len", harmless: "as model_max_length"},
	{name: "max_length", harmless: "as model_max_length"},
	{name: "truncation_strategy", harmless: "the longer text is cut first, always"},
	{name: "stride", harmless: "one part of a text is read"},
	{name: "pad_to_multiple_of", harmless: "padding is masked"},
	{name: "pad_token_type_id", harmless: "padding is masked"},
	{name: "model_input_names", harmless: "the encoder takes ids, types and mask"},
	{name: "clean_up_tokenization_spaces", harmless: "of decoding"},
	{name: "wordpieces_prefix", harmless: "of decoding"},
	{name: "bos_token", harmless: "in no template of BERT"},
	{name: "eos_token", harmless: "in no template of BERT"},
	{name: "chat_template", harmless: "of conversations"},
	{name: "name_or_path", harmless: "where it lay"},
	{name: "special_tokens_map_file", harmless: "where it lay"},
	{name: "tokenizer_file", harmless: "where it lay"},
	{name: "vocab_file", harmless: "where it lay"},
	{name: "from_slow", harmless: "how it was made"},
	{name: "use_fast", harmless: "which of two equal programs reads it"},
	{name: "backend", harmless: "which of two equal programs reads it"},
	{name: "is_local", harmless: "where it lay"},
	{name: "local_files_only", harmless: "where it lay"},
	{name: "processor_class", harmless: "of images and sound"},
	{name: "auto_map", harmless: "Transformers takes its own class too unless it is told to trust the model's code"},
}

// check refuses what the files ask for that is not done.
func (c *tokenizerConfig) check(in folder, fromJSON bool) error {
	class, file := c.Class, configFile
	if class == "" {
		file = "config.json"
		var err error
		if class, err = classOf(in); err != nil {
			return err
		}
	}
	known := bertClasses
	if fromJSON {
		known = slices.Concat(bertClasses, fileClasses)
	}
	if class != "" && !slices.Contains(known, class) {
		hint := ""
		if near := nearest.Of(class, known); near != "BertTokenizer" && strings.EqualFold(near, class) {
			hint = ", nearest: " + near
		}
		return fmt.Errorf("%s: tokenizer_class is %.40s, which is not supported; want BertTokenizer%s", in.path(file), class, hint)
	}
	for _, f := range tokenizerFields {
		value, there := c.fields[f.name]
		if there && f.only != nil && !slices.Contains(f.only, string(value)) {
			return fmt.Errorf("%s: %s is %.40s, which is not supported; want %s", in.path(configFile), f.name, value, strings.Join(f.only, " or "))
		}
	}
	return nil
}

// classOf is the class that a model's config.json names, which older checkpoints have there alone.
func classOf(in folder) (string, error) {
	content, err := readfile.FS(in.fsys, "config.json", maxTokenizerFile)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", in.here(), err)
	}
	var model struct {
		Class *string `json:"tokenizer_class"`
	}
	if json.Unmarshal(content, &model) != nil || model.Class == nil {
		return "", nil // what else is wrong with it, the model's reader says
	}
	return *model.Class, nil
}
