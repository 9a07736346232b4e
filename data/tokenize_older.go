package data

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/deeplora/deeplora/internal/modelfiles"
	"github.com/deeplora/deeplora/internal/tokenizer"
)

// byteLevelFromFiles reads vocab.json and merges.txt, as RobertaTokenizer does.
func byteLevelFromFiles(in folder, config *tokenizerConfig) (*vocabulary, error) {
	ids, err := readVocabularyJSON(in)
	if err != nil {
		return nil, err
	}
	b := &tokenizer.BPE{Vocab: ids}
	if b.Merges, err = readMerges(in); err != nil {
		return nil, err
	}
	pre := marshal(part{"type": "ByteLevel", "add_prefix_space": is(config.Prefix, false), "trim_offsets": true, "use_regex": true})
	v := &vocabulary{}
	if err := v.build(parts{nil, pre, b, nil}); err != nil {
		return nil, fmt.Errorf("%s and %s: %w", in.path(modelfiles.VocabularyJSON), in.path(modelfiles.Merges), err)
	}
	return v, v.finish(in, config, nil)
}

// readVocabularyJSON reads vocab.json, nil if there is none.
func readVocabularyJSON(in folder) (ids map[string]int32, err error) {
	content, err := readBounded(in, modelfiles.VocabularyJSON)
	if content == nil || err != nil {
		return nil, err
	}
	return ids, parseJSON(content, &ids, in.path(modelfiles.VocabularyJSON))
}

// readMerges reads merges.txt: a pair a line, in order, behind a line with the version.
func readMerges(in folder) (merges []tokenizer.Merge, err error) {
	content, err := readBounded(in, modelfiles.Merges)
	if err != nil {
		return nil, err
	}
	for r, number := newLineReader(bytes.NewReader(content), in.path(modelfiles.Merges)), 1; ; number++ {
		line, err := r.next()
		if errors.Is(err, io.EOF) {
			return merges, nil
		}
		if err != nil {
			return nil, err
		}
		if line == "" || strings.HasPrefix(line, "#version") {
			continue
		}
		var m tokenizer.Merge
		if err := m.Parse(line); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", in.path(modelfiles.Merges), number, err)
		}
		merges = append(merges, m)
	}
}

// part is a part of a tokenizer.json.
type part map[string]any

func marshal(p part) []byte {
	raw, err := json.Marshal(p)
	if err != nil {
		panic(err) // maps of strings and booleans
	}
	return raw
}

func sequence(of string, list ...part) part { return part{"type": "Sequence", of: list} }

func is(said *bool, silent bool) bool {
	if said == nil {
		return silent
	}
	return *said
}

// blanks makes one of several spaces.
var blanks = part{"type": "Replace", "pattern": part{"Regex": " {2,}"}, "content": " "}

// spelled is what a family makes of a SentencePiece model: its tokens in the model's order, and what stands before them.
type spelled struct {
	tokens          []tokenizer.Piece
	unknown         int
	normalizers     []part
	beforeMetaspace []part
	never           string // prepend_scheme where add_prefix_space is false
}

// piecesFromFile reads a SentencePiece model as a family does: as convert_slow_tokenizer.py of Transformers does it, by
// which the tokenizer.json files that are about were made.
func piecesFromFile(convert func(*tokenizer.SentencePiece, *tokenizerConfig) spelled) func(folder, *tokenizerConfig) (*vocabulary, error) {
	return func(in folder, config *tokenizerConfig) (*vocabulary, error) {
		file := config.family.files[0]
		content, err := readBounded(in, file)
		if err != nil {
			return nil, err
		}
		model, err := tokenizer.ReadSentencePiece(content)
		switch {
		case err != nil:
			return nil, fmt.Errorf("%s: %w", in.path(file), err)
		case model.Kind != tokenizer.UnigramKind:
			return nil, fmt.Errorf("%s: the model is of kind %d, which is not supported; want 1, unigram, as %s has", in.path(file), model.Kind, config.family.name)
		case model.ByteFallback:
			return nil, fmt.Errorf("%s: byte_fallback is not supported; %s has none", in.path(file), config.family.name)
		}
		v := &vocabulary{}
		if err := v.build(convert(model, config).parts(model, config)); err != nil {
			return nil, fmt.Errorf("%s: %w", in.path(file), err)
		}
		return v, v.finish(in, config, model)
	}
}

func (p spelled) parts(model *tokenizer.SentencePiece, config *tokenizerConfig) parts {
	prepend := "always"
	if !is(config.Prefix, true) {
		prepend = p.never
	}
	pre := append(p.beforeMetaspace, part{"type": "Metaspace", "replacement": "▁", "prepend_scheme": prepend, "split": true})
	normalizers := p.normalizers
	if len(model.Charsmap) > 0 {
		normalizers = append(normalizers, part{"type": "Precompiled", "precompiled_charsmap": base64.StdEncoding.EncodeToString(model.Charsmap)})
	}
	return parts{
		normalizer:   marshal(sequence("normalizers", append(normalizers, blanks)...)),
		preTokenizer: marshal(sequence("pretokenizers", pre...)),
		unigram:      &tokenizer.Unigram{Pieces: p.tokens, Unknown: p.unknown},
	}
}

func piecesOf(model *tokenizer.SentencePiece) (list []tokenizer.Piece) {
	for _, t := range model.Pieces {
		list = append(list, t.Piece)
	}
	return list
}

var whiteSpace = part{"type": "WhitespaceSplit"}

// xlmRobertaPieces numbers tokens as fairseq did: four special ones, then those of the file behind its first three, and
// the mask last.
func xlmRobertaPieces(model *tokenizer.SentencePiece, c *tokenizerConfig) spelled {
	list := named(*c.CLS, *c.PAD, *c.SEP, *c.UNK)
	list = append(list, behind(piecesOf(model), 3)...)
	return spelled{tokens: append(list, named(*c.MASK)...), unknown: 3, beforeMetaspace: []part{whiteSpace}, never: "never"}
}

// camembertPieces has five places before those of the file behind its first.
func camembertPieces(model *tokenizer.SentencePiece, c *tokenizerConfig) spelled {
	list := named("<s>NOTUSED", *c.PAD, "</s>NOTUSED", *c.UNK)
	list = append(list, tokenizer.Piece{Text: "<unk>NOTUSED", Score: -100})
	list = append(list, behind(piecesOf(model), 1)...)
	return spelled{tokens: append(list, named(*c.MASK)...), unknown: 3, beforeMetaspace: []part{whiteSpace}, never: "never"}
}

// albertPieces are the file's, less those of a number's last digit with a comma: ALBERT cuts these in two.
func albertPieces(model *tokenizer.SentencePiece, c *tokenizerConfig) spelled {
	p := spelled{tokens: piecesOf(model), unknown: model.UnknownID, beforeMetaspace: []part{whiteSpace}, never: "never"}
	for i := range p.tokens {
		digits, ok := strings.CutSuffix(p.tokens[i].Text, ",")
		if r, _ := utf8.DecodeLastRuneInString(digits); ok && digits != "" && unicode.IsDigit(r) {
			p.tokens[i].Score -= 100
		}
	}
	for _, quotes := range []string{"``", "''"} {
		p.normalizers = append(p.normalizers, part{"type": "Replace", "pattern": part{"String": quotes}, "content": `"`})
	}
	if !is(c.KeepAccents, false) {
		p.normalizers = append(p.normalizers, part{"type": "NFKD"}, part{"type": "StripAccents"})
	}
	if is(c.Lower, true) {
		p.normalizers = append(p.normalizers, part{"type": "Lowercase"})
	}
	return p
}

// debertaPieces are the file's.
func debertaPieces(model *tokenizer.SentencePiece, c *tokenizerConfig) spelled {
	p := spelled{tokens: piecesOf(model), unknown: model.UnknownID, never: "first"}
	if is(c.Lower, false) {
		p.normalizers = append(p.normalizers, part{"type": "Lowercase"})
	}
	p.normalizers = append(p.normalizers, part{"type": "Strip", "strip_left": true, "strip_right": true})
	if is(c.SplitPunct, false) {
		p.beforeMetaspace = append(p.beforeMetaspace, part{"type": "Punctuation", "behavior": "Isolated"})
	}
	return p
}

func named(names ...tokenName) (list []tokenizer.Piece) {
	for _, name := range names {
		list = append(list, tokenizer.Piece{Text: string(name)})
	}
	return list
}

func behind(list []tokenizer.Piece, n int) []tokenizer.Piece { return list[min(n, len(list)):] }

// finish adds what is looked for in the text itself, and finds the special tokens. model is nil where there is none.
func (v *vocabulary) finish(in folder, config *tokenizerConfig, model *tokenizer.SentencePiece) error {
	added, err := config.numbered()
	if err == nil && added == nil {
		added = v.unnumbered(config, model)
	}
	if err == nil {
		err = v.addAll(added)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", in.path(configFile), err)
	}
	if err := v.agreesWithAdded(in); err != nil {
		return err
	}
	if err := v.frame(config); err != nil {
		return fmt.Errorf("%s: %w", in.path(config.family.files[0]), err)
	}
	return nil
}

// unnumbered are the added tokens of a folder that does not number them: those that SentencePiece takes whole, and the
// special ones. What the vocabulary has not is numbered on behind it.
func (v *vocabulary) unnumbered(c *tokenizerConfig, model *tokenizer.SentencePiece) (added []addedToken) {
	next := int32(max(v.size, len(v.ids)))
	add := func(name string, special, strips bool) {
		if name == "" || slices.ContainsFunc(added, func(a addedToken) bool { return a.Content == name }) {
			return
		}
		id, ok := v.ids[name]
		if !ok {
			id = next
			next++
		}
		added = append(added, addedToken{ID: id, Content: name, Special: special, Lstrip: strips})
	}
	for _, name := range []tokenName{*c.CLS, *c.SEP, *c.UNK, *c.PAD} {
		add(string(name), true, false)
	}
	add(string(*c.MASK), true, c.maskStrips())
	for _, name := range c.Additional {
		add(string(name), true, false)
	}
	if model != nil {
		for _, t := range model.Pieces {
			if t.Kind == tokenizer.ControlPiece || t.Kind == tokenizer.UserPiece {
				add(t.Text, t.Kind == tokenizer.ControlPiece, false)
			}
		}
	}
	return added
}

// maskStrips reports a mask token that swallows the white space before it: as it is said, else as the family has it.
func (c *tokenizerConfig) maskStrips() bool {
	var object struct{ Lstrip *bool }
	if json.Unmarshal(c.fields["mask_token"], &object) == nil && object.Lstrip != nil {
		return *object.Lstrip
	}
	return c.family.maskStrips
}

// agreesWithAdded holds added_tokens.json, which older checkpoints have beside the vocabulary, against v.
func (v *vocabulary) agreesWithAdded(in folder) error {
	content, err := readBounded(in, addedFile)
	if content == nil || err != nil {
		return err
	}
	var ids map[string]int32
	if err := parseJSON(content, &ids, in.path(addedFile)); err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(ids)) {
		if id, ok := v.id(name); !ok || id != ids[name] {
			return fmt.Errorf("%s: %q has the id %d, which nothing else gives it: added tokens are read from %s alone; save the tokenizer with Transformers, which writes one",
				in.path(addedFile), name, ids[name], tokenizerFile)
		}
	}
	return nil
}

// agreesWithVocabularyJSON holds vocab.json, beside a tokenizer.json, against v.
func (v *vocabulary) agreesWithVocabularyJSON(in folder) error {
	ids, err := readVocabularyJSON(in)
	if ids == nil || err != nil || v.parts.bpe == nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(ids)) {
		if id, ok := v.id(name); !ok || id != ids[name] {
			return fmt.Errorf("%s and %s disagree on token %q, which has the ids %d and %d; are they of one model?",
				in.path(tokenizerFile), in.path(modelfiles.VocabularyJSON), name, id, ids[name])
		}
	}
	return nil
}

// hasAll reports a folder with all these files.
func (f folder) hasAll(names []string) bool {
	return !slices.ContainsFunc(names, func(name string) bool {
		_, err := fs.Stat(f.fsys, name)
		return err != nil
	})
}
