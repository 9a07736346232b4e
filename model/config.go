package model

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"reflect"
	"slices"
	"strconv"

	"github.com/deeplora/deeplora/internal/labels"
	"github.com/deeplora/deeplora/internal/readfile"
)

// Problem types of config.json.
const (
	Regression  = "regression"
	SingleLabel = "single_label_classification"
	MultiLabel  = "multi_label_classification"
)

// Config is what the encoder honours of a Hugging Face config.json of model_type bert. Fields that are
// absent from the file have the defaults of Transformers; fields it has and we do not know are kept in
// Raw, so that a rewritten config loses nothing.
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

	PositionEmbeddingType string     `json:"position_embedding_type"`
	IsDecoder             bool       `json:"is_decoder"`
	AddCrossAttention     bool       `json:"add_cross_attention"`
	ID2Label              classNames `json:"id2label"`   // by id
	LabelCount            *int       `json:"num_labels"` // seldom written; without id2label the classes are LABEL_0, …
	ProblemType           string     `json:"problem_type"`

	Raw map[string]json.RawMessage `json:"-"`

	// Pooling is not of the file: see LoadOptions. Without the pooler it is neither among Kernels nor among Specs.
	Pooling Pooling `json:"-"`
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
	c := Config{
		VocabSize: 30522, HiddenSize: 768, NumHiddenLayers: 12, NumAttentionHeads: 12, IntermediateSize: 3072,
		MaxPositionEmbeddings: 512, TypeVocabSize: 2, HiddenAct: "gelu", LayerNormEps: 1e-12, InitializerRange: 0.02,
		HiddenDropout: 0.1, AttentionDropout: 0.1, PositionEmbeddingType: "absolute",
	}
	if err := json.Unmarshal(text, &c); err != nil {
		return nil, fmt.Errorf("%s: %w", file, jsonFault(err))
	}
	if err := json.Unmarshal(text, &c.Raw); err != nil {
		return nil, fmt.Errorf("%s: %w", file, jsonFault(err))
	}
	if err := c.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return &c, nil
}

// jsonFault says which field, or which byte, is at fault.
func jsonFault(err error) error {
	var kind *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &kind) && kind.Field != "":
		return fmt.Errorf("%s is of type %s; want %s", kind.Field, kind.Value, kind.Type)
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
	if c.ModelType != "bert" {
		fault("model_type is %q; only bert is supported", c.ModelType)
	}
	for _, size := range []struct {
		field       string
		value, most int
	}{
		{"vocab_size", c.VocabSize, maxSize},
		{"hidden_size", c.HiddenSize, maxSize},
		{"num_hidden_layers", c.NumHiddenLayers, maxLayers},
		{"num_attention_heads", c.NumAttentionHeads, maxSize},
		{"intermediate_size", c.IntermediateSize, maxSize},
		{"max_position_embeddings", c.MaxPositionEmbeddings, maxSize},
		{"type_vocab_size", c.TypeVocabSize, maxSize},
	} {
		if size.value < 1 || size.value > size.most {
			fault("%s is %d; want 1 to %d", size.field, size.value, size.most)
		}
	}
	if c.NumAttentionHeads > 0 && c.HiddenSize%c.NumAttentionHeads != 0 {
		fault("hidden_size %d does not divide by num_attention_heads %d", c.HiddenSize, c.NumAttentionHeads)
	}
	if _, known := activations[c.HiddenAct]; !known {
		fault("hidden_act is %q; want one of %v", c.HiddenAct, activationNames())
	}
	if c.PositionEmbeddingType != "absolute" {
		fault("position_embedding_type is %q; only absolute is supported", c.PositionEmbeddingType)
	}
	if c.IsDecoder || c.AddCrossAttention {
		fault("is_decoder or add_cross_attention is true; only encoders are supported")
	}
	if !(float32(c.LayerNormEps) > 0) || c.LayerNormEps > 1 { // also what float32 rounds to zero
		fault("layer_norm_eps is %g; want a positive number, as 1e-12", c.LayerNormEps)
	}
	if c.InitializerRange < 0 || c.InitializerRange > 1 {
		fault("initializer_range is %g; want 0 to 1", c.InitializerRange)
	}
	for _, p := range []struct {
		field string
		value float64
	}{{"hidden_dropout_prob", c.HiddenDropout}, {"attention_probs_dropout_prob", c.AttentionDropout}, {"classifier_dropout", c.classifierDropout()}} {
		if p.value < 0 || p.value >= 1 {
			fault("%s is %g; want 0 to below 1", p.field, p.value)
		}
	}
	if c.PadTokenID < 0 || int(c.PadTokenID) >= c.VocabSize {
		fault("pad_token_id %d is outside the vocabulary of %d", c.PadTokenID, c.VocabSize)
	}
	faults = append(faults, c.checkLabels()...)
	faults = append(faults, configFields.Refused(c.Raw)...)
	return errors.Join(faults...)
}

// Bounds of every size of a config: beyond any encoder, and small enough that products of two sizes do not
// overflow and the list of tensors fits in memory.
const (
	maxSize   = 1 << 24
	maxLayers = 1 << 10
	maxLabels = 1 << 16
)

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
}

// CommonDropout is the one probability of every dropout; false if they differ.
func (c *Config) CommonDropout() (p float64, common bool) {
	return c.HiddenDropout, c.HiddenDropout == c.AttentionDropout && c.HiddenDropout == c.classifierDropout()
}

func (c *Config) classifierDropout() float64 {
	if c.ClassifierDropout == nil {
		return c.HiddenDropout
	}
	return *c.ClassifierDropout
}

// layer returns the name of a module of encoder layer i.
func layer(i int, module string) string {
	return fmt.Sprintf("bert.encoder.layer.%d.%s", i, module)
}

// Names of the modules outside the layers.
const (
	wordEmbeddings     = "bert.embeddings.word_embeddings"
	positionEmbeddings = "bert.embeddings.position_embeddings"
	typeEmbeddings     = "bert.embeddings.token_type_embeddings"
	embeddingsNorm     = "bert.embeddings.LayerNorm"
	poolerDense        = "bert.pooler.dense"
	classifier         = "classifier"
)

// Names of the tensors that a checkpoint may lack, in the graph's orientation: the head's weight [H, K] and
// bias [K], the pooler's [H, H] and [H].
const (
	HeadWeight   = classifier + ".weight"
	HeadBias     = classifier + ".bias"
	PoolerWeight = poolerDense + ".weight"
	PoolerBias   = poolerDense + ".bias"
)

// Names of the tables of word embeddings [V, H] and token types [T, H].
const (
	WordEmbeddings = wordEmbeddings + ".weight"
	TypeEmbeddings = typeEmbeddings + ".weight"
)

// Kernels lists every kernel the encoder gives to its hook, in the order the data meets them: three
// embedding tables, six a layer, the pooler if Pooling has it. The classification head is not among them: it is trained
// or frozen as a whole.
func (c *Config) Kernels() []Kernel {
	h, inner := c.HiddenSize, c.IntermediateSize
	kernels := []Kernel{
		{wordEmbeddings, c.VocabSize, h, true},
		{positionEmbeddings, c.MaxPositionEmbeddings, h, true},
		{typeEmbeddings, c.TypeVocabSize, h, true},
	}
	for i := range c.NumHiddenLayers {
		kernels = append(kernels,
			Kernel{layer(i, "attention.self.query"), h, h, false},
			Kernel{layer(i, "attention.self.key"), h, h, false},
			Kernel{layer(i, "attention.self.value"), h, h, false},
			Kernel{layer(i, "attention.output.dense"), h, h, false},
			Kernel{layer(i, "intermediate.dense"), h, inner, false},
			Kernel{layer(i, "output.dense"), inner, h, false})
	}
	if c.Pooling.HasPooler() {
		kernels = append(kernels, Kernel{poolerDense, h, h, false})
	}
	return kernels
}

// Spec is one tensor of a checkpoint as the file has it.
type Spec struct {
	Name  string
	Shape []int
	Dense bool // a linear layer's weight: the file holds [out, in], the graph wants [in, out]
	Head  bool // may be absent: a new one is drawn (the classifier, and the pooler of masked-LM checkpoints)
}

// Specs lists the 16·layers + 9 tensors of a BertForSequenceClassification checkpoint, two fewer without a pooler.
func (c *Config) Specs() []Spec {
	k := c.NumLabels()
	return append(c.encoderSpecs(), Spec{HeadWeight, []int{k, c.HiddenSize}, true, true}, Spec{HeadBias, []int{k}, false, true})
}

// encoderSpecs lists the 16·layers + 7 tensors of a BertModel, its pooler included.
func (c *Config) encoderSpecs() []Spec {
	h := c.HiddenSize
	var specs []Spec
	norm := func(module string) {
		specs = append(specs, Spec{Name: module + ".weight", Shape: []int{h}}, Spec{Name: module + ".bias", Shape: []int{h}})
	}
	for _, k := range c.Kernels() {
		if k.Lookup {
			specs = append(specs, Spec{Name: k.Weight(), Shape: []int{k.In, k.Out}})
			continue
		}
		pooler := k.Name == poolerDense
		specs = append(specs, Spec{k.Weight(), []int{k.Out, k.In}, true, pooler}, Spec{k.Name + ".bias", []int{k.Out}, false, pooler})
	}
	norm(embeddingsNorm)
	for i := range c.NumHiddenLayers {
		norm(layer(i, "attention.output.LayerNorm"))
		norm(layer(i, "output.LayerNorm"))
	}
	return specs
}
