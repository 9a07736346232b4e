package model

import (
	"slices"
	"testing"

	"github.com/gomlx/compute/dtypes"
	. "github.com/gomlx/gomlx/core/graph"

	"github.com/deeplora/deeplora/internal/testbackend"
)

// The buckets are PyTorch's: where each begins, by MPNetEncoder.relative_position_bucket of Transformers 5.24.0.
func TestMPNetBuckets(t *testing.T) {
	behind := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91}
	for d := range 20000 {
		want := len(behind) - 1
		for behind[want] > d {
			want--
		}
		if got := mpnetBucket(d); int(got) != want {
			t.Fatalf("%d behind: bucket %d, want %d", d, got, want)
		}
		if d > 0 {
			want += 16
		}
		if got := mpnetBucket(-d); int(got) != want {
			t.Fatalf("%d ahead: bucket %d, want %d", d, got, want)
		}
	}
}

// Layers of a group have the group's kernels and masks of their own.
func TestALBERTGroups(t *testing.T) {
	c, err := readFields(t, "albert", map[string]string{"num_hidden_layers": "5", "num_hidden_groups": "2"})
	if err != nil {
		t.Fatal(err)
	}
	var groups []int
	var masks []string
	f := c.family().(*albert)
	for i := range c.NumHiddenLayers {
		l := f.names(c, i)
		groups, masks = append(groups, f.group(c, i)), append(masks, l.at)
		if l.query != f.shared(c, groups[i]).query {
			t.Errorf("layer %d has the query %s", i, l.query)
		}
	}
	if want := []int{0, 0, 0, 1, 1}; !slices.Equal(groups, want) { // int(i/2.5) of Transformers
		t.Errorf("groups %v, want %v", groups, want)
	}
	if len(slices.Compact(slices.Sorted(slices.Values(masks)))) != 5 {
		t.Errorf("layers share masks: %v", masks)
	}
	if n := len(c.Kernels()); n != 3+1+2*6+1 {
		t.Errorf("%d kernels; those that layers share count once", n)
	}
}

// DenseHead knows the layers of every family's head.
func TestDenseHead(t *testing.T) {
	for name, want := range map[string]bool{
		"bert.pooler.dense.weight": true, "albert.pooler.weight": true, "pre_classifier.weight": true, "classifier.dense.weight": true,
		"classifier.out_proj.weight": true, "classifier.weight": true, "classifier.bias": false, "bert.pooler.weight": false,
		"mpnet.encoder.layer.0.attention.attn.q.weight": false,
	} {
		if got := DenseHead(name); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// Each family has dropout where its Transformers class has: a row of four tokens through two layers, 32 wide with four heads,
// the second for the first token alone. Sizes are of the masks, in the order of the graph.
func TestWhereDropoutIs(t *testing.T) {
	backend := testbackend.All(t)[0] // only builds graphs
	for modelType, want := range map[string][]int{
		"bert":       {128, 64, 128, 128, 16, 32, 32, 32},
		"roberta":    {128, 64, 128, 128, 16, 32, 32, 32, 32},
		"distilbert": {128, 64, 128, 16, 32, 32},
		"electra":    {4 * 128, 64, 128, 128, 16, 32, 32, 32, 32},
		"mpnet":      {128, 64, 128, 128, 16, 32, 32, 32, 32},
		"albert":     {4 * 128, 64, 128, 16, 32, 32},
	} {
		c, err := readFields(t, modelType, nil)
		if err != nil {
			t.Fatal(err)
		}
		c.VocabSize, c.HiddenSize, c.NumHiddenLayers, c.NumAttentionHeads, c.IntermediateSize = 50, 32, 2, 4, 64
		c.SetDropout(0.1)
		g := NewGraph(backend, modelType)
		weights := map[string]*Node{}
		for _, spec := range c.Specs() {
			dims := slices.Clone(spec.Shape)
			if spec.Dense {
				slices.Reverse(dims)
			}
			weights[spec.Name] = Zeros(g, shape(dtypes.Float32, dims...))
		}
		e := &Encoder{Config: c, Weights: func(name string) *Node { return weights[name] }, Hook: Frozen, Dropout: &Dropout{Key: Const(g, []uint32{1, 2})}}
		ids := Const(g, [][]int32{{1, 2, 3, 4}})
		e.Logits(Padded{IDs: ids, Types: ZerosLike(ids), Mask: OnesLike(ids)})
		var got []int
		for _, node := range g.Nodes() {
			if node.Type() == NodeTypeWhere {
				got = append(got, node.Shape().Size())
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", modelType, got, want)
		}
		g.Finalize()
	}
}
