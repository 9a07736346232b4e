package modelfiles

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"

	"github.com/deeplora/deeplora/internal/readfile"
)

// mostOfTokenizer is how many bytes a tokenizer.json may have.
const mostOfTokenizer = 64 << 20

// tokenizerJSON is what tokenizer.json says and Transformers does not take from it.
type tokenizerJSON struct {
	Added      []struct{ Content string } `json:"added_tokens"`
	Normalizer struct {
		Clean   *bool `json:"clean_text"`
		Chinese *bool `json:"handle_chinese_chars"`
		Strip   *bool `json:"strip_accents"`
		Lower   *bool `json:"lowercase"`
	} `json:"normalizer"`
	Processor struct {
		Single []struct {
			Special struct {
				ID string `json:"id"`
			} `json:"SpecialToken"`
		} `json:"single"`
		CLS []json.RawMessage `json:"cls"`
		SEP []json.RawMessage `json:"sep"`
	} `json:"post_processor"`
	Model struct {
		UNK      string                     `json:"unk_token"`
		Prefix   string                     `json:"continuing_subword_prefix"`
		MaxChars int                        `json:"max_input_chars_per_word"`
		Vocab    map[string]json.RawMessage `json:"vocab"`
	} `json:"model"`
}

// ForTransformers gives the tokenizer_config.json with which Transformers reads a folder's tokenizer as its
// tokenizer.json states it, and nil where it does so already. Transformers' BertTokenizer takes from tokenizer.json the
// vocabulary alone: case, accents and ideographs are what tokenizer_config.json says or, where it is silent, what an
// uncased model has. maxLength is the model's number of positions.
func ForTransformers(files fs.FS, maxLength int) ([]byte, error) {
	text, err := readfile.FS(files, Tokenizer, mostOfTokenizer)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // vocab.txt with a tokenizer_config.json, which says all
	}
	if err != nil {
		return nil, err
	}
	var t tokenizerJSON
	if err := json.Unmarshal(text, &t); err != nil {
		return nil, fmt.Errorf("%s: %w", Tokenizer, err)
	}
	says := map[string]json.RawMessage{}
	err = read(files, TokenizerConfig, &says)
	silent := errors.Is(err, fs.ErrNotExist)
	if err != nil && !silent {
		return nil, fmt.Errorf("%s: %w", TokenizerConfig, err)
	}
	missing, err := t.missing(files, says)
	if err != nil {
		return nil, err
	}
	if len(missing) == 0 && !silent {
		return nil, nil
	}
	if silent {
		maps.Copy(missing, t.whole(files, maxLength))
	}
	for name, value := range missing {
		if says[name], err = json.Marshal(value); err != nil {
			return nil, err
		}
	}
	all, err := json.MarshalIndent(says, "", "  ")
	return append(all, '\n'), err
}

// missing are the fields without which Transformers reads another tokenizer.
func (t *tokenizerJSON) missing(files fs.FS, says map[string]json.RawMessage) (map[string]any, error) {
	fields := map[string]any{}
	class := "BertTokenizer" // of model_type bert, where nothing is said
	var model struct {
		Class *string `json:"tokenizer_class"`
	}
	if err := read(files, "config.json", &model); err == nil && model.Class != nil {
		class = *model.Class
	}
	if said, ok := says["tokenizer_class"]; ok {
		if err := json.Unmarshal(said, &class); err != nil {
			return nil, fmt.Errorf("%s: tokenizer_class: %w", TokenizerConfig, err)
		}
	}
	generic := class == "PreTrainedTokenizerFast" || class == "TokenizersBackend"
	if n := t.Normalizer; !generic && (!is(n.Clean, true) || t.Model.Prefix != "##" || t.Model.MaxChars != 100) {
		fields["tokenizer_class"] = "PreTrainedTokenizerFast" // BertTokenizer has no options for these
		generic = true
	}
	if generic {
		if !bytes.Contains(says["model_input_names"], []byte("token_type_ids")) { // or a pair's second text would be of the first's type
			fields["model_input_names"] = []string{"input_ids", "token_type_ids", "attention_mask"}
		}
		return fields, nil
	}
	lower := is(t.Normalizer.Lower, true)
	for _, f := range []struct {
		name          string
		wants, silent any
	}{
		{"do_lower_case", lower, true},
		{"strip_accents", t.strip(lower), nil},
		{"tokenize_chinese_chars", is(t.Normalizer.Chinese, true), true},
	} {
		if _, said := says[f.name]; !said && f.wants != f.silent {
			fields[f.name] = f.wants
		}
	}
	return fields, nil
}

// strip is strip_accents where it is not what it is for a model of this case: nil.
func (t *tokenizerJSON) strip(lower bool) any {
	if s := t.Normalizer.Strip; s != nil && *s != lower {
		return *s
	}
	return nil
}

func is(field *bool, value bool) bool { return field != nil && *field == value }

// whole is a tokenizer_config.json for a folder that has none.
func (t *tokenizerJSON) whole(files fs.FS, maxLength int) map[string]any {
	lower := is(t.Normalizer.Lower, true)
	fields := map[string]any{
		"tokenizer_class": "BertTokenizer", "model_max_length": maxLength, "do_lower_case": lower,
		"strip_accents": t.strip(lower), "tokenize_chinese_chars": is(t.Normalizer.Chinese, true),
		"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": t.Model.UNK, "mask_token": "[MASK]",
	}
	if p := t.Processor; len(p.Single) == 3 {
		fields["cls_token"], fields["sep_token"] = p.Single[0].Special.ID, p.Single[2].Special.ID
	} else if len(p.CLS) > 0 && len(p.SEP) > 0 {
		fields["cls_token"], fields["sep_token"] = p.CLS[0], p.SEP[0]
	}
	var older map[string]json.RawMessage
	if read(files, SpecialTokens, &older) == nil {
		for _, role := range []string{"pad_token", "mask_token"} { // the others are in tokenizer.json
			if value, ok := older[role]; ok {
				fields[role] = value
			}
		}
	}
	if fields["mask_token"] == "[MASK]" && !t.has("[MASK]") {
		fields["mask_token"] = nil // or Transformers would add one
	}
	if missing, err := t.missing(files, nil); err == nil && missing["tokenizer_class"] != nil {
		maps.Copy(fields, missing)
	}
	return fields
}

func (t *tokenizerJSON) has(token string) bool {
	_, ok := t.Model.Vocab[token]
	return ok || slices.ContainsFunc(t.Added, func(a struct{ Content string }) bool { return a.Content == token })
}
