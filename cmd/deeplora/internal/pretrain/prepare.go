package pretrain

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/deeplora/deeplora/cmd/deeplora/internal/wordpiece"
	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/jsonfile"
	"github.com/deeplora/deeplora/internal/modelfiles"
	"github.com/deeplora/deeplora/internal/rng"
	"github.com/deeplora/deeplora/internal/settings"
	"github.com/deeplora/deeplora/train/loop"
)

// vocabularyFiles are the tokenizer's files: of a vocabulary trained on the corpus, or the checkpoint's.
func (r *run) vocabularyFiles() (map[string][]byte, error) {
	if r.from != nil {
		return r.copiedVocabulary()
	}
	progress := r.Phase("vocabulary")
	progress(0, 1)
	defer progress(1, 1)
	lowercase := !r.config.Cased
	vocabulary, err := wordpiece.Train(slices.Values(r.corpus.texts), wordpiece.Options{Size: r.config.VocabSize, Lowercase: lowercase})
	if err != nil {
		return nil, err
	}
	if len(vocabulary) < r.config.VocabSize {
		r.Notice("the corpus gives a vocabulary of %d tokens, not %d", len(vocabulary), r.config.VocabSize)
	}
	return wordpiece.Files(vocabulary, lowercase, r.model.Positions())
}

func (r *run) copiedVocabulary() (map[string][]byte, error) {
	files := map[string][]byte{}
	for _, name := range modelfiles.OfTokenizer {
		content, err := fs.ReadFile(r.fromFiles, name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("model %s: %w", r.config.Model, err)
		}
		files[name] = content
	}
	completed, err := modelfiles.ForTransformers(r.fromFiles, r.model.Positions())
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", r.config.Model, err)
	}
	if completed != nil {
		files[modelfiles.TokenizerConfig] = completed
	}
	return files, nil
}

// prepare makes everything a step needs: the same whether the run begins or goes on.
func (r *run) prepare(ctx context.Context) error {
	var err error
	if r.tok, err = data.OpenTokenizer(os.DirFS(r.options.Out), r.options.Out); err != nil {
		return err
	}
	if err := r.fitVocabulary(); err != nil {
		return err
	}
	if err := r.corpus.encode(r.tok, r.Phase("tokenize")); err != nil {
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

// fitVocabulary makes a new model as wide as its vocabulary; one that is there must be wide enough.
func (r *run) fitVocabulary() error {
	size, special := r.tok.VocabSize(), r.tok.Special()
	switch {
	case r.config.masks() && special.MASK < 0:
		return fmt.Errorf("%s: the vocabulary has no [MASK]; --mlm-weight 0 does without", r.config.Model)
	case r.config.WholeWord && !continues(r.tok):
		return fmt.Errorf("%s: the vocabulary has no tokens that continue a word, as ##ing; leave --whole-word out", r.config.Model)
	case r.from == nil:
		r.model.VocabSize, r.model.PadTokenID = size, special.PAD
	case size > r.model.VocabSize:
		return fmt.Errorf("model %s: its tokenizer gives ids up to %d, the word embeddings have %d rows", r.config.Model, size-1, r.model.VocabSize)
	}
	return nil
}

// continuing begins the tokens that continue a word. Vocabularies of other kinds mark what begins one.
const continuing = "##"

// continues reports a vocabulary that marks what continues a word.
func continues(tok data.Tokenizer) bool {
	for id := range int32(tok.VocabSize()) {
		if strings.HasPrefix(tok.Token(id), continuing) {
			return true
		}
	}
	return false
}

// teach embeds the corpus with the teacher.
func (r *run) teach(ctx context.Context) error {
	if r.teacher == nil {
		r.start = r.draw(0)
		return nil
	}
	cache := cmp.Or(r.options.TeacherCache, filepath.Join(r.options.Out, cacheDir))
	var err error
	if r.embeddings, err = teacherTexts(ctx, r.teacher, cache, r.corpus.texts, r.Phase("teacher")); err != nil {
		return r.interrupted(ctx, err)
	}
	r.start = r.draw(r.teacher.Width())
	if !r.config.TeacherInit {
		return nil
	}
	words, special := make([]string, r.model.VocabSize), make([]bool, r.model.VocabSize)
	for id := range words {
		words[id], special[id] = r.tok.Token(int32(id)), isSpecial(r.tok.Special(), int32(id))
	}
	return r.interrupted(ctx, r.start.fromTeacher(ctx, r.teacher, words, special, r.config.Seed, r.Phase("teacher's words")))
}

// interrupted says what a cancelled ctx means before the first step: all but the shard in hand is kept.
func (r *run) interrupted(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil {
		return err
	}
	return fmt.Errorf("%w before the first step: %w", loop.ErrInterrupted, context.Cause(ctx))
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
		return settings.Error(fmt.Errorf("validation: all %d texts of the corpus are held for measuring; lower it", len(r.corpus.texts)))
	}
	c := &r.config
	r.plan.at(0) // which the first step asks for again
	if err := c.Resolve(len(r.plan.batches), 1); err != nil {
		return settings.Error(err)
	}
	if r.replay {
		return nil
	}
	// Now that the number of steps is known: a resumed run is not to depend on how it came about.
	return jsonfile.Write(r.dir.File(RunJSON), RunConfig{Config: *c, Provenance: r.options.Provenance})
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
	p.near, err = neighbours(ctx, r.options.Backend, texts, r.embeddings, rng.New(r.config.Seed, name), r.Phase(name))
	return p, r.interrupted(ctx, err)
}

func (r *run) masking() *masking {
	m := &masking{special: r.tok.Special(), vocabulary: r.model.VocabSize, probability: r.config.MaskProbability}
	if r.config.WholeWord {
		m.piece = make([]bool, r.model.VocabSize)
		for id := range m.piece {
			m.piece[id] = strings.HasPrefix(r.tok.Token(int32(id)), continuing)
		}
	}
	return m
}

// open makes the loop, and draws the parameters or takes them from a checkpoint.
func (r *run) open(ctx context.Context) error {
	c := &r.config
	o := &objective{Config: c, shape: r.filler.shape, model: r.model}
	if c.Dropout != checkpointDropout {
		trained := *r.model
		trained.SetDropout(c.Dropout)
		o.model = &trained
	}
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
	objective := loop.Objective{Params: params, Loss: o.loss}
	if r.loop, err = loop.New(c.Plan, objective, r, loop.Options{Backend: r.options.Backend, Out: r.options.Out, OnEvent: r.options.OnEvent, Started: r.started}); err != nil {
		return err
	}
	if r.replay {
		return nil
	}
	if err := r.loop.Open(ctx, "initialise"); err != nil {
		return err
	}
	r.Announce(loop.Ready{Parameters: r.size(), Examples: len(r.plan.texts), Steps: c.Steps, From: r.loop.Progress().Step})
	return nil
}
