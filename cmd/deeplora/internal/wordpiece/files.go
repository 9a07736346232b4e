package wordpiece

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/deeplora/deeplora/internal/atomicfile"
)

// WriteFiles writes the files of Files into dir, which must exist. Each appears whole or not at all; those of these
// names are replaced.
func WriteFiles(dir string, vocab []string, lowercase bool, maxLength int) error {
	files, err := Files(vocab, lowercase, maxLength)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := atomicfile.WriteBytes(filepath.Join(dir, name), files[name]); err != nil {
			return fmt.Errorf("write tokenizer: %w", err)
		}
	}
	return nil
}

// Files returns the files of a tokenizer, content by name: tokenizer.json and tokenizer_config.json, byte for byte as
// Transformers saves its BertTokenizer of this vocabulary, and vocab.txt for readers older than those. vocab is tokens
// by id, as Train returns it; maxLength, in tokens, is the longest input of the model.
func Files(vocab []string, lowercase bool, maxLength int) (map[string][]byte, error) {
	if err := checkVocabulary(vocab); err != nil {
		return nil, fmt.Errorf("tokenizer files: %w", err)
	}
	if maxLength < 1 {
		return nil, fmt.Errorf("tokenizer files: max length is %d; want the model's largest number of positions", maxLength)
	}
	tokenizer, err := tokenizerJSON(vocab, lowercase)
	if err != nil {
		return nil, fmt.Errorf("tokenizer files: %w", err)
	}
	return map[string][]byte{
		"tokenizer.json":        tokenizer,
		"tokenizer_config.json": fmt.Appendf(nil, configTemplate, lowercase, maxLength),
		"vocab.txt":             []byte(strings.Join(vocab, "\n") + "\n"),
	}, nil
}

// checkVocabulary refuses what the files could not say: special tokens of other ids, a token twice, a line's end.
func checkVocabulary(vocab []string) error {
	if len(vocab) < len(specials) || !slices.Equal(vocab[:len(specials)], specials) {
		return fmt.Errorf("the vocabulary does not begin with %s", strings.Join(specials, " "))
	}
	ids := make(map[string]int, len(vocab))
	for id, token := range vocab {
		if first, known := ids[token]; known {
			return fmt.Errorf("token %q has the ids %d and %d", token, first, id)
		}
		if token == "" || strings.ContainsAny(token, "\r\n") {
			return fmt.Errorf("token %q of id %d is not a line of vocab.txt", token, id)
		}
		ids[token] = id
	}
	return nil
}

func tokenizerJSON(vocab []string, lowercase bool) ([]byte, error) {
	added := make([]string, len(specials))
	for id, token := range specials {
		added[id] = fmt.Sprintf(addedTemplate, id, token)
	}
	ids, err := idsJSON(vocab)
	if err != nil {
		return nil, err
	}
	id := func(token string) int { return slices.Index(specials, token) }
	compact := fmt.Sprintf(tokenizerTemplate, strings.Join(added, ","), lowercase, id("[CLS]"), id("[SEP]"), ids)
	var out bytes.Buffer
	err = json.Indent(&out, []byte(compact), "", "  ")
	return out.Bytes(), err
}

// idsJSON is an object of tokens and ids, in the order of ids: encoding/json would sort a map by token.
func idsJSON(vocab []string) (string, error) {
	var out strings.Builder
	quote := json.NewEncoder(&out)
	quote.SetEscapeHTML(false)
	for id, token := range vocab {
		if id > 0 {
			out.WriteByte(',')
		}
		if err := quote.Encode(token); err != nil {
			return "", err
		}
		fmt.Fprintf(&out, ":%d", id)
	}
	return "{" + out.String() + "}", nil
}

const addedTemplate = `{"id":%d,"content":%q,"single_word":false,"lstrip":false,"rstrip":false,"normalized":false,"special":true}`

// tokenizerTemplate is tokenizer.json (formats.md 5): added tokens, lowercase, the ids of [CLS] and [SEP], the model's
// ids. Accents go where letters become small: null says that.
const tokenizerTemplate = `{"version":"1.0","truncation":null,"padding":null,
"added_tokens":[%s],
"normalizer":{"type":"BertNormalizer","clean_text":true,"handle_chinese_chars":true,"strip_accents":null,"lowercase":%t},
"pre_tokenizer":{"type":"BertPreTokenizer"},
"post_processor":{"type":"TemplateProcessing",
"single":[{"SpecialToken":{"id":"[CLS]","type_id":0}},{"Sequence":{"id":"A","type_id":0}},{"SpecialToken":{"id":"[SEP]","type_id":0}}],
"pair":[{"SpecialToken":{"id":"[CLS]","type_id":0}},{"Sequence":{"id":"A","type_id":0}},{"SpecialToken":{"id":"[SEP]","type_id":0}},
{"Sequence":{"id":"B","type_id":1}},{"SpecialToken":{"id":"[SEP]","type_id":1}}],
"special_tokens":{"[CLS]":{"id":"[CLS]","ids":[%d],"tokens":["[CLS]"]},"[SEP]":{"id":"[SEP]","ids":[%d],"tokens":["[SEP]"]}}},
"decoder":{"type":"WordPiece","prefix":"##","cleanup":true},
"model":{"type":"WordPiece","unk_token":"[UNK]","continuing_subword_prefix":"##","max_input_chars_per_word":100,"vocab":%s}}`

const configTemplate = `{
  "backend": "tokenizers",
  "cls_token": "[CLS]",
  "do_lower_case": %t,
  "mask_token": "[MASK]",
  "model_max_length": %d,
  "pad_token": "[PAD]",
  "sep_token": "[SEP]",
  "strip_accents": null,
  "tokenize_chinese_chars": true,
  "tokenizer_class": "BertTokenizer",
  "unk_token": "[UNK]"
}
`
