package main

import (
	"context"
	"strconv"
	"sync"

	"github.com/gomlx/compute"
	"github.com/spf13/cobra"

	"github.com/deeplora/deeplora/train"
	"github.com/deeplora/deeplora/train/export"
)

func glueSubmitCommand(s *shared) *cobra.Command {
	submission := export.Submission{}
	var out, precision string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "glue-submit --runs DIR… --out FILE.zip",
		Short: "Predict GLUE's test splits and make a submission of them",
		Long: `Predict GLUE's test splits with finished runs and write the zip that its server takes: eleven
files, each checked for its rows and labels. An mnli run answers mnli-mm and ax too.`,
		Example: "  deeplora glue-submit --runs runs/* --out submission.zip\n" +
			"  deeplora glue-submit --runs run-rte --runs run-stsb --data ./glue --fill-missing --out submission.zip",
		Args: cobra.ArbitraryArgs, // what a shell makes of --runs runs/*
		RunE: func(cmd *cobra.Command, args []string) error {
			submission.Runs = append(submission.Runs, args...)
			if len(submission.Runs) == 0 || out == "" {
				return usagef("give --runs, directories of finished runs, and --out, the zip to write")
			}
			if err := checkPrecision(precision); err != nil {
				return err
			}
			files, err := s.submit(cmd, submission, out, precision)
			if err != nil {
				return err
			}
			if asJSON {
				return s.ui.json(files)
			}
			return s.ui.table(submissionRows(files))
		},
	}
	f := cmd.Flags()
	f.StringArrayVar(&submission.Runs, "runs", nil, "directories of finished runs, one a task (repeatable)")
	f.StringVarP(&out, "out", "o", "", "zip to write")
	f.StringVar(&submission.Data, "data", "", "directory with the tasks' folders, or hub (default each run's own data)")
	f.BoolVar(&submission.Fill, "fill-missing", false, "give tasks without a run constant answers, instead of an error")
	bindPrecision(f, &precision)
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// submit predicts and writes a submission on one backend, opened when the first run is.
func (s *shared) submit(cmd *cobra.Command, submission export.Submission, out, precision string) ([]export.SubmittedFile, error) {
	backend := sync.OnceValues(func() (compute.Backend, error) {
		b, _, err := s.open()
		return b, err
	})
	submission.Sources = s.sources()
	submission.Open = func(ctx context.Context, run string) (export.Answerer, error) {
		b, err := backend()
		if err != nil {
			return nil, err
		}
		return train.Open(ctx, run, b, train.OpenOptions{Sources: s.sources(), Precision: precision})
	}
	submission.Notice = func(format string, args ...any) { s.ui.line("note: "+format, args...) }
	submission.Progress = func(phase string, done, total int) { s.ui.progress(phase, done, total, counted(done, total)) }
	return submission.Write(cmd.Context(), out)
}

func submissionRows(files []export.SubmittedFile) [][]string {
	rows := [][]string{{"file", "rows", "truncated", "run"}}
	for _, f := range files {
		from := f.Run
		if f.Filled {
			from = "none: constant answers"
		}
		rows = append(rows, []string{f.File, strconv.Itoa(f.Rows), strconv.Itoa(f.Truncated), from})
	}
	return rows
}
