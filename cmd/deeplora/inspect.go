package main

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/deeplora/deeplora/lora"
	"github.com/deeplora/deeplora/model"
	"github.com/deeplora/deeplora/train"
)

func inspectCommand(s *shared) *cobra.Command {
	c := train.Default()
	var of runInspection
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "inspect",
		Short: "Show a model's kernels and what an adapter adds to them",
		Long: `Show the kernels of a model, which of them each scope adapts, and how many parameters an
adapter has on them: nothing is trained and no weight is read. With --run, show what a finished
run has added to each kernel: the singular values of ΔK, its effective and numerical rank, its
norm beside the kernel's, and the angles to the gradient that training began with.`,
		Example: "  deeplora inspect --model ./bert-base-uncased --scope all-dense --method deep-compressed --rank 8\n" +
			"  deeplora inspect --run run --svg spectra.svg",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := of.check(cmd.Flags()); err != nil {
				return err
			}
			if of.run != "" {
				return s.inspectRun(cmd, of, movedBase(cmd, c.Model), asJSON)
			}
			files, _, err := s.sources().Model(cmd.Context(), c.Model)
			if err != nil {
				return err
			}
			config, err := model.ReadConfig(files, "config.json")
			if err != nil {
				return fmt.Errorf("model %s: %w", c.Model, err)
			}
			if _, err := c.ResolvePooling(files); err != nil {
				return fmt.Errorf("model %s: %w", c.Model, err)
			}
			config.Pooling = model.Pooling(c.Pooling)
			report, err := inspect(config, c)
			if err != nil {
				return err
			}
			if report.notice != "" {
				s.ui.line("note: %s", report.notice)
			}
			if asJSON {
				return s.ui.json(report)
			}
			return s.ui.table(report.rows())
		},
	}
	f := cmd.Flags()
	bindSome(f, &c, "model", "scope", "target", "min-dim", "method", "rank", "depth", "pooling")
	of.bind(f)
	f.Lookup("model").Usage += "; beside --run: " + baseNow
	f.BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// inspection is what inspect prints.
type inspection struct {
	Model      int                `json:"model_parameters"`
	Method     string             `json:"method"`
	Rank       int                `json:"rank"`
	Scope      string             `json:"scope"`
	Adapted    int                `json:"adapted_kernels"`
	Parameters int                `json:"adapter_parameters"`
	Kernels    []inspectedKernel  `json:"kernels"`
	Scopes     map[string]scopeOf `json:"scopes"` // every scope with this method and rank

	notice string
}

type inspectedKernel struct {
	Name       string `json:"name"`
	In         int    `json:"in"`
	Out        int    `json:"out"`
	Parameters int    `json:"adapter_parameters"` // 0: not adapted
	Part       string `json:"part"`               // what it does in its encoder
}

type scopeOf struct {
	Kernels    int `json:"kernels"`
	Parameters int `json:"parameters"`
}

func inspect(config *model.Config, c train.Config) (*inspection, error) {
	if err := c.Resolve(); err != nil {
		return nil, usageError{err}
	}
	adapter, err := lora.New(c.Method, c.Settings)
	if err != nil {
		return nil, usageError{err}
	}
	r := &inspection{Method: c.Method, Rank: c.Rank, Scope: c.Scope, Scopes: map[string]scopeOf{}}
	if len(c.Target) > 0 {
		r.Scope = strings.Join(c.Target, " ")
	}
	for _, spec := range config.Specs() {
		size := 1
		for _, n := range spec.Shape {
			size *= n
		}
		r.Model += size
	}
	selected, _, notice, err := train.SelectKernels(config, lora.Scope{Name: c.Scope, Patterns: c.Target, MinDim: c.MinDim})
	if err != nil {
		return nil, usageError{err}
	}
	r.notice = notice
	adapted := map[string]int{}
	for _, k := range selected {
		if adapted[k.Name], err = lora.Count(adapter, shapesOf(k)); err != nil {
			return nil, usageError{err}
		}
	}
	for _, k := range config.Kernels() {
		r.Kernels = append(r.Kernels, inspectedKernel{k.Name, k.In, k.Out, adapted[k.Name], k.Part})
		r.Parameters += adapted[k.Name]
	}
	r.Adapted = len(selected)
	for _, scope := range lora.Scopes() {
		of, _, _, err := train.SelectKernels(config, lora.Scope{Name: scope, MinDim: c.MinDim})
		if err != nil {
			continue // a scope that does not fit this model is not this one's fault
		}
		if n, err := lora.Count(adapter, shapesOf(of...)); err == nil {
			r.Scopes[scope] = scopeOf{len(of), n}
		}
	}
	return r, nil
}

func shapesOf(kernels ...model.Kernel) []lora.Shape {
	var shapes []lora.Shape
	for _, k := range kernels {
		shapes = append(shapes, lora.Shape{Name: k.Name, In: k.In, Out: k.Out, Part: k.Part})
	}
	return shapes
}

func (r *inspection) rows() [][]string {
	rows := [][]string{{"kernel", "in", "out", r.Method + " r=" + strconv.Itoa(r.Rank)}}
	for _, k := range r.Kernels {
		parameters := "-"
		if k.Parameters > 0 {
			parameters = strconv.Itoa(k.Parameters)
		}
		rows = append(rows, []string{k.Name, strconv.Itoa(k.In), strconv.Itoa(k.Out), parameters})
	}
	rows = append(rows, []string{}, []string{"scope", "kernels", "", "parameters"})
	for _, name := range lora.Scopes() {
		if scope, ok := r.Scopes[name]; ok {
			rows = append(rows, []string{name, strconv.Itoa(scope.Kernels), "", strconv.Itoa(scope.Parameters)})
		}
	}
	return append(rows, []string{}, []string{"model", "", "", strconv.Itoa(r.Model)})
}
