package data

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// form is how special tokens stand around one text, and around two.
type form struct{ single, pair []formPiece }

// formPiece is a special token, or the place of a text.
type formPiece struct {
	text int   // 1 and 2: the first and the second text; 0: a special token
	id   int32 // of the special token
	kind int32 // the type of these tokens
}

// bertForm is [CLS] A [SEP] of type 0, and for a pair B [SEP] of type 1 behind it.
func bertForm(cls, sep int32) form {
	single := []formPiece{{id: cls}, {text: 1}, {id: sep}}
	return form{single, append(slices.Clone(single), formPiece{text: 2, kind: 1}, formPiece{id: sep, kind: 1})}
}

// robertaForm is <s> A </s>, and for a pair </s> B </s> behind it, all of type 0.
func robertaForm(cls, sep int32) form {
	single := []formPiece{{id: cls}, {text: 1}, {id: sep}}
	return form{single, append(slices.Clone(single), formPiece{id: sep}, formPiece{text: 2}, formPiece{id: sep})}
}

// of is the form of one text or of two.
func (f form) of(pair bool) []formPiece {
	if pair {
		return f.pair
	}
	return f.single
}

// specials counts the special tokens of a form.
func specials(pieces []formPiece) int {
	n := 0
	for _, p := range pieces {
		if p.text == 0 {
			n++
		}
	}
	return n
}

// assemble puts texts and special tokens together.
func assemble(pieces []formPiece, a, b []int32) Encoded {
	size := len(a) + len(b) + len(pieces)
	e := Encoded{IDs: make([]int32, 0, size), Types: make([]int32, 0, size)}
	for _, p := range pieces {
		switch p.text {
		case 0:
			e.IDs = append(e.IDs, p.id)
		case 1:
			e.IDs = append(e.IDs, a...)
		case 2:
			e.IDs = append(e.IDs, b...)
		}
		for len(e.Types) < len(e.IDs) {
			e.Types = append(e.Types, p.kind)
		}
	}
	return e
}

// equal reports two forms that give the same.
func (f form) equal(g form) bool {
	return slices.Equal(f.single, g.single) && slices.Equal(f.pair, g.pair)
}

// postProcessorJSON says which special tokens stand around the texts.
type postProcessorJSON struct {
	Type string `json:"type"`

	// TemplateProcessing
	Single   []templatePiece `json:"single"`
	Pair     []templatePiece `json:"pair"`
	Specials map[string]struct {
		IDs []int32 `json:"ids"`
	} `json:"special_tokens"`

	// BertProcessing and RobertaProcessing: a token and its id
	CLS []json.RawMessage `json:"cls"`
	SEP []json.RawMessage `json:"sep"`

	Processors []postProcessorJSON `json:"processors"` // of a Sequence
}

type templatePiece struct {
	Special  *templateItem `json:"SpecialToken"`
	Sequence *templateItem `json:"Sequence"`
}

type templateItem struct {
	ID   string `json:"id"`
	Type int32  `json:"type_id"`
}

// template is a post_processor that was understood: its form, and the tokens at both ends of a text.
type template struct {
	form
	cls, sep namedID
}

// template reads the form of inputs.
func (p *postProcessorJSON) template() (t template, err error) {
	switch {
	case p == nil:
		return t, fmt.Errorf("is missing; want TemplateProcessing or BertProcessing, as BERT's tokenizers have, or RobertaProcessing")
	case p.Type == "Sequence":
		return p.sequence()
	case p.Type == "TemplateProcessing":
		return p.custom()
	case p.Type != "BertProcessing" && p.Type != "RobertaProcessing":
		return t, fmt.Errorf("is of type %.40s, which is not supported; want TemplateProcessing, BertProcessing or RobertaProcessing", p.Type)
	}
	if t.cls, err = namedIDFrom(p.CLS); err != nil {
		return t, err
	}
	if t.sep, err = namedIDFrom(p.SEP); err != nil {
		return t, err
	}
	if t.form = bertForm(t.cls.id, t.sep.id); p.Type == "RobertaProcessing" {
		t.form = robertaForm(t.cls.id, t.sep.id)
	}
	return t, nil
}

// sequence is the one of several that puts special tokens in; ByteLevel moves marks of places only.
func (p *postProcessorJSON) sequence() (template, error) {
	var one *postProcessorJSON
	for i := range p.Processors {
		if p.Processors[i].Type == "ByteLevel" {
			continue
		}
		if one != nil {
			return template{}, fmt.Errorf("is a Sequence of both %.40s and %.40s, which is not supported; want one of them, and ByteLevel", one.Type, p.Processors[i].Type)
		}
		one = &p.Processors[i]
	}
	return one.template()
}

// custom is a form spelled out.
func (p *postProcessorJSON) custom() (t template, err error) {
	if !framed(p.Single, "A") || !framed(p.Pair, "A", "B") {
		return t, errTemplate
	}
	t.cls.name, t.sep.name = p.Single[0].Special.ID, p.Single[len(p.Single)-1].Special.ID
	if t.single, err = p.pieces(p.Single); err == nil {
		t.pair, err = p.pieces(p.Pair)
	}
	if err == nil {
		t.cls.id, t.sep.id = t.single[0].id, t.single[len(t.single)-1].id
	}
	return t, err
}

var errTemplate = errors.New("has another template than BERT's or RoBERTa's; want one text, and two in their order, between special tokens, as [CLS] A [SEP] and [CLS] A [SEP] B [SEP]")

// framed reports a template with these texts, each once and in order, that begins and ends with a special token.
func framed(pieces []templatePiece, texts ...string) bool {
	var found []string
	for _, p := range pieces {
		if (p.Special == nil) == (p.Sequence == nil) {
			return false
		}
		if p.Sequence != nil {
			found = append(found, p.Sequence.ID)
		}
	}
	return slices.Equal(found, texts) && pieces[0].Special != nil && pieces[len(pieces)-1].Special != nil
}

func (p *postProcessorJSON) pieces(template []templatePiece) (pieces []formPiece, err error) {
	for _, part := range template {
		switch {
		case part.Sequence != nil && part.Sequence.ID == "A":
			pieces = append(pieces, formPiece{text: 1, kind: part.Sequence.Type})
		case part.Sequence != nil:
			pieces = append(pieces, formPiece{text: 2, kind: part.Sequence.Type})
		default:
			ids := p.Specials[part.Special.ID].IDs
			if len(ids) != 1 {
				return nil, fmt.Errorf("special_tokens gives %q %d ids; want one", part.Special.ID, len(ids))
			}
			pieces = append(pieces, formPiece{id: ids[0], kind: part.Special.Type})
		}
		if kind := pieces[len(pieces)-1].kind; kind != 0 && kind != 1 {
			return nil, fmt.Errorf("has tokens of type %d; want 0 or 1", kind)
		}
	}
	return pieces, nil
}

type namedID struct {
	name string
	id   int32
}

func namedIDFrom(tuple []json.RawMessage) (n namedID, err error) {
	if len(tuple) == 2 {
		if err = json.Unmarshal(tuple[0], &n.name); err == nil {
			err = json.Unmarshal(tuple[1], &n.id)
		}
	}
	if len(tuple) != 2 || err != nil {
		return n, fmt.Errorf(`wants cls and sep to be a token and its id, as ["[SEP]", 102]`)
	}
	return n, nil
}
