package main

import (
	"fmt"
	"math"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/gomlx/compute/dtypes"
	"github.com/spf13/cobra"

	"github.com/deeplora/deeplora/internal/nearest"
	"github.com/deeplora/deeplora/train/export"
)

// exportFlags are the export command's own.
type exportFlags struct {
	run, model, out, format, rank, dtype, shardSize, precision string
	tolerance                                                  float64
	noVerify, force, json                                      bool
}

func exportCommand(s *shared) *cobra.Command {
	var e exportFlags
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Export a run for other programs",
		Long: `Export a finished run: merged, as a Hugging Face checkpoint that Transformers loads, as an adapter
that PEFT loads, or as an ONNX graph (onnx) that onnxruntime, optimum, Transformers.js and hugot load.
What is written is read again and compared with the run.`,
		Example: "  deeplora export --run run --format merged --out model\n" +
			"  deeplora export --run run --format peft --rank auto --tol 1e-3 --out adapter\n" +
			"  deeplora export --run run --format onnx --precision int8 --out onnx",
		RunE: func(cmd *cobra.Command, _ []string) error {
			report, err := s.export(cmd, e)
			if err != nil {
				return err
			}
			if e.json {
				return s.ui.json(report)
			}
			return s.ui.table(reportRows(report))
		},
	}
	f := cmd.Flags()
	f.StringVar(&e.run, "run", "", "directory of a finished run")
	f.StringVar(&e.model, "model", "", baseNow)
	f.StringVarP(&e.out, "out", "o", "", "directory to make")
	f.StringVar(&e.format, "format", "", "what to write: merged, peft or onnx")
	f.StringVar(&e.dtype, "dtype", "float32", "type of merged weights: float32, float16 or bfloat16")
	f.StringVar(&e.shardSize, "shard-size", "", "largest file of merged weights, as 500MB; empty: one file")
	f.StringVar(&e.rank, "rank", "", "of a peft adapter's kernels: auto, each one's numerical rank; empty: as trained")
	f.StringVar(&e.precision, "precision", "f32", `weights of an onnx file: f32; f16, half the size, computed in float32; or int8, a quarter
(what optimum calls dynamic quantization, per channel; the report says what it does to the logits)`)
	f.Float64Var(&e.tolerance, "tol", 1e-6, "smallest singular value that --rank auto keeps, relative to the kernel's largest")
	f.BoolVar(&e.noVerify, "no-verify", false, "do not read what was written again")
	f.BoolVar(&e.force, "force", false, "take another base model than the run was trained on")
	f.BoolVar(&e.json, "json", false, "print JSON")
	return cmd
}

var exportTypes = map[string]dtypes.DType{"float32": dtypes.Float32, "float16": dtypes.Float16, "bfloat16": dtypes.BFloat16}

func (s *shared) export(cmd *cobra.Command, e exportFlags) (*export.Report, error) {
	shard, err := e.check(cmd)
	if err != nil {
		return nil, err
	}
	o := export.Options{
		Run: e.run, Model: e.model, Out: e.out, Sources: s.sources(), AnyBase: e.force, Verify: !e.noVerify, Notice: s.notice,
	}
	if o.Backend, _, err = s.open(); err != nil {
		return nil, err
	}
	if e.format == "merged" {
		// A tensor is read, merged, turned and written: left to themselves, the word embeddings of BERT-base would
		// lie in memory five times before the collector looks.
		defer debug.SetGCPercent(debug.SetGCPercent(10))
		return export.Merged{Options: o, DType: exportTypes[e.dtype], ShardBytes: shard}.Write(cmd.Context())
	}
	if e.format == "onnx" {
		return export.ONNX{Options: o, Precision: e.precision, Version: version()}.Write(cmd.Context())
	}
	return export.PEFT{Options: o, AutoRank: e.rank == "auto", Tolerance: e.tolerance}.Write(cmd.Context())
}

// notice writes a line that the user should know.
func (s *shared) notice(format string, args ...any) { s.ui.line("note: "+format, args...) }

// check refuses what cannot be meant, before an engine is started.
func (e exportFlags) check(cmd *cobra.Command) (shard int64, err error) {
	if e.run == "" || e.out == "" {
		return 0, usagef("give --run, the directory of a finished run, and --out, the directory to make")
	}
	if err := oneOf("--format", e.format, "merged", "peft", "onnx"); err != nil {
		return 0, err
	}
	if err := oneOf("--precision", e.precision, export.ONNXPrecisions()...); err != nil {
		return 0, err
	}
	if err := oneOf("--dtype", e.dtype, "float32", "float16", "bfloat16"); err != nil {
		return 0, err
	}
	for _, only := range []struct{ flag, format string }{{"dtype", "merged"}, {"shard-size", "merged"}, {"rank", "peft"}, {"tol", "peft"}, {"precision", "onnx"}} {
		if cmd.Flags().Changed(only.flag) && e.format != only.format {
			return 0, usagef("--%s belongs to --format %s", only.flag, only.format)
		}
	}
	if e.rank != "" && e.rank != "auto" {
		return 0, usagef("--rank: %q is unknown; want auto, or nothing for the factors as they were trained", e.rank)
	}
	if cmd.Flags().Changed("tol") && e.rank != "auto" {
		return 0, usagef("--tol belongs to --rank auto")
	}
	if !(e.tolerance >= 0 && e.tolerance < 1) {
		return 0, usagef("--tol: %g is not between 0 and below 1", e.tolerance)
	}
	return parseSize(e.shardSize)
}

func oneOf(flag, value string, known ...string) error {
	switch {
	case slices.Contains(known, value):
		return nil
	case value == "":
		return usagef("give %s: %s", flag, strings.Join(known, " or "))
	default:
		return usagef("%s: %q is unknown; nearest: %s (known: %s)", flag, value, nearest.Of(value, known), strings.Join(known, " "))
	}
}

// parseSize reads a size as Transformers writes them: 500MB, 5GB, 1GiB, or bytes.
func parseSize(text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	number, unit := strings.TrimSpace(text), 1.0
	for _, u := range []struct {
		suffix string
		bytes  float64
	}{{"KIB", 1 << 10}, {"MIB", 1 << 20}, {"GIB", 1 << 30}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}} {
		if n, ok := strings.CutSuffix(strings.ToUpper(number), u.suffix); ok {
			number, unit = strings.TrimSpace(n), u.bytes
			break
		}
	}
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || !(n*unit >= 1) || n*unit > math.MaxInt64/2 {
		return 0, usagef("--shard-size: %q is not a size; want one as 500MB, 5GB or 1GiB", text)
	}
	return int64(n * unit), nil
}

func reportRows(r *export.Report) [][]string {
	rows := [][]string{
		{"format", r.Format},
		{"written", fmt.Sprintf("%s: %d tensors, %d bytes", r.Out, r.Tensors, r.Bytes)},
		{"adapted kernels", strconv.Itoa(r.Kernels)},
	}
	if t := r.Truncation; t != nil {
		rows = append(rows, []string{"ranks", t.String()})
	}
	return append(rows, []string{"verified", verifiedText(r.Verified)})
}

// verifiedText says what a verification found; nil is one that was not asked for.
func verifiedText(v *export.Verification) string {
	if v == nil {
		return "no (--no-verify)"
	}
	return fmt.Sprintf("logits of %d examples differ by at most %.2g, %.2g is allowed", v.Examples, v.MaxDifference, v.Tolerance)
}
