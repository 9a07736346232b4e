package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/knights-analytics/hugot"
	"github.com/knights-analytics/hugot/pipelines"
)

// documents are how many hugot ranks together.
const documents = 5

// found is what came of a run.
type found struct {
	inputs, labels int // how many there are, and of how many hugot gives another label
	furthest       float64
}

func (f found) good() bool { return f.labels == 0 && f.furthest <= tolerance }

func (f found) String() string {
	return fmt.Sprintf("%d inputs, other labels %d, scores differ by at most %.1e", f.inputs, f.labels, f.furthest)
}

// answer is a label and its score, of either program.
type answer struct {
	label string
	score float64
}

// check exports a run and has its texts predicted by both.
func (o options) check(c oneCase, rows []row) (f found, err error) {
	export := filepath.Join(o.work, c.name+"-onnx")
	if err := os.RemoveAll(export); err != nil {
		return f, err
	}
	if _, err := o.deeplora(nil, "export", "--quiet", "--format", "onnx", "--run", c.run, "--out", export); err != nil {
		return f, err
	}
	last := slices.Clone(rows[len(rows)-checked:])
	scored, err := prepare(export)
	if err != nil {
		return f, err
	}
	predict := o.classes
	if scored {
		last, predict = ranked(last), crossEncoder
	} else {
		for i := range last {
			last[i].second = ""
		}
	}
	theirs, err := predict(export, last)
	if err != nil {
		return f, err
	}
	ours, err := o.predict(c.run, last)
	if err != nil {
		return f, err
	}
	if len(ours) != len(theirs) || len(ours) != checked {
		return f, fmt.Errorf("%d answers, hugot's are %d, want %d", len(ours), len(theirs), checked)
	}
	for i := range ours {
		if f.inputs++; ours[i].label != theirs[i].label {
			f.labels++
		}
		f.furthest = max(f.furthest, math.Abs(ours[i].score-theirs[i].score))
	}
	return f, nil
}

// prepare makes of an export what hugot 0.6.1 can read, as docs/onnx.md says, and reports whether it has a single logit, as
// cross encoders have. Their separator hugot takes from a file that Transformers wrote until its version 5. A config.json
// with eos_token_id it takes for a model that writes text: it pads its texts in front, but not their masks, and null it refuses.
func prepare(export string) (oneScore bool, err error) {
	path := filepath.Join(export, "config.json")
	content, err := os.ReadFile(path)
	if err != nil {
		return false, err
	}
	var config map[string]any
	if err := json.Unmarshal(content, &config); err != nil {
		return false, err
	}
	labels, _ := config["id2label"].(map[string]any)
	delete(config, "eos_token_id")
	if content, err = json.MarshalIndent(config, "", "  "); err != nil {
		return false, err
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		return false, err
	}
	err = os.WriteFile(filepath.Join(export, "special_tokens_map.json"), []byte(`{"sep_token": "[SEP]"}`), 0o644)
	return len(labels) == 1, err
}

// ranked are pairs as a cross encoder has them: a sentence beside a few others.
func ranked(rows []row) (pairs []row) {
	for i := range rows {
		pairs = append(pairs, row{rows[i/documents*documents].first, rows[i].second})
	}
	return pairs
}

// classes are hugot's labels of single texts.
func (o options) classes(export string, rows []row) (answers []answer, err error) {
	session, err := hugot.NewGoSession()
	if err != nil {
		return nil, err
	}
	defer session.Destroy()
	pipeline, err := hugot.NewPipeline(session, hugot.TextClassificationConfig{
		ModelPath: export, Name: "check",
		Options: []hugot.TextClassificationOption{pipelines.WithSoftmax()}, // else a sigmoid, of one label of several too
	})
	if err != nil {
		return nil, err
	}
	for at := 0; at < len(rows); at += o.batch {
		var texts []string
		for _, r := range rows[at:min(at+o.batch, len(rows))] {
			texts = append(texts, r.first)
		}
		out, err := pipeline.RunPipeline(texts)
		if err != nil {
			return nil, err
		}
		for _, one := range out.ClassificationOutputs {
			answers = append(answers, answer{one[0].Label, float64(one[0].Score)})
		}
	}
	return answers, nil
}

// crossEncoder are hugot's scores of pairs.
func crossEncoder(export string, rows []row) (answers []answer, err error) {
	session, err := hugot.NewGoSession()
	if err != nil {
		return nil, err
	}
	defer session.Destroy()
	pipeline, err := hugot.NewPipeline(session, hugot.CrossEncoderConfig{
		ModelPath: export, Name: "check",
		Options: []hugot.CrossEncoderOption{pipelines.WithBatchSize(documents), pipelines.WithSortResults(false)},
	})
	if err != nil {
		return nil, err
	}
	for at := 0; at < len(rows); at += documents {
		var texts []string
		for _, r := range rows[at : at+documents] {
			texts = append(texts, r.second)
		}
		out, err := pipeline.RunPipeline(rows[at].first, texts)
		if err != nil {
			return nil, err
		}
		for _, one := range out.Results {
			answers = append(answers, answer{score: float64(one.Score)})
		}
	}
	return answers, nil
}

// predict are our labels and the scores that hugot makes of logits: the label's probability, a single logit's sigmoid.
func (o options) predict(run string, rows []row) (answers []answer, err error) {
	input := &bytes.Buffer{}
	lines := json.NewEncoder(input)
	for _, r := range rows {
		one := map[string]string{"text": r.first}
		if r.second != "" {
			one["pair"] = r.second
		}
		if err := lines.Encode(one); err != nil {
			return nil, err
		}
	}
	out, err := o.deeplora(input.Bytes(), "predict", "--quiet", "--run", run, "--input", "-")
	if err != nil {
		return nil, err
	}
	for decoder := json.NewDecoder(bytes.NewReader(out)); decoder.More(); {
		var one struct {
			Label         string
			Probabilities map[string]float64
			Logits        []float64
		}
		if err := decoder.Decode(&one); err != nil {
			return nil, err
		}
		if one.Label != "" {
			answers = append(answers, answer{one.Label, one.Probabilities[one.Label]})
		} else {
			answers = append(answers, answer{score: 1 / (1 + math.Exp(-one.Logits[0]))})
		}
	}
	return answers, nil
}

// deeplora runs the program and gives what it printed.
func (o options) deeplora(input []byte, args ...string) ([]byte, error) {
	command := exec.Command(o.program, append(args, "--backend", o.backend)...)
	said := &bytes.Buffer{}
	command.Stdin, command.Stderr = bytes.NewReader(input), said
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("deeplora %s: %w\n%s", strings.Join(args, " "), err, said)
	}
	return out, nil
}
