package main

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"iter"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/atomicfile"
	"github.com/deeplora/deeplora/internal/nearest"
	"github.com/deeplora/deeplora/train"
)

func predictCommand(s *shared) *cobra.Command {
	p := &predictor{shared: s}
	cmd := &cobra.Command{
		Use:   "predict",
		Short: "Predict with a run or a checkpoint",
		Long: `Predict labels or scores. Input is JSONL, {"text": …}, {"text": …, "pair": …} or
{"input_ids": […], "token_type_ids": […]}, or CSV, TSV, JSON or parquet with the columns
that were trained on, training files included; output is JSONL or CSV in the same order:
other fields of the row, then label and probabilities, or score. Rows are computed together; where
the input pauses, what has come is answered. Rows computed in other company may differ in
the last digits: with --eval-batch 1 a row's bits depend on nothing else.`,
		Example: `  echo '{"text": "A man is playing a flute.", "pair": "Someone plays."}' | deeplora predict --run run`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if p.run == "" && p.model == "" {
				return usagef("give --run, a finished run, or --model, a checkpoint with a classifier")
			}
			if p.batch < 1 {
				return usagef("--eval-batch: %d is less than 1", p.batch)
			}
			if formats := inputFormats; p.format != "" && !slices.Contains(formats, p.format) {
				return usagef("--input-format: %q is unknown; nearest: %s (known: %s)", p.format, nearest.Of(p.format, formats), strings.Join(formats, " "))
			}
			if err := oneOf("--format", p.written, "jsonl", "csv"); err != nil {
				return err
			}
			if err := checkPrecision(p.precision); err != nil {
				return err
			}
			return p.predict(cmd)
		},
	}
	f := cmd.Flags()
	f.StringVar(&p.run, "run", "", "directory of a finished run")
	f.StringVar(&p.model, "model", "", "checkpoint with a classifier, a directory or hub id; beside --run: "+baseNow)
	f.StringVar(&p.input, "input", "-", "file to read, - for standard input")
	f.StringVar(&p.format, "input-format", "", "jsonl, csv, tsv, json or parquet (default by the file's ending, else jsonl)")
	f.StringVar(&p.output, "output", "-", "file to write, - for standard output")
	f.StringVar(&p.written, "format", "jsonl", "what to write: jsonl or csv")
	f.StringVar(&p.task, "task", "", "GLUE task of a TSV (default the run's)")
	f.IntVar(&p.maxLength, "max-length", 0, "longest input, in tokens (default the run's, or 128)")
	bindPrecision(f, &p.precision)
	s.bindDevices(f)
	p.bindThreshold(f)
	f.IntVar(&p.batch, "eval-batch", predictBatch, "inputs a batch")
	return cmd
}

// predictor is the predict command.
type predictor struct {
	*shared
	run, model, input, format, output, written, task string
	maxLength, batch                                 int
	precision                                        string // empty: the run's, or f32
	thresholdFlag

	*train.Predictor
	known  *data.Task // of the inputs, or nil
	stream *stream    // of the inputs, or nil where they are all there
}

// inputFormats are the formats of rows to predict.
var inputFormats = []string{"jsonl", "tsv", "csv", "json", "parquet"}

// predictBatch is how many inputs are computed together unless a flag says otherwise.
const predictBatch = 32

// chunk is how many inputs are held at once: sorted by length within, so that batches are even.
const chunk = 1024

func (p *predictor) predict(cmd *cobra.Command) error {
	if err := p.open(cmd); err != nil {
		return err
	}
	defer p.Close()
	if err := p.setThreshold(cmd.Flags(), p.Predictor); err != nil {
		return err
	}
	in, err := openInput(cmd, p.input)
	if err != nil {
		return err
	}
	defer in.Close()
	rows := p.rows(p.watch(cmd, in))
	if p.output == "-" {
		return p.copy(cmd.Context(), rows, cmd.OutOrStdout())
	}
	var fault error
	err = atomicfile.Write(p.output, func(w io.Writer) error {
		out := &watched{Writer: w}
		err := p.copy(cmd.Context(), rows, out)
		if err != nil && out.err == nil {
			fault = err // of the input or the model, not of the file that is written
		}
		return err
	})
	if fault != nil {
		return fault
	}
	return err
}

// watch makes a stream of an input that can be one.
func (p *predictor) watch(cmd *cobra.Command, in io.Reader) io.Reader {
	source := in
	if p.input == "-" {
		source = cmd.InOrStdin() // in hides what it is
	}
	if p.stream = newStream(source); p.stream != nil {
		return p.stream
	}
	return in
}

// rows are the inputs, in the format that the flags or the name tell.
func (p *predictor) rows(in io.Reader) iter.Seq2[data.Input, error] {
	return data.ReadInputs(p.format, in, p.input, p.known)
}

// watched remembers that writing failed.
type watched struct {
	io.Writer
	err error
}

func (w *watched) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	if err != nil {
		w.err = err
	}
	return n, err
}

// open loads the run or the checkpoint.
func (p *predictor) open(cmd *cobra.Command) error {
	var err error
	if p.known, err = optionalTask(p.task); err != nil {
		return err
	}
	if p.run != "" {
		saved, err := p.openRun(cmd, p.run, p.model, p.precision)
		if err != nil {
			return err
		}
		return p.use(saved)
	}
	backend, provenance, err := p.shared.open()
	if err != nil {
		return err
	}
	opened, err := train.OpenCheckpoint(cmd.Context(), p.model, backend, train.OpenOptions{Sources: p.sources(), Precision: p.precision})
	if p.Predictor, err = onDevices(opened, err, provenance); err != nil {
		return err
	}
	return p.limit()
}

// use takes an opened run to predict with.
func (p *predictor) use(run *train.Predictor) error {
	p.Predictor = run
	if p.known == nil && run.Task.Name != "" {
		p.known = &run.Task
	}
	return p.limit()
}

// limit settles the longest input, the run's where no flag says otherwise, within what the model has positions for.
func (p *predictor) limit() error {
	positions := p.Config().Positions()
	switch {
	case p.maxLength == 0:
		p.maxLength = min(p.Predictor.Run.MaxLength, positions)
	case p.maxLength < 3 || p.maxLength > positions:
		defer p.Close()
		return usagef("--max-length: %d is not between 3 and the model's %d positions", p.maxLength, positions)
	}
	return nil
}

// copy predicts rows, a chunk at a time, and writes them in their order.
func (p *predictor) copy(ctx context.Context, rows iter.Seq2[data.Input, error], w io.Writer) error {
	buffered := bufio.NewWriter(w)
	out := newAnswers(buffered, p.written, p.Task.Own(), p.Labels(), p.Predictor.Run.LabelSeparator)
	return p.each(ctx, rows, func(predicted []answer) error {
		for _, one := range predicted {
			if err := out.write(one); err != nil {
				return err
			}
		}
		if err := out.flush(); err != nil {
			return err
		}
		return buffered.Flush()
	})
}

// each predicts rows and hands them to do in their order: a chunk at a time, or what has come when a stream pauses.
func (p *predictor) each(ctx context.Context, rows iter.Seq2[data.Input, error], do func([]answer) error) error {
	var encoded []data.Encoded
	var rest []json.RawMessage
	whole := train.Layout{Batch: p.batch, Padding: data.PadPacked, MaxLength: p.maxLength}
	flush := func(layout train.Layout) error {
		predicted, err := p.predictions(ctx, encoded, layout)
		for i := range predicted {
			predicted[i].rest = rest[i]
		}
		if encoded, rest = encoded[:0], rest[:0]; err != nil || len(predicted) == 0 {
			return err
		}
		return do(predicted)
	}
	var paused error // is not an error of the input, as the reader of rows takes it
	if p.stream != nil {
		p.stream.idle = func() error {
			if paused = ctx.Err(); paused == nil && p.output == "-" {
				paused = flush(partial(whole, len(encoded)))
			}
			return paused
		}
	}
	for row, err := range rows {
		if paused != nil {
			return paused
		}
		if err != nil {
			return err
		}
		e, err := p.encode(row)
		if err != nil {
			return err
		}
		encoded, rest = append(encoded, e), append(rest, row.Rest)
		if len(encoded) == chunk {
			if err := flush(whole); err != nil {
				return err
			}
		}
	}
	return flush(whole)
}

// encode tokenizes a row and holds it against the model.
func (p *predictor) encode(row data.Input) (data.Encoded, error) {
	e, err := encodeInput(p.Tokenizer, row, p.maxLength)
	if err == nil {
		err = p.Config().Check(e.IDs, e.Types, len(e.IDs))
	}
	if err != nil {
		err = inputFault(p.input, row, err)
	}
	return e, err
}

// predictions computes rows, of which there may be none.
func (p *predictor) predictions(ctx context.Context, rows []data.Encoded, layout train.Layout) ([]answer, error) {
	if len(rows) == 0 {
		return nil, nil
	}
	logits, err := p.Logits(ctx, rows, layout, nil)
	if err != nil {
		return nil, err
	}
	predicted := make([]answer, len(logits))
	for i, row := range logits {
		predicted[i].Prediction = p.Interpret(row)
	}
	return predicted, nil
}
