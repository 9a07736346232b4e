package data

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
)

// tokenizerConfig is what tokenizer_config.json, and special_tokens_map.json behind it, say.
type tokenizerConfig struct {
	missing bool    // there is no tokenizer_config.json
	family  *family // nil: tokenizer.json is taken as it stands
	// classSaid: a file names the class
	classSaid bool
	fields    map[string]json.RawMessage // all of it, without white space

	Class      string          `json:"tokenizer_class"`
	Lower      *bool           `json:"do_lower_case"`
	Chinese    *bool           `json:"tokenize_chinese_chars"`
	Strip      json.RawMessage `json:"strip_accents"` // true, false, null or absent: each means something else
	Basic      *bool           `json:"do_basic_tokenize"`
	NeverSplit []string        `json:"never_split"`

	Prefix      *bool `json:"add_prefix_space"` // of byte-level BPE and of SentencePiece's
	KeepAccents *bool `json:"keep_accents"`     // ALBERT
	SplitPunct  *bool `json:"split_by_punct"`   // DeBERTa

	CLS  *tokenName `json:"cls_token"`
	SEP  *tokenName `json:"sep_token"`
	PAD  *tokenName `json:"pad_token"`
	UNK  *tokenName `json:"unk_token"`
	MASK *tokenName `json:"mask_token"`

	Additional []tokenName           `json:"additional_special_tokens"`
	Extra      json.RawMessage       `json:"extra_special_tokens"` // the newer name: a list, or an object of names and tokens
	Added      map[string]addedToken `json:"added_tokens_decoder"` // by id
}

// tokenName is a token's text, written as a string or as an object with "content".
type tokenName string

func (t *tokenName) UnmarshalJSON(content []byte) error {
	var object struct{ Content string }
	if json.Unmarshal(content, (*string)(t)) == nil {
		return nil
	}
	if err := json.Unmarshal(content, &object); err != nil {
		return fmt.Errorf(`a special token is %.40s; want a string or an object with "content"`, content)
	}
	*t = tokenName(object.Content)
	return nil
}

func readTokenizerConfig(in folder) (*tokenizerConfig, error) {
	c, older := &tokenizerConfig{}, &tokenizerConfig{}
	if err := c.read(in, configFile); err != nil {
		return nil, err
	}
	if err := older.read(in, specialsFile); err != nil {
		return nil, err
	}
	for _, s := range []struct {
		to    **tokenName
		older *tokenName
	}{
		{&c.CLS, older.CLS},
		{&c.SEP, older.SEP},
		{&c.PAD, older.PAD},
		{&c.UNK, older.UNK},
		{&c.MASK, older.MASK},
	} {
		if *s.to == nil {
			*s.to = s.older
		}
	}
	return c, nil
}

func (c *tokenizerConfig) read(in folder, name string) error {
	content, err := readBounded(in, name)
	if content == nil || err != nil {
		c.missing = true
		return err
	}
	if err := parseJSON(content, c, in.path(name)); err != nil {
		return err
	}
	if err := c.addExtra(); err != nil {
		return fmt.Errorf("%s: %w", in.path(name), err)
	}
	return json.Unmarshal(content, &c.fields)
}

// addExtra takes extra_special_tokens in, as additional_special_tokens are.
func (c *tokenizerConfig) addExtra() error {
	var list []tokenName
	var byName map[string]tokenName
	switch {
	case len(c.Extra) == 0 || json.Unmarshal(c.Extra, &list) == nil:
	case json.Unmarshal(c.Extra, &byName) == nil:
		for _, name := range slices.Sorted(maps.Keys(byName)) {
			list = append(list, byName[name])
		}
	default:
		return fmt.Errorf("extra_special_tokens is %.40s; want a list of tokens, or an object of names and tokens", c.Extra)
	}
	c.Additional = append(c.Additional, list...)
	return nil
}

// strips says whether accents are dropped; null, like silence, means: if letters are made small.
func (c *tokenizerConfig) strips(lower bool) (bool, error) {
	var strip *bool
	if len(c.Strip) > 0 {
		if err := json.Unmarshal(c.Strip, &strip); err != nil {
			return false, fmt.Errorf("strip_accents is %.40s; want true, false or null", c.Strip)
		}
	}
	if strip == nil {
		return lower, nil
	}
	return *strip, nil
}

// cleaner is the normaliser of a tokenizer that has no tokenizer.json, as BertTokenizer would build it.
func (c *tokenizerConfig) cleaner() (cleaner, error) {
	switch {
	case c.Basic != nil && !*c.Basic:
		return cleaner{}, fmt.Errorf("do_basic_tokenize false is not supported")
	case len(c.NeverSplit) > 0:
		return cleaner{}, fmt.Errorf("never_split is not supported; make them added tokens of a %s", tokenizerFile)
	case c.Lower == nil:
		// BertTokenizer takes true: on a cased model that ruins the input without a word.
		return cleaner{}, fmt.Errorf("do_lower_case is missing; say true for an uncased model, false for a cased one")
	}
	strip, err := c.strips(*c.Lower)
	return cleaner{Clean: true, Chinese: c.Chinese == nil || *c.Chinese, Strip: strip, Lower: *c.Lower}, err
}

// added returns the added tokens of BERT's tokenizer without tokenizer.json, by id: those the config
// numbers, else its special tokens. ids are the model's.
func (c *tokenizerConfig) added(ids map[string]int32) ([]addedToken, error) {
	added, err := c.numbered()
	if err != nil {
		return nil, err
	}
	if added == nil {
		for _, name := range []tokenName{*c.PAD, *c.UNK, *c.CLS, *c.SEP, *c.MASK} {
			if id, ok := ids[string(name)]; ok { // findSpecials refuses a vocabulary without one it must have
				strips := name == *c.MASK && c.maskStrips()
				added = append(added, addedToken{ID: id, Content: string(name), Special: true, Lstrip: strips})
			}
		}
		for _, name := range c.Additional {
			id, ok := ids[string(name)]
			if !ok {
				return nil, fmt.Errorf("additional_special_tokens: %q is not in %s", string(name), vocabFile)
			}
			added = append(added, addedToken{ID: id, Content: string(name), Special: true})
		}
	}
	return sorted(added), nil
}

// numbered are the added tokens that the config gives ids, nil if it does not.
func (c *tokenizerConfig) numbered() (added []addedToken, err error) {
	for _, key := range slices.Sorted(maps.Keys(c.Added)) {
		id, err := strconv.ParseInt(key, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("added_tokens_decoder: key %q is not a token id", key)
		}
		a := c.Added[key]
		a.ID = int32(id)
		added = append(added, a)
	}
	return sorted(added), nil
}

// sorted orders tokens by id, each once.
func sorted(added []addedToken) []addedToken {
	slices.SortFunc(added, func(a, b addedToken) int {
		return cmp.Or(cmp.Compare(a.ID, b.ID), cmp.Compare(a.Content, b.Content))
	})
	return slices.Compact(added)
}

// parseJSON is json.Unmarshal whose errors name the file and the line.
func parseJSON(content []byte, to any, file string) error {
	err := json.Unmarshal(content, to)
	if err == nil {
		return nil
	}
	var offset int64
	var syntax *json.SyntaxError
	var mismatch *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		offset = syntax.Offset
	case errors.As(err, &mismatch):
		offset = mismatch.Offset
		err = fmt.Errorf("%s is a JSON %s; want %s", cmp.Or(mismatch.Field, "the file"), mismatch.Value, jsonKind(mismatch.Type.String()))
	default:
		return fmt.Errorf("%s: %w", file, err)
	}
	line := 1 + bytes.Count(content[:min(int(offset), len(content))], []byte("\n"))
	return fmt.Errorf("%s:%d: %w", file, line, err)
}

// jsonKind says what a Go type is in JSON.
func jsonKind(goType string) string {
	switch {
	case strings.HasPrefix(goType, "[]"):
		return "an array"
	case strings.HasPrefix(goType, "map") || strings.HasPrefix(goType, "struct") || strings.HasPrefix(goType, "data."):
		return "an object"
	case strings.Contains(goType, "int"):
		return "a whole number"
	case strings.Contains(goType, "bool"):
		return "true or false"
	}
	return "a string"
}
