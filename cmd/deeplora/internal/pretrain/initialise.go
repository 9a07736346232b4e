package pretrain

import (
	"context"
	"fmt"
	"math"
	"strings"

	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/linalg"
	"github.com/deeplora/deeplora/internal/rng"
	"github.com/deeplora/deeplora/model"
	"github.com/deeplora/deeplora/train/loop"
)

// start are the parameters as training begins.
type start struct {
	model      *model.Checkpoint
	projection []float32 // [H, E]; nil without a teacher
	pooler     []float32 // likewise
}

// draw makes a new model, unless there is one to go on from, and the heads of the objectives with a teacher whose
// embeddings are width wide.
func (r *run) draw(width int) *start {
	seed := r.config.Seed
	s := &start{model: r.from}
	if s.model == nil {
		s.model = model.New(r.model, model.MaskedLM, seed)
		attendToLikes(s.model, float32(r.config.AttentionInit))
	}
	if width > 0 {
		s.projection = drawProjection(r.model.HiddenSize, width, rng.New(seed, "init", projection))
		s.pooler = drawProjection(r.model.HiddenSize, width, rng.New(seed, "init", poolerHead))
	}
	return s
}

func drawProjection(h, width int, s *rng.Stream) []float32 {
	p := make([]float32, h*width)
	for i := range p {
		p[i] = float32(s.Normal() / math.Sqrt(float64(h)))
	}
	return p
}

// attendToLikes adds a number to the diagonals of the first layer's query and key kernels: then tokens attend to
// their likes from the first step on, in a second text too, as trained encoders do (mimetic initialisation,
// Trockman and Kolter 2023). A small model hardly finds to that by itself.
func attendToLikes(c *model.Checkpoint, diagonal float32) {
	for _, k := range c.Config.Kernels() {
		if strings.HasSuffix(k.Name, "layer.0.attention.self.query") || strings.HasSuffix(k.Name, "layer.0.attention.self.key") {
			tensors.MustMutableFlatData(c.Kernel(k.Name), func(flat []float32) {
				for i := range k.In {
					flat[i*k.Out+i] += diagonal
				}
			})
		}
	}
}

// fromTeacher begins word embeddings where the teacher embeds each token of the vocabulary alone, on the principal
// axes of those embeddings, and the projection as the way back (after Model2Vec's distillation). Special tokens, which
// are no words, keep what was drawn.
func (s *start) fromTeacher(ctx context.Context, e *Embedder, vocabulary []string, special []bool, seed uint64, progress func(done, total int)) error {
	words := make([]string, len(vocabulary))
	for i, token := range vocabulary {
		words[i] = strings.TrimPrefix(token, "##")
	}
	rows, err := e.Embed(ctx, words, progress)
	if err != nil {
		return fmt.Errorf("teacher's words: %w", err)
	}
	width, h := e.Width(), s.model.Config.HiddenSize
	if h > width {
		return fmt.Errorf("teacher-init: hidden_size %d is more than the teacher's %d", h, width)
	}
	centred := centre(rows, width)
	svd, err := linalg.TopSVD(centred, len(rows), width, h, rng.New(seed, "teacher-init"))
	if err != nil {
		return fmt.Errorf("teacher-init: %w", err)
	}
	table := make([]float32, len(rows)*h)
	var sum float64
	for i := range rows {
		for k := range h {
			v := svd.U.At(i, k) * svd.S[k]
			table[i*h+k] = float32(v)
			sum += v * v
		}
	}
	scale := float32(s.model.Config.InitializerRange * teacherSpread / math.Sqrt(sum/float64(len(table))))
	for i := range table {
		table[i] *= scale
	}
	tensors.MustMutableFlatData(s.model.Tensors[s.model.Config.WordTable()], func(drawn []float32) {
		for i := range rows {
			if !special[i] {
				copy(drawn[i*h:(i+1)*h], table[i*h:(i+1)*h])
			}
		}
	})
	tensors.MustMutableFlatData(s.model.Tensors[s.model.Config.TypeTable()], func(drawn []float32) {
		for i := range drawn { // or words would drown which text they are of
			drawn[i] *= teacherSpread
		}
	})
	for k := range h {
		for j := range width {
			s.projection[k*width+j] = float32(svd.V.At(j, k))
		}
	}
	return nil
}

// teacherSpread is how much wider than drawn rows those from the teacher are: they are to outweigh positions.
const teacherSpread = 2.5

// centre subtracts the mean row: [rows][width] -> flat.
func centre(rows [][]float32, width int) []float32 {
	mean := make([]float64, width)
	for _, r := range rows {
		for j, v := range r {
			mean[j] += float64(v) / float64(len(rows))
		}
	}
	flat := make([]float32, 0, len(rows)*width)
	for _, r := range rows {
		for j, v := range r {
			flat = append(flat, v-float32(mean[j]))
		}
	}
	return flat
}

// params are the trained tensors: the model's, then the heads of the teacher's objectives.
func (s *start) params(pairs bool) []loop.Param {
	var params []loop.Param
	add := func(name string, value *tensors.Tensor) {
		params = append(params, loop.Param{
			Name: name, Shape: value.Shape().Dimensions, Rate: 1, NoDecay: value.Shape().Rank() == 1,
			Draw: func() (*tensors.Tensor, error) { return value, nil },
		})
	}
	for _, spec := range s.model.Specs() {
		add(spec.Name, s.model.Tensors[spec.Name])
	}
	h := s.model.Config.HiddenSize
	if s.projection != nil {
		add(projection, tensors.FromFlatDataAndDimensions(s.projection, h, len(s.projection)/h))
		add(poolerHead, tensors.FromFlatDataAndDimensions(s.pooler, h, len(s.pooler)/h))
	}
	if s.projection != nil && pairs {
		add(similarityHead, tensors.FromFlatDataAndDimensions(make([]float32, h), h, 1))
		add(similarityBias, tensors.FromFlatDataAndDimensions(make([]float32, 1), 1))
	}
	return params
}
