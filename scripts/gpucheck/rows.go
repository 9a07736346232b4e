package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
)

// engineState is what doctor says of an engine.
type engineState struct {
	Name      string   `json:"name"`
	Available bool     `json:"available"`
	Plugin    string   `json:"plugin"`
	Devices   []string `json:"devices"`
	SHA256    string   `json:"sha256"`
	Remedy    string   `json:"remedy"`
}

// look is the first row: what is there. The others need its engine.
func (c *check) look(ctx context.Context) {
	c.row(ctx, "what is there", 0, func(ctx context.Context) (figure string, err error) {
		text, err := c.execute(ctx, c.scratch, c.at("deeplora"), "doctor", "--json")
		if err != nil {
			return "", err
		}
		var d struct {
			Version  string        `json:"version"`
			Go       string        `json:"go"`
			CPUs     int           `json:"cpus"`
			Memory   float64       `json:"memory_bytes"`
			Backends []engineState `json:"backends"`
		}
		if err := json.Unmarshal(text, &d); err != nil {
			return "", fmt.Errorf("doctor --json: %w", err)
		}
		c.facts = append(c.facts, fmt.Sprintf("deeplora %s, %s; %d processors, %.0f GB", d.Version, d.Go, d.CPUs, d.Memory/1e9))
		c.facts = append(c.facts, graphics(ctx)...)
		c.reference = goEngine
		for _, e := range d.Backends {
			if e.Name == c.backend {
				c.engine = e
			} else if e.Name == cpu && e.Available {
				c.reference = cpu
			}
		}
		if !c.engine.Available {
			return "", errors.New(c.engine.Remedy)
		}
		return fmt.Sprintf("%s, devices: %d, plugin sha256 %.12s", c.backend, len(c.engine.Devices), c.engine.SHA256), nil
	})
}

// graphics are the GPUs and their driver, where NVIDIA's program tells.
func graphics(ctx context.Context) []string {
	out, err := exec.CommandContext(ctx, "nvidia-smi", "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader").Output()
	if err != nil {
		return []string{"no answer of nvidia-smi: " + err.Error()}
	}
	var lines []string
	for line := range bytes.Lines(bytes.TrimSpace(out)) {
		lines = append(lines, "GPU: "+string(bytes.TrimSpace(line)))
	}
	return lines
}

// all makes the rows behind the first.
func (c *check) all(ctx context.Context) {
	if !c.engine.Available {
		c.add(row{name: "all other rows", outcome: skipped, figure: c.backend + " is not available"})
		return
	}
	c.suites(ctx, false)
	for _, precision := range []string{"f32", "bf16"} {
		c.determinism(ctx, precision)
	}
	c.precisions(ctx)
	c.padding(ctx)
	c.devices(ctx)
	c.speed(ctx)
	c.suites(ctx, true)
}

// suites makes the rows of tests that stand before those of trainings, or behind them. On a CPU all stand behind: there
// `go test` runs them too.
func (c *check) suites(ctx context.Context, last bool) {
	for _, s := range suites {
		if (s.last || c.backend == cpu) == last {
			c.goldens(ctx, s)
		}
	}
}

// deterministic is the flag by which XLA chooses a GPU's kernels without timing them, and none that sum in any order.
const deterministic = "--xla_gpu_deterministic_ops=true"

// determinism: the same command gives the same bits, also when it was interrupted and resumed.
func (c *check) determinism(ctx context.Context, precision string) {
	set := []string{"--precision", precision}
	c.row(ctx, "twice the same bits, "+precision, 2, func(ctx context.Context) (string, error) {
		return c.twice(ctx, precision, set)
	})
	if c.backend == cuda && c.rows[len(c.rows)-1].outcome == failed {
		c.row(ctx, "the same with "+deterministic, 2, func(ctx context.Context) (string, error) {
			c.xlaFlags = deterministic
			defer func() { c.xlaFlags = "" }()
			return c.twice(ctx, precision+"-deterministic", set)
		})
	}
	c.row(ctx, "interrupted and resumed, the same bits, "+precision, 2, func(ctx context.Context) (string, error) {
		whole, err := c.train(ctx, precision, set...)
		if err != nil {
			return "", err
		}
		parts, at, err := c.interrupted(ctx, precision+"-resumed", set, nil)
		if err != nil {
			return "", err
		}
		sum, err := sameBits(parts, whole)
		return fmt.Sprintf("interrupted after step %d of %d; adapter %s", at, steps, sum), err
	})
}

// twice makes a training twice and holds one against the other.
func (c *check) twice(ctx context.Context, name string, set []string) (string, error) {
	first, err := c.train(ctx, name, set...)
	if err != nil {
		return "", err
	}
	second, err := c.train(ctx, name+"-again", set...)
	if err != nil {
		return "", err
	}
	sum, err := sameBits(second, first)
	return fmt.Sprintf("%d losses; adapter %s", steps, sum), err
}

// within are how far a precision's first and last loss may be from float32's on the CPU, relative.
var within = []struct {
	precision   string
	first, last float64
}{
	{"f32", 1e-5, 1e-3}, // what TestT23GoldenTraining allows after 20 steps
	{"bf16x3", 1e-5, 1e-3},
	{"bf16", 1e-3, 3e-2}, // numbers of eight bits
}

// noTF32 is what any loss of float32 may be off. TF32's products have eleven bits and would move losses by an eighth of
// what bfloat16 does: in the 30 steps some by about 2e-4, where float32 on two engines differs by 1e-6. The first loss is
// mostly the head's and says less.
const noTF32 = 5e-5

// precisions hold losses against those of float32 on the processor.
func (c *check) precisions(ctx context.Context) {
	beside := func(ctx context.Context, precision string) (first, last, most float64, err error) {
		of, err := c.trainOn(ctx, c.reference, "reference")
		if err != nil {
			return 0, 0, 0, err
		}
		r, err := c.train(ctx, precision, "--precision", precision)
		if err != nil {
			return 0, 0, 0, err
		}
		first, last, most = apart(r, of)
		return first, last, most, nil
	}
	for _, w := range within {
		c.row(ctx, w.precision+" beside f32 on "+c.reference, c.missing(w.precision, "reference"), func(ctx context.Context) (string, error) {
			first, last, most, err := beside(ctx, w.precision)
			if err != nil {
				return "", err
			}
			figure := fmt.Sprintf("first loss off by %.1e, that of step %d by %.1e, any by %.1e at most", first, steps, last, most)
			return figure, over(figure, first > w.first || last > w.last, fmt.Sprintf("%.0e and %.0e", w.first, w.last))
		})
	}
	c.row(ctx, "TF32 is off", c.missing("f32", "reference"), func(ctx context.Context) (string, error) {
		first, _, most, err := beside(ctx, "f32")
		if err != nil {
			return "", err
		}
		figure := fmt.Sprintf("first loss of f32 off by %.1e, any by %.1e at most", first, most)
		if bf16 := c.runs["bf16"]; bf16 != nil && bf16.err == nil {
			_, _, narrow := apart(bf16, c.runs["reference"])
			figure += fmt.Sprintf("; of bf16 %.1e", narrow)
		}
		return figure, over(figure, first > 1e-5 || most > noTF32, fmt.Sprintf("1e-05 and %.0e", noTF32))
	})
}

// over is the error of a figure that is beyond what is allowed.
func over(figure string, is bool, allowed string) error {
	if !is {
		return nil
	}
	return fmt.Errorf("%s; allowed are %s", figure, allowed)
}

// padding: packed rows and buckets are the same training without dropout, whose masks go by places in a row. At the rule's
// rate, 0.012 of so few steps, losses without it swing, and what rounding does grows to 4e-4.
func (c *check) padding(ctx context.Context) {
	set := []string{"--dropout", "0", "--lr", "1e-3", "--pad"}
	c.row(ctx, "packed and padded", 2, func(ctx context.Context) (string, error) {
		packed, err := c.train(ctx, "packed", append(set, "packed")...)
		if err != nil {
			return "", err
		}
		bucket, err := c.train(ctx, "bucket", append(set, "bucket")...)
		if err != nil {
			return "", err
		}
		_, _, most := apart(packed, bucket)
		figure := fmt.Sprintf("%d losses, off by %.1e at most", steps, most)
		return figure, over(figure, most > 1e-4, "1e-04")
	})
}

// devices holds two devices against one.
func (c *check) devices(ctx context.Context) {
	set := []string{"--devices", "2"}
	row := func(name string, processes int, do func(ctx context.Context) (string, error)) {
		c.row(ctx, name, processes, func(ctx context.Context) (string, error) {
			if c.backend == cuda && len(c.engine.Devices) < 2 { // a CPU is as many as are asked for
				return "", skip(fmt.Sprintf("doctor lists %d GPU, two are needed", len(c.engine.Devices)))
			}
			return do(ctx)
		})
	}
	row("two devices as one", c.missing("f32", "two"), func(ctx context.Context) (string, error) {
		one, err := c.train(ctx, "f32", "--precision", "f32")
		if err != nil {
			return "", err
		}
		two, err := c.train(ctx, "two", set...)
		if err != nil {
			return "", err
		}
		first, last, _ := apart(two, one)
		figure := fmt.Sprintf("first loss off by %.1e, that of step %d by %.1e", first, steps, last)
		return figure, over(figure, first > 1e-6 || last > 1e-2, "1e-06 and 1e-02")
	})
	row("two devices, twice the same bits", 1, func(ctx context.Context) (string, error) {
		return c.twice(ctx, "two", set)
	})
	row("interrupted on two devices, resumed on one", 2, func(ctx context.Context) (string, error) {
		one, err := c.train(ctx, "f32", "--precision", "f32")
		if err != nil {
			return "", err
		}
		parts, at, err := c.interrupted(ctx, "two-resumed", set, []string{"--devices", "1"})
		if err != nil {
			return "", err
		}
		_, last, most := apart(parts, one)
		figure := fmt.Sprintf("interrupted after step %d; losses off by %.1e at most, the last by %.1e", at, most, last)
		return figure, over(figure, most > 1e-2, "1e-02")
	})
}

// speed is the program's own, and that beside PyTorch.
func (c *check) speed(ctx context.Context) {
	c.row(ctx, "speed on the embedded encoder", c.missing("f32", "bf16"), func(ctx context.Context) (string, error) {
		var figures []string
		for _, precision := range []string{"f32", "bf16"} {
			r, err := c.train(ctx, precision, "--precision", precision)
			if err != nil {
				return "", err
			}
			slices.Sort(r.speeds)
			figures = append(figures, fmt.Sprintf("%s: %.0f tokens/s with compiling, %.0f in the median step", precision, r.result.TokensPerSecond, r.speeds[steps/2]))
		}
		return strings.Join(figures, "; "), nil
	})
	for _, precision := range []string{"f32", "bf16"} {
		c.row(ctx, "speed beside PyTorch and PEFT, "+precision, 0, func(ctx context.Context) (string, error) {
			return c.bench(ctx, precision)
		})
	}
}
