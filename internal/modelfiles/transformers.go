package modelfiles

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/deeplora/deeplora/internal/readfile"
)

// mostOfTokenizer is how many bytes a tokenizer.json may have.
const mostOfTokenizer = 64 << 20

// tokenizerJSON is what tokenizer.json says and Transformers does not take from it.
type tokenizerJSON struct {
	Added      []struct{ Content string } `json:"added_tokens"`
	Normalizer struct {
		part
		Clean   *bool `json:"clean_text"`
		Chinese *bool `json:"handle_chinese_chars"`
		Strip   *bool `json:"strip_accents"`
		Lower   *bool `json:"lowercase"`
	} `json:"normalizer"`
	PreTokenizer part      `json:"pre_tokenizer"`
	Processor    processor `json:"post_processor"`
	Model        struct {
		Type     string          `json:"type"`
		UNK      string          `json:"unk_token"`
		UNKID    int             `json:"unk_id"`
		Prefix   string          `json:"continuing_subword_prefix"`
		MaxChars int             `json:"max_input_chars_per_word"`
		Vocab    json.RawMessage `json:"vocab"`
	} `json:"model"`

	tokens map[string]bool
}

// part is a normaliser or what cuts words.
type part struct {
	Type    string  `json:"type"`
	Prefix  *bool   `json:"add_prefix_space"`
	Prepend *string `json:"prepend_scheme"`
	Regex   *bool   `json:"use_regex"`
	First   []part  `json:"normalizers"`
	Then    []part  `json:"pretokenizers"`
}

// processor puts special tokens around texts.
type processor struct {
	Type   string `json:"type"`
	Single []struct {
		Special struct {
			ID string `json:"id"`
		} `json:"SpecialToken"`
	} `json:"single"`
	Pair []struct {
		Sequence struct {
			Type int `json:"type_id"`
		} `json:"Sequence"`
	} `json:"pair"`
	CLS        []json.RawMessage `json:"cls"`
	SEP        []json.RawMessage `json:"sep"`
	Processors []processor       `json:"processors"`
}

// read takes the vocabulary in: an object of WordPiece and BPE, a list of tokens and scores of Unigram.
func (t *tokenizerJSON) read() error {
	t.tokens = map[string]bool{}
	for _, p := range t.Processor.Processors {
		if p.Type != "ByteLevel" {
			t.Processor = p
		}
	}
	if !t.unigram() {
		var ids map[string]json.RawMessage
		err := json.Unmarshal(t.Model.Vocab, &ids)
		for token := range ids {
			t.tokens[token] = true
		}
		return err
	}
	var list [][]json.RawMessage
	if err := json.Unmarshal(t.Model.Vocab, &list); err != nil {
		return err
	}
	for id, pair := range list {
		var token string
		if len(pair) == 2 && json.Unmarshal(pair[0], &token) == nil {
			t.tokens[token] = true
			if id == t.Model.UNKID {
				t.Model.UNK = token
			}
		}
	}
	return nil
}

func (t *tokenizerJSON) unigram() bool {
	return bytes.HasPrefix(bytes.TrimSpace(t.Model.Vocab), []byte("["))
}

// wordPiece reports BERT's kind of tokenizer, the only one whose words are cut so.
func (t *tokenizerJSON) wordPiece() bool {
	return t.Normalizer.Type == "BertNormalizer" && !t.unigram() && t.Model.Type != "BPE"
}

// ForTransformers gives the tokenizer_config.json with which Transformers reads a folder's tokenizer as its
// tokenizer.json states it, and nil where it does so already. Transformers' BertTokenizer takes from tokenizer.json the
// vocabulary alone: case, accents and ideographs are what tokenizer_config.json says or, where it is silent, what an
// uncased model has. Its classes for other encoders build their own pipelines too. maxLength is the model's number of
// positions.
func ForTransformers(files fs.FS, maxLength int) ([]byte, error) {
	text, err := readfile.FS(files, Tokenizer, mostOfTokenizer)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // vocab.txt with a tokenizer_config.json, which says all
	}
	if err != nil {
		return nil, err
	}
	var t tokenizerJSON
	if err = json.Unmarshal(text, &t); err == nil {
		err = t.read()
	}
	if err != nil {
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
	model := modelOf(files)
	class := cmp.Or(model.Class, "BertTokenizer") // of model_type bert, where nothing is said
	if said, ok := says["tokenizer_class"]; ok {
		if err := json.Unmarshal(said, &class); err != nil {
			return nil, fmt.Errorf("%s: tokenizer_class: %w", TokenizerConfig, err)
		}
	}
	generic := class == "PreTrainedTokenizerFast" || class == "TokenizersBackend"
	if !generic && !t.builtBy(strings.TrimSuffix(class, "Fast"), says) {
		fields["tokenizer_class"] = "PreTrainedTokenizerFast" // the class would build another
		generic = true
	}
	if generic {
		if !bytes.Contains(says["model_input_names"], []byte("token_type_ids")) && t.types() && model.types() { // or a pair's second text would be of the first's type
			fields["model_input_names"] = []string{"input_ids", "token_type_ids", "attention_mask"}
		}
		return fields, nil
	}
	if !t.wordPiece() {
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

// builtBy reports that a class of Transformers builds the pipeline of tokenizer.json from its vocabulary and the options
// of tokenizer_config.json.
func (t *tokenizerJSON) builtBy(class string, says map[string]json.RawMessage) bool {
	if t.wordPiece() {
		n := t.Normalizer
		return is(n.Clean, true) && t.Model.Prefix == "##" && t.Model.MaxChars == 100
	}
	prefix := string(says["add_prefix_space"])
	switch p := t.PreTokenizer; class {
	case "RobertaTokenizer":
		return t.Normalizer.Type == "" && p.Type == "ByteLevel" && !is(p.Regex, false) && is(p.Prefix, prefix == "true") && t.Processor.Type == "RobertaProcessing"
	case "XLMRobertaTokenizer", "CamembertTokenizer":
		first := append([]part{t.Normalizer.part}, t.Normalizer.First...) // rewritings, and one space for several, which cutting makes idle
		for _, n := range first {
			if n.Type != "Sequence" && n.Type != "Precompiled" && n.Type != "Replace" {
				return false
			}
		}
		return prefix != "false" && len(p.Then) == 2 && p.Then[0].Type == "WhitespaceSplit" && p.Then[1].Prepend != nil && *p.Then[1].Prepend == "always"
	}
	return false
}

// types reports that the second text of a pair is of another type than the first.
func (t *tokenizerJSON) types() bool {
	if t.Processor.Type != "TemplateProcessing" {
		return t.Processor.Type != "RobertaProcessing"
	}
	for _, piece := range t.Processor.Pair {
		if piece.Sequence.Type != 0 {
			return true
		}
	}
	return len(t.Processor.Pair) == 0
}

// modelConfig is what config.json says of tokens.
type modelConfig struct {
	Class string `json:"tokenizer_class"`
	Type  string `json:"model_type"`
	Types *int   `json:"type_vocab_size"`
}

func modelOf(files fs.FS) (model modelConfig) {
	if read(files, "config.json", &model) != nil {
		return modelConfig{} // what is wrong with it, the model's reader says
	}
	return model
}

// types reports a model that takes token types: it refuses them, in Transformers, where it has none.
func (m modelConfig) types() bool {
	if m.Types != nil {
		return *m.Types > 1
	}
	return !slices.Contains([]string{"distilbert", "mpnet", "modernbert", "deberta-v2"}, m.Type)
}

// whole is a tokenizer_config.json for a folder that has none.
func (t *tokenizerJSON) whole(files fs.FS, maxLength int) map[string]any {
	fields := map[string]any{
		"tokenizer_class": "BertTokenizer", "model_max_length": maxLength,
		"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": t.pick("[PAD]", "<pad>"), "unk_token": t.Model.UNK,
		"mask_token": t.pick("[MASK]", "<mask>"),
	}
	if fields["unk_token"] == "" {
		fields["unk_token"] = t.pick("[UNK]", "<unk>")
	}
	if t.wordPiece() {
		lower := is(t.Normalizer.Lower, true)
		fields["do_lower_case"], fields["strip_accents"], fields["tokenize_chinese_chars"] = lower, t.strip(lower), is(t.Normalizer.Chinese, true)
	}
	if p := t.Processor; len(p.Single) > 2 {
		fields["cls_token"], fields["sep_token"] = p.Single[0].Special.ID, p.Single[len(p.Single)-1].Special.ID
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
	if mask, ok := fields["mask_token"].(string); ok && !t.has(mask) {
		fields["mask_token"] = nil // or Transformers would add one
	}
	switch {
	case t.wordPiece() && modelOf(files).Type == "distilbert":
		fields["tokenizer_class"] = "DistilBertTokenizer"
	case t.wordPiece() && t.Processor.Type == "RobertaProcessing":
		fields["tokenizer_class"] = "MPNetTokenizer"
	}
	if missing, err := t.missing(files, nil); err == nil && missing["tokenizer_class"] != nil {
		maps.Copy(fields, missing)
	}
	return fields
}

// pick is the first of the names that is a token, or else the first.
func (t *tokenizerJSON) pick(names ...string) string {
	for _, name := range names {
		if t.has(name) {
			return name
		}
	}
	return names[0]
}

func (t *tokenizerJSON) has(token string) bool {
	return t.tokens[token] || slices.ContainsFunc(t.Added, func(a struct{ Content string }) bool { return a.Content == token })
}
