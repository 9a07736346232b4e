package data

import (
	"fmt"
	"io/fs"
	"math"
	"slices"

	"github.com/deeplora/deeplora/internal/tokenizer"
)

// maxWord bounds max_input_chars_per_word: the time a word takes grows with its square.
const maxWord = 1000

// vocabulary is a tokenizer as its files state it: all that decides which ids a text gets. It is BERT's where it has
// no pipeline.
type vocabulary struct {
	ids    map[string]int32 // the model's tokens
	size   int              // how many these are, where two may be spelled alike; 0: as many as ids
	tokens map[int32]string // those and the added ones
	added  []addedToken
	clean  cleaner

	parts    parts
	pipeline *tokenizer.Pipeline

	unk, prefix string // [UNK], ##
	maxChars    int    // a word of more code points becomes [UNK]

	special Special
}

// addedToken is a token looked for in the text itself, before words are.
type addedToken = tokenizer.AddedToken

func (v *vocabulary) Token(id int32) string { return v.tokens[id] }

func (v *vocabulary) Special() Special { return v.special }

func (v *vocabulary) VocabSize() int {
	size := 0
	for id := range v.tokens {
		size = max(size, int(id)+1)
	}
	return size
}

// index makes tokens from ids.
func (v *vocabulary) index() error {
	names := make([]string, 0, len(v.ids))
	for name := range v.ids {
		names = append(names, name)
	}
	slices.Sort(names) // the same fault each time
	v.tokens = make(map[int32]string, len(v.ids))
	for _, name := range names {
		id := v.ids[name]
		if id < 0 {
			return fmt.Errorf("model.vocab: token %q has id %d; want 0 to %d", name, id, math.MaxInt32)
		}
		if other, ok := v.tokens[id]; ok {
			return fmt.Errorf("model.vocab: tokens %q and %q share id %d", other, name, id)
		}
		v.tokens[id] = name
	}
	return nil
}

// addAll takes in the added tokens. One that the model has too must have the model's id. The others are
// numbered on from the vocabulary's end, in order, as the tokenizers library does whatever their file says.
func (v *vocabulary) addAll(added []addedToken) error {
	known, highest := map[string]bool{}, int32(-1)
	size := int32(max(len(v.ids), v.size))
	for _, a := range added {
		id, inModel := v.ids[a.Content]
		if !inModel {
			id = max(size, highest+1)
		}
		switch {
		case known[a.Content]:
			return fmt.Errorf("%q is there twice", a.Content)
		case a.Content == "" || a.Form(v.normalize) == "":
			return fmt.Errorf("%q is empty once normalised", a.Content)
		case a.ID != id:
			return fmt.Errorf("%q has id %d; want %d, by its place in the vocabulary or behind it", a.Content, a.ID, id)
		case !inModel && v.tokens[id] != "":
			return fmt.Errorf("%q would share id %d with %q: the vocabulary's ids have gaps", a.Content, id, v.tokens[id])
		}
		known[a.Content] = true
		highest = max(highest, id)
		v.tokens[id] = a.Content
	}
	v.added = added
	if v.pipeline != nil {
		v.pipeline.Added = added
		v.pipeline.Prepare()
	}
	return nil
}

// normalize is what becomes of a text before words are looked for.
func (v *vocabulary) normalize(text string) string {
	if v.pipeline != nil {
		return v.pipeline.Normalizer.Normalize(text)
	}
	return v.clean.Normalize(text)
}

// id finds a token, an added one first.
func (v *vocabulary) id(name string) (int32, bool) {
	if i := slices.IndexFunc(v.added, func(a addedToken) bool { return a.Content == name }); i >= 0 {
		return v.added[i].ID, true
	}
	id, ok := v.ids[name]
	return id, ok
}

// pick is the token that was named for a role, else the first of the usual ones that is there.
func (v *vocabulary) pick(said *tokenName, usual ...string) string {
	if said != nil {
		return string(*said)
	}
	for _, name := range usual {
		if _, ok := v.id(name); ok {
			return name
		}
	}
	return usual[0]
}

// findSpecials looks up the special tokens. t says which stand around texts.
func (v *vocabulary) findSpecials(t template, config *tokenizerConfig) error {
	for _, s := range []struct {
		to         *int32
		name, what string
	}{
		{&v.special.CLS, t.cls.name, "cls_token"},
		{&v.special.SEP, t.sep.name, "sep_token"},
		{&v.special.PAD, v.pick(config.PAD, "[PAD]", "<pad>"), "pad_token"},
	} {
		var ok bool
		if *s.to, ok = v.id(s.name); !ok {
			return fmt.Errorf("token %q (%s) is not in the vocabulary", s.name, s.what)
		}
	}
	if err := v.findUnknown(config); err != nil {
		return err
	}
	var ok bool
	if v.special.MASK, ok = v.id(v.pick(config.MASK, "[MASK]", "<mask>")); !ok {
		v.special.MASK = -1
	}
	if !t.form.equal(bertForm(v.special.CLS, v.special.SEP)) {
		v.special.around = &t.form
	}
	return nil
}

// findUnknown looks up the token of unknown text. A byte-level vocabulary spells every text; the token that is named
// all the same is never given.
func (v *vocabulary) findUnknown(config *tokenizerConfig) error {
	var ok bool
	if v.pipeline == nil {
		if v.special.UNK, ok = v.ids[v.unk]; !ok {
			return fmt.Errorf("token %q (unk_token) is not in the vocabulary", v.unk)
		}
		return nil
	}
	if v.special.UNK = v.pipeline.Model.Unknown(); v.special.UNK >= 0 {
		return nil
	}
	if v.special.UNK, ok = v.id(v.pick(config.UNK, "<unk>", "[UNK]")); !ok {
		v.special.UNK = -1
	}
	return nil
}

// agrees holds what the other files of the folder say against v, which tokenizer.json gave.
func (v *vocabulary) agrees(in folder, config *tokenizerConfig, lines []string) error {
	if v.pipeline != nil {
		return nil // held where its family is known
	}
	if err := v.agreesWithLines(lines); err != nil {
		return fmt.Errorf("%s and %s disagree: %w; are they of one model?", in.path(tokenizerFile), in.path(vocabFile), err)
	}
	strip, err := config.strips(v.clean.Lower)
	if err != nil {
		return fmt.Errorf("%s: %w", in.path(configFile), err)
	}
	if len(config.Strip) == 0 {
		strip = v.clean.Strip // nothing said
	}
	for _, f := range []struct {
		field         string
		says          *bool
		inJSON        string
		authoritative bool
	}{
		{"do_lower_case", config.Lower, "lowercase", v.clean.Lower},
		{"strip_accents", &strip, "strip_accents", v.clean.Strip},
		{"tokenize_chinese_chars", config.Chinese, "handle_chinese_chars", v.clean.Chinese},
	} {
		if f.says != nil && *f.says != f.authoritative {
			return fmt.Errorf("%s says %s %v, %s says normalizer.%s %v; correct the one that is wrong",
				in.path(configFile), f.field, *f.says, in.path(tokenizerFile), f.inJSON, f.authoritative)
		}
	}
	return nil
}

func (v *vocabulary) agreesWithLines(lines []string) error {
	if lines == nil {
		return nil
	}
	byLine := idsOf(lines)
	for i, token := range lines {
		if id, ok := v.ids[token]; !ok {
			return fmt.Errorf("line %d, token %q, is in %s alone", i+1, token, vocabFile)
		} else if id != byLine[token] {
			return fmt.Errorf("token %q has id %d, but by its line %d", token, id, byLine[token])
		}
	}
	if len(v.ids) != len(byLine) {
		return fmt.Errorf("they have %d and %d tokens", len(v.ids), len(byLine))
	}
	return nil
}

// idsOf numbers the lines of a vocabulary file. Of equal lines the last counts, as everywhere.
func idsOf(lines []string) map[string]int32 {
	ids := make(map[string]int32, len(lines))
	for i, token := range lines {
		ids[token] = int32(i)
	}
	return ids
}

// vocabularyFromLines is the vocabulary of a folder without tokenizer.json.
func vocabularyFromLines(in folder, config *tokenizerConfig, lines []string) (*vocabulary, error) {
	if _, err := fs.Stat(in.fsys, addedFile); err == nil {
		return nil, fmt.Errorf("%s: added tokens are read from %s alone; save the tokenizer with Transformers, which writes one",
			in.path(addedFile), tokenizerFile)
	}
	clean, err := config.cleaner()
	if err != nil {
		return nil, fmt.Errorf("%s: %w", in.path(configFile), err)
	}
	v := &vocabulary{clean: clean, ids: idsOf(lines), unk: string(*config.UNK), prefix: "##", maxChars: 100}
	v.tokens = make(map[int32]string, len(lines))
	for i, token := range lines {
		v.tokens[int32(i)] = token
	}
	added, err := config.added(v.ids)
	if err == nil {
		err = v.addAll(added)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", in.path(configFile), err)
	}
	if err := v.frame(config); err != nil {
		return nil, fmt.Errorf("%s: %w", in.path(vocabFile), err)
	}
	return v, nil
}

// frame finds the special tokens of a folder without tokenizer.json, and puts them around texts as its family does.
func (v *vocabulary) frame(config *tokenizerConfig) error {
	t := template{cls: namedID{name: string(*config.CLS)}, sep: namedID{name: string(*config.SEP)}}
	t.cls.id, _ = v.id(t.cls.name) // findSpecials says which is missing
	t.sep.id, _ = v.id(t.sep.name)
	t.form = config.family.form(t.cls.id, t.sep.id)
	return v.findSpecials(t, config)
}
