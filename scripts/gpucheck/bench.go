package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/deeplora/deeplora/internal/jsonfile"
)

// bench times the program beside its peer by the harness of the same name. Its tables go below ours.
func (c *check) bench(ctx context.Context, precision string) (string, error) {
	if c.python == "" || c.model == "" {
		return "", skip("no --python and --model")
	}
	file := filepath.Join(c.scratch, "bench-"+precision+".json")
	_, kind, _ := strings.Cut(c.backend, ":")
	// The folder of --tests has bench/peer.py, where the harness looks for it.
	tables, err := c.execute(ctx, c.tests, c.at("bench", "bench"), "--deeplora", c.at("deeplora"), "--device", kind, "--python", c.python,
		"--model", c.model, "--only", "b,d", "--rounds", "3", "--precision", precision, "--json", file)
	figure, read := ratios(file)
	if err != nil {
		return "", c.unfinished(err, figure)
	}
	c.appendix = append(c.appendix, "Beside PyTorch and PEFT, "+precision+":\n\n"+string(tables))
	return figure, read
}

// unfinished is what a harness that did not end means, with the rounds before: no fault of ours where it was still running on
// processors, which a model of base size may be too much for.
func (c *check) unfinished(err error, rounds string) error {
	whole := err
	if rounds != "" {
		whole = joined(fmt.Errorf("%w; rounds before: %s", err, rounds), err)
	}
	if errors.Is(err, errRunning) && c.backend != cuda {
		return skip(whole.Error())
	}
	return whole
}

// ratios are those of a file of results, deeplora's seconds over the peer's, of each workload the median.
func ratios(file string) (string, error) {
	type timing struct {
		Seconds float64 `json:"seconds"`
	}
	var found struct {
		Workloads []struct {
			Name   string `json:"name"`
			Rounds []struct {
				Ours timing `json:"ours"`
				Peer timing `json:"peer"`
			} `json:"rounds"`
		} `json:"workloads"`
	}
	if err := jsonfile.Read(file, &found); err != nil {
		return "", err
	}
	var figures []string
	for _, w := range found.Workloads {
		var of []float64
		for _, r := range w.Rounds {
			if r.Peer.Seconds > 0 {
				of = append(of, r.Ours.Seconds/r.Peer.Seconds)
			}
		}
		if len(of) > 0 {
			slices.Sort(of)
			figures = append(figures, fmt.Sprintf("%s: %.2f of the peer's time (%d rounds)", w.Name, of[len(of)/2], len(of)))
		}
	}
	if len(figures) == 0 {
		return "", errors.New("no round of both sides is in the results")
	}
	return strings.Join(figures, "; "), nil
}
