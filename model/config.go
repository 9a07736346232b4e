package model

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/deeplora/deeplora/internal/labels"
	"github.com/deeplora/deeplora/internal/readfile"
)

// Problem types of config.json.
const (
	Regression  = "regression"
	SingleLabel = "single_label_classification"
	MultiLabel  = "multi_label_classification"
)

// Config is what all encoders honour of a Hugging Face config.json, by the names that BERT's has for it; a family may have
// others (description.names) and more (family). Fields that are absent from the file have the defaults of Transformers;
// fields it has and we do not know are kept in Raw, so that a rewritten config loses nothing.
type Config struct {
	ModelType             string  `json:"model_type"`
	VocabSize             int     `json:"vocab_size"`
	HiddenSize            int     `json:"hidden_size"`
	NumHiddenLayers       int     `json:"num_hidden_layers"`
	NumAttentionHeads     int     `json:"num_attention_heads"`
	IntermediateSize      int     `json:"intermediate_size"`
	MaxPositionEmbeddings int     `json:"max_position_embeddings"`
	TypeVocabSize         int     `json:"type_vocab_size"`
	HiddenAct             string  `json:"hidden_act"`
	LayerNormEps          float64 `json:"layer_norm_eps"`
	InitializerRange      float64 `json:"initializer_range"`
	PadTokenID            int32   `json:"pad_token_id"`

	HiddenDropout     float64  `json:"hidden_dropout_prob"`
	AttentionDropout  float64  `json:"attention_probs_dropout_prob"`
	ClassifierDropout *float64 `json:"classifier_dropout"` // nil: HiddenDropout

	ID2Label    classNames `json:"id2label"`   // by id
	LabelCount  *int       `json:"num_labels"` // seldom written; without id2label the classes are LABEL_0, …
	ProblemType string     `json:"problem_type"`

	Raw map[string]json.RawMessage `json:"-"`

	// Pooling is not of the file: see LoadOptions. Without the pooler it is neither among Kernels nor among Specs.
	Pooling Pooling `json:"-"`

	own family // what config.json says to this family alone; nil: its defaults
}

// classNames are the names of classes by id. A number in the place of a name is its own name, as in Transformers.
type classNames map[string]string

func (n *classNames) UnmarshalJSON(text []byte) error {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(text, &raw); err != nil {
		var kind *json.UnmarshalTypeError
		if errors.As(err, &kind) {
			return &json.UnmarshalTypeError{Value: kind.Value, Type: reflect.TypeFor[map[string]string]()}
		}
		return err
	}
	if raw == nil {
		return nil
	}
	*n = classNames{}
	for id, value := range raw {
		var name string
		var number json.Number
		switch {
		case json.Unmarshal(value, &number) == nil && value[0] != '"' && number != "":
			name = number.String()
		case string(value) == "null" || json.Unmarshal(value, &name) != nil:
			return fmt.Errorf("id2label: class %s is %.40s; want a name", id, value)
		}
		(*n)[id] = name
	}
	return nil
}

// maxConfig is how many bytes a config.json may have: beyond that of as many labels as there may be.
const maxConfig = 16 << 20

// ReadConfig reads and checks a config.json. Errors name the file and the field.
func ReadConfig(fsys fs.FS, file string) (*Config, error) {
	text, err := readfile.FS(fsys, file, maxConfig)
	if err != nil {
		return nil, fmt.Errorf("read model config: %w", err)
	}
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(text, &raw); err != nil {
		return nil, fmt.Errorf("%s: %w", file, jsonFault(err, nil))
	}
	c, err := parseConfig(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return c, nil
}

// parseConfig reads a config's fields by its family's names.
func parseConfig(raw map[string]json.RawMessage) (*Config, error) {
	var modelType string
	if value, ok := raw["model_type"]; ok {
		if err := json.Unmarshal(value, &modelType); err != nil {
			return nil, fmt.Errorf("model_type is %.40s; want a name", value)
		}
	}
	d, err := familyOf(modelType)
	if err != nil {
		return nil, err
	}
	c := d.defaults
	c.ModelType, c.Raw, c.own = modelType, raw, d.own()
	c.VocabSize = cmp.Or(d.words[modelType], c.VocabSize)
	fields := maps.Clone(raw)
	for name, own := range d.names {
		value, there := raw[own]
		alias, too := raw[name]
		if too = too && slices.Contains(d.aliases, name); too && there && string(alias) != string(value) {
			return nil, fmt.Errorf("%s is %.40s and %s, its other name, %.40s; leave one out", own, value, name, alias)
		}
		delete(fields, own)
		switch {
		case there:
			fields[name] = value
		case !too: // it is no field of this family, or one without effect
			delete(fields, name)
		}
	}
	// A null is as if the field were absent.
	maps.DeleteFunc(fields, func(_ string, value json.RawMessage) bool { return string(value) == "null" })
	if p := d.defaults.ClassifierDropout; p != nil {
		c.ClassifierDropout = new(*p) // which the file's is read into
	}
	text, err := json.Marshal(fields)
	if err != nil {
		return nil, err
	}
	for _, to := range []any{&c, c.own} {
		if err := json.Unmarshal(text, to); err != nil {
			return nil, jsonFault(err, c.field)
		}
	}
	return &c, nil
}

// jsonFault says which field, or which byte, is at fault. rename gives the name that a field has in the file.
func jsonFault(err error, rename func(string) string) error {
	var kind *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &kind) && kind.Field != "":
		field := kind.Field
		if rename != nil {
			field = rename(field)
		}
		return fmt.Errorf("%s is of type %s; want %s", field, kind.Value, kind.Type)
	case errors.As(err, &kind):
		return fmt.Errorf("it is of type %s; want an object", kind.Value)
	case errors.As(err, &syntax):
		return fmt.Errorf("byte %d: %w", syntax.Offset, err)
	default:
		return err
	}
}

// check refuses what the encoder would silently get wrong. All faults are reported together.
func (c *Config) check() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	leastTypes := 1
	if c.kind().defaults.TypeVocabSize == 0 {
		leastTypes = 0
	}
	faults = append(faults, checkSizes(
		size{c.field("vocab_size"), c.VocabSize, 1, maxSize},
		size{c.field("hidden_size"), c.HiddenSize, 1, maxSize},
		size{c.field("num_hidden_layers"), c.NumHiddenLayers, 1, maxLayers},
		size{c.field("num_attention_heads"), c.NumAttentionHeads, 1, maxSize},
		size{c.field("intermediate_size"), c.IntermediateSize, 1, maxSize},
		size{c.field("max_position_embeddings"), c.MaxPositionEmbeddings, 1, maxSize},
		size{c.field("type_vocab_size"), c.TypeVocabSize, leastTypes, maxSize},
	)...)
	if c.NumAttentionHeads > 0 && c.HiddenSize%c.NumAttentionHeads != 0 {
		fault("%s %d does not divide by %s %d", c.field("hidden_size"), c.HiddenSize, c.field("num_attention_heads"), c.NumAttentionHeads)
	}
	if _, known := activations[c.HiddenAct]; !known {
		fault("%s is %q; want one of %v", c.field("hidden_act"), c.HiddenAct, activationNames())
	}
	if !(float32(c.LayerNormEps) > 0) || c.LayerNormEps > 1 { // also what float32 rounds to zero
		fault("%s is %g; want a positive number, as 1e-12", c.field("layer_norm_eps"), c.LayerNormEps)
	}
	if c.InitializerRange < 0 || c.InitializerRange > 1 {
		fault("initializer_range is %g; want 0 to 1", c.InitializerRange)
	}
	for _, p := range []struct {
		field string
		value float64
	}{{"hidden_dropout_prob", c.HiddenDropout}, {"attention_probs_dropout_prob", c.AttentionDropout}, {"classifier_dropout", c.classifierDropout()}} {
		if name := c.field(p.field); name != "" && (p.value < 0 || p.value >= 1) {
			fault("%s is %g; want 0 to below 1", name, p.value)
		}
	}
	if c.PadTokenID < 0 || int(c.PadTokenID) >= c.VocabSize {
		fault("pad_token_id %d is outside the vocabulary of %d", c.PadTokenID, c.VocabSize)
	}
	faults = append(faults, c.checkLabels()...)
	if len(faults) == 0 { // else sizes may be nonsense
		faults = append(faults, c.family().check(c)...)
	}
	faults = append(faults, commonFields.Refused(c.Raw)...)
	faults = append(faults, c.kind().fields.Refused(c.Raw)...)
	return errors.Join(faults...)
}

// Bounds of every size of a config: beyond any encoder, and small enough that products of two sizes do not
// overflow and the list of tensors fits in memory.
const (
	maxSize   = 1 << 24
	maxLayers = 1 << 10
	maxLabels = 1 << 16
)

// size is a field with its bounds.
type size struct {
	field              string
	value, least, most int
}

func checkSizes(sizes ...size) (faults []error) {
	for _, s := range sizes {
		if s.value < s.least || s.value > s.most {
			faults = append(faults, fmt.Errorf("%s is %d; want %d to %d", s.field, s.value, s.least, s.most))
		}
	}
	return faults
}

func (c *Config) checkLabels() []error {
	var faults []error
	for i := range len(c.ID2Label) {
		if _, ok := c.ID2Label[strconv.Itoa(i)]; !ok {
			faults = append(faults, fmt.Errorf("id2label has %d entries but no %q; ids count from 0", len(c.ID2Label), strconv.Itoa(i)))
			break
		}
	}
	if n := c.LabelCount; n != nil {
		switch {
		case *n < 1 || *n > maxLabels:
			faults = append(faults, fmt.Errorf("num_labels is %d; want 1 to %d", *n, maxLabels))
		case len(c.ID2Label) > 0 && *n != len(c.ID2Label):
			faults = append(faults, fmt.Errorf("num_labels is %d but id2label has %d entries", *n, len(c.ID2Label)))
		}
	}
	if !slices.Contains([]string{"", Regression, SingleLabel, MultiLabel}, c.ProblemType) {
		faults = append(faults, fmt.Errorf("problem_type is %q; want %s, %s or %s", c.ProblemType, Regression, SingleLabel, MultiLabel))
	}
	return faults
}

// Labels returns the class names in id order. A file without id2label means LABEL_0, LABEL_1, … : two of
// them, which is what Transformers leaves out when it writes one, or as many as num_labels says.
func (c *Config) Labels() []string {
	names := make([]string, c.NumLabels())
	for i := range names {
		names[i] = labels.Placeholder(i)
		if len(c.ID2Label) > 0 {
			names[i] = c.ID2Label[strconv.Itoa(i)]
		}
	}
	return names
}

// NumLabels is the width of the classification head.
func (c *Config) NumLabels() int {
	switch {
	case len(c.ID2Label) > 0:
		return len(c.ID2Label)
	case c.LabelCount != nil:
		return *c.LabelCount
	default:
		return 2
	}
}

// SetLabels makes the head of another task: its class names in id order, and the problem it solves.
func (c *Config) SetLabels(labels []string, problem string) {
	c.ID2Label = make(classNames, len(labels))
	for i, l := range labels {
		c.ID2Label[strconv.Itoa(i)] = l
	}
	c.LabelCount = nil
	c.ProblemType = problem
}

// SetDropout sets every dropout probability of the encoder and its head.
func (c *Config) SetDropout(p float64) {
	c.HiddenDropout, c.AttentionDropout, c.ClassifierDropout = p, p, &p
	for _, more := range c.family().dropouts() {
		*more = p
	}
}

// CommonDropout is the one probability of every dropout; false if they differ.
func (c *Config) CommonDropout() (p float64, common bool) {
	common = c.HiddenDropout == c.AttentionDropout && c.HiddenDropout == c.classifierDropout()
	for _, more := range c.family().dropouts() {
		common = common && *more == c.HiddenDropout
	}
	return c.HiddenDropout, common
}

func (c *Config) classifierDropout() float64 {
	if c.ClassifierDropout == nil {
		return c.HiddenDropout
	}
	return *c.ClassifierDropout
}

// Kernels lists every kernel the encoder gives to its hook, in the order the data meets them: the tables of embeddings,
// the dense kernels of each layer, and a pooler that is part of the encoder, if Pooling has it. The rest of the head is not
// among them: it is trained or frozen as a whole. A kernel that several layers share is listed once.
func (c *Config) Kernels() []Kernel {
	var kernels []Kernel
	for _, m := range c.all() {
		if m.part != "" {
			kernels = append(kernels, m.kernel())
		}
	}
	return kernels
}

// all are the modules of a classifier, but for its layer of outputs.
func (c *Config) all() []module { return append(c.family().modules(c), c.pooler()...) }

// head is the family's, without its pooler where Pooling is.
func (c *Config) head() []module {
	head := c.family().head(c)
	if !c.Pooling.HasPooler() {
		return head[len(head)-1:]
	}
	return head
}

// pooler is what lies between the encoder and the layer of outputs.
func (c *Config) pooler() []module {
	head := c.head()
	return head[:len(head)-1]
}

// output is the layer of outputs.
func (c *Config) output() module {
	head := c.head()
	return head[len(head)-1]
}

// HeadNames are the tensors of the layer of outputs as the graph has them: its weight [H, K] and its bias [K].
func (c *Config) HeadNames() []string { return names(c.output().specs()) }

// PoolerNames are the tensors of what lies between the encoder and the layer of outputs, its first weight first; none
// where Pooling is without.
func (c *Config) PoolerNames() []string { return names(specsOf(c.pooler())) }

// headOutside are the tensors of the head that are no part of the encoder.
func (c *Config) headOutside() (list []string) {
	for _, m := range c.head() {
		if m.part == "" {
			list = append(list, names(m.specs())...)
		}
	}
	return list
}

// HeadModule is a layer of the head.
type HeadModule struct {
	Name  string // without ".weight"
	Saved string // what PEFT's modules_to_save calls it, or it and its neighbours
	Specs []Spec
}

// HeadModules are the layers of the head, the one of outputs last.
func (c *Config) HeadModules() (list []HeadModule) {
	for _, m := range c.head() {
		list = append(list, HeadModule{m.name, m.entry, m.specs()})
	}
	return list
}

// EncoderName is what Transformers' classifier calls its encoder: "bert".
func (c *Config) EncoderName() string { return strings.TrimSuffix(c.kind().prefix, ".") }

// WordTable is the name of the table of words [V, H].
func (c *Config) WordTable() string { return c.family().modules(c)[0].name + ".weight" }

// TypeTable is the name of the table of token types [T, H], where it has BERT's.
func (c *Config) TypeTable() string { return c.base(typeEmbeddings) + ".weight" }

func names(specs []Spec) []string {
	list := make([]string, len(specs))
	for i, s := range specs {
		list[i] = s.Name
	}
	return list
}

// Spec is one tensor of a checkpoint as the file has it.
type Spec struct {
	Name  string
	Shape []int
	Dense bool // a linear layer's weight: the file holds [out, in], the graph wants [in, out]
	Head  bool // may be absent: a new one is drawn (the classifier, and the pooler of masked-LM checkpoints)
	Norm  bool // a norm's weight: a new one is 1
}

// Specs lists the tensors of a classifier's checkpoint: of BERT's 16·layers + 9, two fewer without a pooler.
func (c *Config) Specs() []Spec { return append(c.encoderSpecs(), c.output().specs()...) }

// encoderSpecs lists those of the encoder with its pooler, norms behind kernels.
func (c *Config) encoderSpecs() []Spec { return normsLast(c.all()) }

func normsLast(modules []module) []Spec {
	var norms []module
	var others []module
	for _, m := range modules {
		if m.kind == norm {
			norms = append(norms, m)
		} else {
			others = append(others, m)
		}
	}
	return append(specsOf(others), specsOf(norms)...)
}

// DenseHead reports whether a tensor is the weight of a layer of some family's head, by its name alone.
func DenseHead(name string) bool {
	for _, d := range families {
		c := d.defaults
		c.ModelType = slices.Min(slices.Collect(maps.Keys(d.classes)))
		for _, m := range d.own().head(&c) {
			if m.kind == dense && m.name+".weight" == name {
				return true
			}
		}
	}
	return false
}
