// Command bench times deeplora side by side with its peer, Transformers and PEFT on PyTorch: in turn, in one run, on
// the same machine, so that the ratio means something where absolute times do not. Before it times anything it
// checks that both compute the same logits and loss from the same weights.
//
//	make build
//	go run ./scripts/bertbase --tokenizer DIR --labels 1 --out bert
//	go run ./bench --model bert --minilm DIR --glue DIR --python .venv/bin/python --json bench.json
//	go run ./bench --table bench.json
//
// SST-2 and RTE have two classes: d2 and d3 want a checkpoint whose head does too (--labels 2), or none.
//
// What cannot be run is left out with a line that says why; without any flag deeplora runs alone, on its embedded
// encoder. With --json every round that ends is kept, and the same line again goes on where it was stopped. The table
// on standard output is Markdown. workloads.go says what is timed, flops.go how work is counted.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/deeplora/deeplora/internal/jsonfile"
	"github.com/deeplora/deeplora/model"
)

type settings struct {
	binary, python, model, minilm, glue string
	only                                []string // names of workloads; none: all
	rounds                              int
	json, table, scaling                string // files
	more                                []string
	conditions
}

// conditions are what times depend on: a file of results has one set of them.
type conditions struct {
	Device  string `json:"device"`  // cpu or cuda
	Threads int    `json:"threads"` // 0: all
	Steps   int    `json:"steps"`   // of a process that steps are timed of; the first is not counted

	Precision string `json:"precision,omitempty"` // deeplora's --precision; with bf16 the peer computes under autocast
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == peakCommand {
		if err := peakProcess(os.Args[2:], os.Stdout); err != nil {
			fail(err)
		}
		return
	}
	s, err := parse(os.Args[1:], os.Stderr)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		err = run(ctx, s)
	}
	if err != nil {
		fail(err)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "bench:", err)
	os.Exit(1)
}

// parse reads the command line; usage and faults go to w.
func parse(args []string, w io.Writer) (settings, error) {
	var s settings
	var only, more string
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(w)
	f.StringVar(&s.binary, "deeplora", "bin/deeplora", "program to time")
	f.StringVar(&s.python, "python", os.Getenv("DEEPLORA_PEER_PYTHON"), "Python with torch, transformers and peft; without one deeplora runs alone")
	f.StringVar(&s.model, "model", "", "checkpoint of BERT-base's shape (default the embedded encoder)")
	f.StringVar(&s.minilm, "minilm", "", "checkpoint of MiniLM, for workload e")
	f.StringVar(&s.glue, "glue", "", "directory with STS-B, SST-2 and RTE (default the embedded rows of STS-B)")
	f.StringVar(&only, "only", "", "workloads, by commas (default all: "+strings.Join(names(), ",")+")")
	f.IntVar(&s.rounds, "rounds", 5, "times each workload is run on both sides, in turn")
	f.IntVar(&s.Steps, "steps", 6, "steps of a process that steps are timed of; the first is not counted")
	f.IntVar(&s.Threads, "threads", 0, "threads of both sides; 0: all")
	f.StringVar(&s.Device, "device", "cpu", "where both sides compute: cpu or cuda")
	f.StringVar(&s.Precision, "precision", "f32", "deeplora's --precision: f32, bf16 or bf16x3; with bf16 the peer computes under autocast(bfloat16)")
	f.StringVar(&s.json, "json", "", "file that keeps every round; a run with the same file goes on")
	f.StringVar(&s.table, "table", "", "print the table of such a file, and run nothing; of two, by commas, both precisions beside each other")
	f.StringVar(&s.scaling, "scaling", "", "file of step times against tokens, lengths, rank, kernels and model, to measure instead, with pictures beside it")
	f.StringVar(&more, "models", "", "more checkpoints for --scaling, by commas")
	if err := f.Parse(args); err != nil {
		return s, err
	}
	if more != "" {
		s.more = strings.Split(more, ",")
	}
	if only != "" {
		s.only = strings.Split(only, ",")
	}
	return s, s.check(f.Args())
}

func (s *settings) check(rest []string) error {
	var faults []error
	if len(rest) > 0 {
		faults = append(faults, fmt.Errorf("%q: flags only", rest[0]))
	}
	for _, name := range s.only {
		if _, ok := lookup(name); !ok {
			faults = append(faults, fmt.Errorf("--only: there is no workload %q (known: %s)", name, strings.Join(names(), " ")))
		}
	}
	if known := model.F32.All(); !slices.Contains(known, s.Precision) {
		faults = append(faults, fmt.Errorf("--precision %s: want one of %s", s.Precision, strings.Join(known, " ")))
	}
	if s.Device != "cpu" && s.Device != "cuda" {
		faults = append(faults, fmt.Errorf("--device %s: want cpu or cuda", s.Device))
	}
	if s.rounds < 1 || s.Steps < 2 || s.Threads < 0 {
		faults = append(faults, fmt.Errorf("--rounds %d --steps %d --threads %d: want at least 1, 2 and 0", s.rounds, s.Steps, s.Threads))
	}
	return errors.Join(faults...)
}

// printTables prints the table of a file of results, or of two the one that compares them.
func printTables(w io.Writer, files []string) error {
	of := make([]results, len(files))
	for i, file := range files {
		if err := jsonfile.Read(file, &of[i]); err != nil {
			return err
		}
	}
	text := ""
	switch len(of) {
	case 1:
		text = table(&of[0])
	case 2:
		text = beside(&of[0], &of[1])
	default:
		return fmt.Errorf("--table: %d files; want one, or two to compare", len(files))
	}
	_, err := io.WriteString(w, text)
	return err
}

func run(ctx context.Context, s settings) error {
	if s.table != "" {
		return printTables(os.Stdout, strings.Split(s.table, ","))
	}
	b, err := open(ctx, s)
	if err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	if s.scaling != "" {
		return b.scale(ctx)
	}
	var faults []error // a workload that fails does not keep the others from being measured
	for _, w := range workloads {
		if len(s.only) > 0 && !slices.Contains(s.only, w.Name) {
			continue
		}
		if why := b.leftOut(w); why != "" {
			b.note("%s is left out: %s", w.Name, why)
			continue
		}
		if err := b.measure(ctx, w); err != nil {
			faults = append(faults, fmt.Errorf("workload %s: %w", w.Name, err))
		}
		if ctx.Err() != nil {
			break
		}
	}
	_, err = io.WriteString(os.Stdout, table(&b.results))
	return errors.Join(append(faults, err)...)
}
