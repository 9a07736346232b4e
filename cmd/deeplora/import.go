package main

import (
	"cmp"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/train"
	"github.com/deeplora/deeplora/train/export"
)

func importCommand(s *shared) *cobra.Command {
	var i export.Import
	var format string
	var noVerify, asJSON bool
	cmd := &cobra.Command{
		Use:   "import",
		Short: "Make a run of another program's adapter",
		Long: `Make a finished run of a LoRA adapter that PEFT wrote, to evaluate, predict with and export. An
adapter that deeplora export wrote comes back with the factors it was trained with.`,
		Example: "  deeplora import --format peft --in adapter --model ./bert-base-uncased --out run",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if i.In == "" || i.Model == "" || i.Out == "" {
				return usagef("give --in, the adapter's directory, --model, what it was trained on, and --out, the run to make")
			}
			if err := oneOf("--format", format, "peft"); err != nil {
				return err
			}
			if i.Task != "" {
				if _, err := data.LookupTask(i.Task); err != nil {
					return usageError{err}
				}
			}
			i.Verify = !noVerify
			done, err := s.importAdapter(cmd, i)
			if err != nil {
				return err
			}
			if asJSON {
				return s.ui.json(done)
			}
			return s.ui.table(importedRows(done))
		},
	}
	f := cmd.Flags()
	f.StringVar(&format, "format", "", "what to read: peft")
	f.StringVar(&i.In, "in", "", "directory of the adapter")
	f.StringVar(&i.Model, "model", "", "base model: a directory, a hub id, or builtin:tiny")
	f.StringVarP(&i.Out, "out", "o", "", "run directory to make")
	f.StringVar(&i.Task, "task", "", "task it was trained on: classification, regression, multilabel or one of GLUE (default what our own export says, or not known)")
	f.BoolVar(&noVerify, "no-verify", false, "do not read what was written again")
	f.BoolVar(&i.AnyBase, "force", false, "take another base model than the adapter was trained on")
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (s *shared) importAdapter(cmd *cobra.Command, i export.Import) (*export.Imported, error) {
	c := train.Config{Model: i.Model}
	err := c.Absolute()
	if err != nil {
		return nil, err
	}
	i.Model = c.Model
	if i.Backend, i.Provenance, err = s.open(); err != nil {
		return nil, err
	}
	i.Sources, i.Notice = s.sources(), s.notice
	return i.Write(cmd.Context())
}

func importedRows(i *export.Imported) [][]string {
	factors := "folded to two, as the adapter has them"
	if i.Factors {
		factors = "as they were trained"
	}
	return [][]string{
		{"run", i.Out},
		{"method", i.Method},
		{"task", cmp.Or(i.Task, "not known")},
		{"labels", strings.Join(i.Labels, ", ")},
		{"adapted kernels", strconv.Itoa(i.Kernels)},
		{"factors", factors},
		{"verified", verifiedText(i.Verified)},
	}
}
