package model

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	. "github.com/gomlx/gomlx/core/graph" //nolint:revive // graph code reads as formulas

	"github.com/deeplora/deeplora/internal/jsonfile"
	"github.com/deeplora/deeplora/internal/nearest"
)

// families are the kinds of encoders: a row a family. What else there is to one lies in its own file; docs/tour.md says
// how one is added.
var families = []*description{
	&bertFamily,
	&robertaFamily,
	&distilbertFamily,
	&electraFamily,
	&mpnetFamily,
	&albertFamily,
	&debertaFamily,
	&modernBERTFamily,
}

// description is a family as config.json and the files of weights show it.
type description struct {
	classes  map[string]string // model_type: how the names of its Transformers classes begin
	prefix   string            // of the encoder's tensors in a classifier's file: "bert."
	defaults Config            // of Transformers, where config.json is silent
	words    map[string]int    // model_type: its default of vocab_size, where that is another
	// names are the fields of Config that config.json calls otherwise; "" has none of it, so that it keeps its default.
	names   map[string]string
	aliases []string       // the keys of names that Transformers reads too (its attribute_map)
	fields  jsonfile.Fates // of config.json beyond commonFields
	untyped bool           // its tokenizers give no token types: all are 0
	unused  []string       // the beginnings of names, behind the prefix, of tensors that a classifier without any of them has no use for
	// own makes the family's own part of a config, at Transformers' defaults, to be filled from config.json.
	own func() family
}

// family is what distinguishes an encoder from others: a type of this kind holds the fields of config.json that no other
// family has.
type family interface {
	// check gives what the graph would get wrong, beyond what is checked for all.
	check(c *Config) []error
	// modules lists the encoder's, in the order the data meets them: the table of words first.
	modules(c *Config) []module
	// head lists what lies between the encoder and the layer of outputs, and that layer itself, the last.
	head(c *Config) []module
	// dropouts are probabilities beyond the three of Config.
	dropouts() []*float64
	// positions is how many tokens a text may have.
	positions(c *Config) int
	// pooling is what its Transformers class reads: poolCLS or poolMean.
	pooling() Pooling

	// embed gives each token its first state: [batch, seq] -> [batch·seq, H].
	embed(e *Encoder, in Inputs) *Node
	// relate adds to queries what the layers need of positions, once for all of them.
	relate(e *Encoder, q queries) queries
	// layer is one layer, for some of the tokens: hidden [batch·seq, H] -> [queries, H].
	layer(e *Encoder, i int, hidden *Node, q queries) *Node
	// finish is what follows the last layer: [queries, H] -> [queries, H].
	finish(e *Encoder, hidden *Node) *Node
	// pool is what the layer of outputs reads of a text's pooled state: [examples, H] -> [examples, H].
	pool(e *Encoder, state *Node) *Node
}

// common is the part of a family that most have alike.
type common struct{}

func (common) check(*Config) []error                 { return nil }
func (common) dropouts() []*float64                  { return nil }
func (common) positions(c *Config) int               { return c.MaxPositionEmbeddings }
func (common) pooling() Pooling                      { return poolCLS }
func (common) relate(_ *Encoder, q queries) queries  { return q }
func (common) finish(_ *Encoder, hidden *Node) *Node { return hidden }

// module is a part of an encoder that has tensors.
type module struct {
	name    string
	kind    moduleKind
	in, out int    // of a table: rows and width; of a norm only out
	part    string // of a kernel: one of internal/parts
	bare    bool   // it has no bias
	entry   string // of a head: what PEFT's modules_to_save calls it
}

type moduleKind int

const (
	dense moduleKind = iota // x·K + b, K through the hook unless it is of a head outside the encoder
	table                   // rows by ids, through the hook
	norm
	plain // a matrix that no hook sees
)

// kernel is the module's, as a hook sees it.
func (m module) kernel() Kernel {
	return Kernel{Name: m.name, In: m.in, Out: m.out, Lookup: m.kind == table, Part: m.part}
}

// specs are the module's tensors. Those of heads may be absent.
func (m module) specs() []Spec {
	head := m.entry != ""
	weight := Spec{Name: m.name + ".weight", Head: head}
	switch m.kind {
	case dense:
		weight.Shape, weight.Dense = []int{m.out, m.in}, true
	case norm:
		weight.Shape, weight.Norm = []int{m.out}, true
	default:
		weight.Shape = []int{m.in, m.out}
	}
	specs := []Spec{weight}
	if (m.kind == dense || m.kind == norm) && !m.bare {
		specs = append(specs, Spec{Name: m.name + ".bias", Shape: []int{m.out}, Head: head})
	}
	return specs
}

func specsOf(modules []module) (specs []Spec) {
	for _, m := range modules {
		specs = append(specs, m.specs()...)
	}
	return specs
}

// described is the row of a model_type, nil where there is none.
func described(modelType string) *description {
	for _, d := range families {
		if _, ok := d.classes[modelType]; ok {
			return d
		}
	}
	return nil
}

// familyOf is described, or an error that lists what there is.
func familyOf(modelType string) (*description, error) {
	if d := described(modelType); d != nil {
		return d, nil
	}
	var known []string
	for _, d := range families {
		known = append(known, slices.Sorted(maps.Keys(d.classes))...)
	}
	hint := ""
	first := modelType == "deberta" // another model than the second version
	if near := nearest.Of(modelType, known); modelType != "" && !first && strings.HasPrefix(near, modelType) {
		hint = "; nearest: " + near
	}
	return nil, fmt.Errorf("model_type is %q, which is not supported; want one of %s%s", modelType, strings.Join(known, ", "), hint)
}

// kind is the config's family; that of one that was read from no file is BERT.
func (c *Config) kind() *description {
	if d := described(c.ModelType); d != nil {
		return d
	}
	return &bertFamily
}

// family is the config's own part of its family.
func (c *Config) family() family {
	if c.own == nil {
		return c.kind().own()
	}
	return c.own
}

// base is the full name of a module of the encoder.
func (c *Config) base(name string) string { return c.kind().prefix + name }

// field is what the family's config.json calls a field.
func (c *Config) field(name string) string {
	if own, ok := c.kind().names[name]; ok {
		return own
	}
	return name
}
