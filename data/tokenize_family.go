package data

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/deeplora/deeplora/internal/modelfiles"
	"github.com/deeplora/deeplora/internal/nearest"
	"github.com/deeplora/deeplora/internal/readfile"
)

// family is a kind of tokenizer, as Transformers' classes are: what it reads where there is no tokenizer.json, and what
// of tokenizer_config.json it heeds.
type family struct {
	name    string   // the first of its classes
	classes []string // with and without Fast
	models  []string // the model types of config.json that have it where no class is named
	kind    string   // of the model
	files   []string // the older files, each of which it needs

	// The names of its special tokens where nothing is said.
	cls, sep, pad, unk, mask string
	maskStrips               bool // the mask token swallows white space before it

	form  func(cls, sep int32) form
	older func(in folder, config *tokenizerConfig) (*vocabulary, error) // nil: vocab.txt, as BERT's
}

// bertClasses are the classes of Transformers that read vocab.txt as BERT does. A class is known by its whole name:
// BertJapaneseTokenizer and BertGenerationTokenizer cut words otherwise.
var bertClasses = []string{
	"BertTokenizer", "BertTokenizerFast", "BertTokenizerLegacy",
	"ConvBertTokenizer", "ConvBertTokenizerFast", "DistilBertTokenizer", "DistilBertTokenizerFast",
	"DPRContextEncoderTokenizer", "DPRContextEncoderTokenizerFast",
	"DPRQuestionEncoderTokenizer", "DPRQuestionEncoderTokenizerFast", "ElectraTokenizer", "ElectraTokenizerFast",
	"LayoutLMTokenizer", "LayoutLMTokenizerFast", "MobileBertTokenizer", "MobileBertTokenizerFast",
	"RetriBertTokenizer", "RetriBertTokenizerFast", "SqueezeBertTokenizer", "SqueezeBertTokenizerFast",
}

// fileClasses take tokenizer.json as it stands, whatever it holds.
var fileClasses = []string{"PreTrainedTokenizerFast", "TokenizersBackend"}

// families are made by a function: their readers ask for their names.
func families() []*family {
	bert := family{
		name: "BertTokenizer", classes: bertClasses, models: []string{"bert", "distilbert", "electra", "convbert", "layoutlm", "mobilebert", "squeezebert"},
		kind: "WordPiece", files: []string{vocabFile}, form: bertForm,
		cls: "[CLS]", sep: "[SEP]", pad: "[PAD]", unk: "[UNK]", mask: "[MASK]",
	}
	mpnet := family{
		name: "MPNetTokenizer", models: []string{"mpnet"}, kind: "WordPiece", files: []string{vocabFile}, form: robertaForm,
		cls: "<s>", sep: "</s>", pad: "<pad>", unk: "[UNK]", mask: "<mask>", maskStrips: true,
	}
	roberta := family{
		name: "RobertaTokenizer", models: []string{"roberta"}, kind: "BPE", files: []string{modelfiles.VocabularyJSON, modelfiles.Merges},
		form: robertaForm, older: byteLevelFromFiles,
		cls: "<s>", sep: "</s>", pad: "<pad>", unk: "<unk>", mask: "<mask>",
	}
	xlmRoberta := family{
		name: "XLMRobertaTokenizer", models: []string{"xlm-roberta"}, kind: "Unigram", files: []string{modelfiles.SentencePieceBPE},
		form: robertaForm, older: piecesFromFile(xlmRobertaPieces),
		cls: "<s>", sep: "</s>", pad: "<pad>", unk: "<unk>", mask: "<mask>",
	}
	camembert := xlmRoberta
	camembert.name, camembert.models, camembert.older, camembert.maskStrips = "CamembertTokenizer", []string{"camembert"}, piecesFromFile(camembertPieces), true
	albert := family{
		name: "AlbertTokenizer", models: []string{"albert"}, kind: "Unigram", files: []string{modelfiles.SentencePieceS},
		form: bertForm, older: piecesFromFile(albertPieces),
		cls: "[CLS]", sep: "[SEP]", pad: "<pad>", unk: "<unk>", mask: "[MASK]",
	}
	deberta := family{
		name: "DebertaV2Tokenizer", models: []string{"deberta-v2"}, kind: "Unigram", files: []string{modelfiles.SentencePieceSPM},
		form: bertForm, older: piecesFromFile(debertaPieces),
		cls: "[CLS]", sep: "[SEP]", pad: "[PAD]", unk: "[UNK]", mask: "[MASK]",
	}
	all := []*family{&bert, &mpnet, &roberta, &xlmRoberta, &camembert, &albert, &deberta}
	for _, f := range all[1:] {
		f.classes = []string{f.name, f.name + "Fast"}
	}
	return all
}

// findFamily says which kind of tokenizer a folder has, by the class that its files name, else by the type of its
// model; nil where tokenizer.json is to be taken as it stands.
func (c *tokenizerConfig) findFamily(in folder, fromJSON bool) error {
	class, file := c.Class, configFile
	model, err := modelOf(in)
	if err != nil {
		return err
	}
	if class == "" {
		class, file = model.Class, "config.json"
	}
	all := families()
	var known []string
	for _, f := range all {
		if class != "" && slices.Contains(f.classes, class) || class == "" && slices.Contains(f.models, model.Type) {
			c.family = f
		}
		known = append(known, f.classes...)
	}
	if fromJSON {
		known = append(known, fileClasses...)
	}
	if c.classSaid = class != ""; class == "" || slices.Contains(known, class) {
		if c.family == nil && !fromJSON {
			c.family = all[0]
		}
		return nil
	}
	var names []string
	for _, f := range all {
		names = append(names, f.name)
	}
	hint := ""
	if near := nearest.Of(class, known); near != "BertTokenizer" && strings.EqualFold(near, class) {
		hint = "; nearest: " + near
	}
	return fmt.Errorf("%s: tokenizer_class is %.40s, which is not supported; want %s%s", in.path(file), class, strings.Join(names, ", "), hint)
}

// modelOf is what a model's config.json says of its tokenizer. Older checkpoints name the class there alone.
func modelOf(in folder) (model struct{ Class, Type string }, err error) {
	content, err := readfile.FS(in.fsys, "config.json", maxTokenizerFile)
	if errors.Is(err, fs.ErrNotExist) {
		return model, nil
	}
	if err != nil {
		return model, fmt.Errorf("%s: %w", in.here(), err)
	}
	var said struct {
		Class *string `json:"tokenizer_class"`
		Type  *string `json:"model_type"`
	}
	if json.Unmarshal(content, &said) != nil {
		return model, nil // what is wrong with it, the model's reader says
	}
	if said.Class != nil {
		model.Class = *said.Class
	}
	if said.Type != nil {
		model.Type = *said.Type
	}
	return model, nil
}

// fill names the special tokens that nothing names.
func (c *tokenizerConfig) fill() {
	f := c.family
	for _, s := range []struct {
		to    **tokenName
		usual string
	}{{&c.CLS, f.cls}, {&c.SEP, f.sep}, {&c.PAD, f.pad}, {&c.UNK, f.unk}, {&c.MASK, f.mask}} {
		if *s.to == nil {
			name := tokenName(s.usual)
			*s.to = &name
		}
	}
}

// agreesWithFamily holds the options of a class, which Transformers heeds, against a tokenizer.json of another kind than
// BERT's.
func (v *vocabulary) agreesWithFamily(in folder, c *tokenizerConfig) error {
	f := c.family
	if f == nil || !c.classSaid {
		return nil
	}
	is := "WordPiece"
	switch {
	case v.parts.bpe != nil:
		is = "BPE"
	case v.parts.unigram != nil:
		is = "Unigram"
	}
	if is != f.kind {
		return fmt.Errorf("tokenizer_class is %s, whose model is of type %s, but in %s it is of type %s; are they of one model?", f.name, f.kind, in.path(tokenizerFile), is)
	}
	if is == "WordPiece" {
		return nil
	}
	found := describe(v.parts)
	for _, o := range []struct {
		field   string
		says    *bool
		heeded  []string
		inJSON  string
		present *bool
	}{
		{"add_prefix_space", c.Prefix, []string{"RobertaTokenizer", "XLMRobertaTokenizer", "CamembertTokenizer", "AlbertTokenizer", "DebertaV2Tokenizer"}, "add_prefix_space", found.prefix},
		{"do_lower_case", c.Lower, []string{"AlbertTokenizer", "DebertaV2Tokenizer"}, "lower-casing", &found.lower},
		{"keep_accents", c.KeepAccents, []string{"AlbertTokenizer"}, "accents kept", &found.accents},
		{"split_by_punct", c.SplitPunct, []string{"DebertaV2Tokenizer"}, "cutting at punctuation", &found.punctuation},
	} {
		if o.says != nil && o.present != nil && slices.Contains(o.heeded, f.name) && *o.says != *o.present {
			return fmt.Errorf("%s says %s %v, %s has %s %v; correct the one that is wrong",
				in.path(configFile), o.field, *o.says, in.path(tokenizerFile), o.inJSON, *o.present)
		}
	}
	return nil
}

// described is what a tokenizer's parts do, in the words of tokenizer_config.json.
type described struct {
	prefix                      *bool // nil: no part puts a space before a text
	lower, accents, punctuation bool
}

func describe(p parts) described {
	d := described{accents: true}
	visit(p.normalizer, func(part partJSON) {
		d.lower = d.lower || part.Type == "Lowercase"
		d.accents = d.accents && part.Type != "StripAccents"
	})
	visit(p.preTokenizer, func(part partJSON) {
		d.punctuation = d.punctuation || part.Type == "Punctuation"
		switch part.Type {
		case "ByteLevel":
			d.prefix = part.Prefix
		case "Metaspace":
			always := part.Prepend == nil && (part.Prefix == nil || *part.Prefix) || part.Prepend != nil && *part.Prepend == "always"
			d.prefix = &always
		}
	})
	return d
}

// partJSON is what is asked of a part of a tokenizer.json.
type partJSON struct {
	Type          string            `json:"type"`
	Prefix        *bool             `json:"add_prefix_space"`
	Prepend       *string           `json:"prepend_scheme"`
	Normalizers   []json.RawMessage `json:"normalizers"`
	PreTokenizers []json.RawMessage `json:"pretokenizers"`
}

// visit calls each with a part and the parts of its Sequence.
func visit(raw []byte, each func(partJSON)) {
	var part partJSON
	if len(raw) == 0 || json.Unmarshal(raw, &part) != nil {
		return // the parts were read already
	}
	each(part)
	for _, inner := range slices.Concat(part.Normalizers, part.PreTokenizers) {
		visit(inner, each)
	}
}
