package pretrain

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/jsonfile"
	"github.com/deeplora/deeplora/internal/rng"
	"github.com/deeplora/deeplora/internal/wordpiece"
	"github.com/deeplora/deeplora/train"
)

// trainVocabulary makes the vocabulary of the corpus.
func (r *run) trainVocabulary(context.Context) ([]string, error) {
	progress := r.notify.Phase("vocabulary")
	progress(0, 1)
	defer progress(1, 1)
	vocabulary, err := wordpiece.Train(slices.Values(r.corpus.texts), wordpiece.Options{Size: r.config.VocabSize, Lowercase: !r.config.Cased})
	if err != nil {
		return nil, fmt.Errorf("vocabulary: %w", err)
	}
	if len(vocabulary) < r.config.VocabSize {
		r.notify.Notice("the corpus gives a vocabulary of %d tokens, not %d", len(vocabulary), r.config.VocabSize)
	}
	return vocabulary, nil
}

func (r *run) writeVocabulary(vocabulary []string) error {
	return wordpiece.WriteFiles(r.options.Out, vocabulary, !r.config.Cased, r.model.MaxPositionEmbeddings)
}

// prepare makes everything a step needs: the same whether the run begins or goes on.
func (r *run) prepare(ctx context.Context) error {
	var err error
	if r.tok, err = data.OpenTokenizerFS(os.DirFS(r.options.Out), "."); err != nil {
		return err
	}
	r.model.VocabSize, r.model.PadTokenID = data.VocabSize(r.tok), r.tok.Special().PAD
	if err := r.corpus.encode(r.tok, r.notify.Phase("tokenize")); err != nil {
		return err
	}
	r.corpus.hold(r.config.Seed, r.config.Validation)
	if err := r.teach(ctx); err != nil {
		return err
	}
	if err := r.schedule(ctx); err != nil {
		return err
	}
	return r.open(ctx)
}

// teach embeds the corpus with the teacher.
func (r *run) teach(ctx context.Context) error {
	if r.teacher == nil {
		r.start = draw(r.model, r.config.Seed, 0, r.config.AttentionInit)
		return nil
	}
	cache := cmp.Or(r.options.TeacherCache, filepath.Join(r.options.Out, cacheDir))
	var err error
	if r.embeddings, err = teacherTexts(ctx, r.teacher, cache, r.corpus.texts, r.notify.Phase("teacher")); err != nil {
		return r.interrupted(ctx, err)
	}
	r.start = draw(r.model, r.config.Seed, r.teacher.Width(), r.config.AttentionInit)
	if !r.config.TeacherInit {
		return nil
	}
	words := make([]string, r.model.VocabSize)
	for id := range words {
		words[id] = r.tok.Token(int32(id))
	}
	return r.interrupted(ctx, r.start.fromTeacher(ctx, r.teacher, words, r.config.Seed, r.notify.Phase("teacher's words")))
}

// interrupted says what a cancelled ctx means before the first step: all but the shard in hand is kept.
func (r *run) interrupted(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	return fmt.Errorf("%w before the first step: %w", train.ErrInterrupted, context.Cause(ctx))
}

// schedule plans batches, of training and of measuring, and the number of steps.
func (r *run) schedule(ctx context.Context) error {
	width := 0
	if r.teacher != nil {
		width = r.teacher.Width()
	}
	shape := r.config.shape(width)
	r.filler = &filler{shape: shape, pad: r.model.PadTokenID, share: r.config.MaskShare, embeddings: r.embeddings}
	if r.config.masks() {
		r.filler.masking = r.masking()
	} else {
		r.filler.masked = 0
	}
	var err error
	if r.plan, err = r.planOf(ctx, r.corpus.part(false), "neighbours"); err != nil {
		return err
	}
	if len(r.plan.texts) == 0 {
		return settingsError{fmt.Errorf("validation: all %d texts of the corpus are held for measuring; lower it", len(r.corpus.texts))}
	}
	c := &r.config
	if c.Steps == 0 {
		c.Epochs = cmp.Or(c.Epochs, 1)
		c.Steps = max(1, int(math.Ceil(c.Epochs*float64(len(r.plan.pack(0))))))
	}
	if c.Warmup >= c.Steps && c.Warmup > 0 {
		return settingsError{fmt.Errorf("warmup: %d steps leave none of the %d to train at full rate", c.Warmup, c.Steps)}
	}
	// Now that the number of steps is known: a resumed run is not to depend on how it came about.
	return jsonfile.Write(r.dir.File(RunJSON), RunConfig{*c, r.options.Provenance})
}

func (r *run) planOf(ctx context.Context, texts []int, name string) (*plan, error) {
	p := &plan{config: &r.config, texts: texts, packer: func() *packer {
		s := r.filler.shape
		return &packer{special: r.tok.Special(), ids: r.corpus.ids, maxLength: r.config.MaxLength, rows: s.rows, length: s.length, perRow: s.perRow}
	}}
	if !r.config.pairs() || len(texts) == 0 {
		return p, nil
	}
	p.pairs = within(r.corpus.pairs, texts)
	var err error
	p.near, err = neighbours(ctx, r.options.Backend, texts, r.embeddings, rng.New(r.config.Seed, name), r.notify.Phase(name))
	return p, r.interrupted(ctx, err)
}

func (r *run) masking() *masking {
	m := &masking{special: r.tok.Special(), vocabulary: r.model.VocabSize, probability: r.config.MaskProbability}
	if r.config.WholeWord {
		m.piece = make([]bool, r.model.VocabSize)
		for id := range m.piece {
			m.piece[id] = strings.HasPrefix(r.tok.Token(int32(id)), "##")
		}
	}
	return m
}

// open makes the loop, and draws the parameters or takes them from a checkpoint.
func (r *run) open(ctx context.Context) error {
	c := &r.config
	o := &objective{Config: c, shape: r.filler.shape, model: r.model}
	params := r.start.params(c.pairs())
	held, err := r.planOf(ctx, r.corpus.part(true), "held neighbours")
	if err != nil {
		return err
	}
	var batches []*arrays
	for i, segments := range held.pack(0) {
		batches = append(batches, r.filler.fill(segments, rng.New(c.Seed, "held masks").At(uint64(i))))
	}
	if r.evaluator, err = newEvaluator(r.options.Backend, o, params, batches); err != nil {
		return err
	}
	plan := train.Plan{
		Seed: c.Seed, Steps: c.Steps, Accumulate: 1, LR: c.LR, Warmup: c.Warmup, DecayRatio: c.DecayRatio,
		EvalEvery: c.EvalEvery, SaveEvery: c.SaveEvery, Keep: c.Keep,
	}
	objective := train.Objective{Params: params, Inputs: o.inputs(), Loss: o.loss, WeightDecay: c.WeightDecay, Clip: c.Clip}
	if r.loop, err = train.NewLoop(r.options.Backend, plan, objective, r, r.options.Out, r.options.OnEvent); err != nil {
		return err
	}
	if err := r.loop.Open(ctx); err != nil {
		return err
	}
	r.loop.Announce(train.Ready{Parameters: r.size(), Examples: len(r.plan.texts), Steps: c.Steps, From: r.loop.Progress().Step})
	return nil
}
