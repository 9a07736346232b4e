package export

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"text/template"
	"unicode"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/atomicfile"
	"github.com/deeplora/deeplora/model"
	"github.com/deeplora/deeplora/train"
)

// card is what a model card is filled in with.
type card struct {
	*train.Finished
	Manifest *data.Manifest // nil for an imported adapter
	Result   *train.Result  // likewise
	Metrics  []string       // "pearson 0.8123"
	Rank     string         // as the method has one
	Note     string         // of the export
	Class    string         // of the model in Transformers
	Encoder  string         // what the class calls its encoder
	Outputs  string         // and its layer of outputs
}

func newCard(s *train.Finished) (*card, error) {
	config, err := model.ReadConfig(s.Base, "config.json")
	if err != nil {
		return nil, fmt.Errorf("model %s: %w", s.Run.Model, err)
	}
	c := &card{
		Finished: s, Rank: fmt.Sprint(s.Adapter.Rank), Class: model.SequenceClassification.Class(config),
		Encoder: config.EncoderName(), Outputs: strings.TrimSuffix(config.HeadNames()[0], ".weight"),
	}
	if s.Adapter.Method == "deep-wide" {
		c.Rank = "full width"
	}
	m, err := data.ReadManifest(filepath.Join(s.Dir, "manifest.json"))
	switch {
	case err == nil:
		c.Manifest = m
	case !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	r, err := train.ReadResult(s.Dir)
	switch {
	case err == nil && len(r.Metrics) > 0:
		c.Result = &r
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	if c.Result != nil {
		for _, name := range slices.Sorted(maps.Keys(r.Metrics)) {
			value := "undefined"
			if v := r.Metrics[name]; !math.IsNaN(v) {
				value = fmt.Sprintf("%.4f", v)
			}
			c.Metrics = append(c.Metrics, name+" "+value)
		}
	}
	return c, nil
}

// Pooled is in PyTorch what the classifier reads, where Transformers' class reads something else; else "".
func (c *card) Pooled() string {
	return map[model.Pooling]string{
		"cls":  "states[:, 0]",
		"mean": "(states * mask).sum(1) / mask.sum(1)",
		"max":  "states.masked_fill(mask == 0, float(\"-inf\")).max(1).values",
	}[c.Adapter.Pooling]
}

// What a card tells how to use.
const (
	mergedCard = "merged"
	peftCard   = "peft"
	onnxCard   = "onnx"
)

func (c *card) write(path, kind string) error {
	var text bytes.Buffer
	if err := cards.ExecuteTemplate(&text, kind, c); err != nil {
		return fmt.Errorf("model card: %w", err)
	}
	return atomicfile.WriteBytes(path, text.Bytes())
}

var cards = template.Must(template.New("").Funcs(template.FuncMap{
	"join": func(list []string) string { return inline(strings.Join(list, ", ")) },
	"code": func(s string) string { return "`" + strings.NewReplacer("`", "'", "|", "∣").Replace(shown(s)) + "`" },
}).Parse(`
{{- define "front"}}---
library_name: {{.}}
pipeline_tag: text-classification
tags:
- deep-lora
- lora
---
{{end}}

{{- define "facts"}}
## How it was made

| | |
|---|---|
| Method | {{.Adapter.Method}}{{if gt .Adapter.Depth 2}}, depth {{.Adapter.Depth}}{{end}} |
| Rank | {{.Rank}} |
| Adapted kernels | {{len .Adapter.Kernels}} |
{{- if .Run.Scope}}
| Scope | {{.Run.Scope}} |
{{- end}}
| Head | {{if .Adapter.HeadTrained}}trained{{else}}frozen{{end}}, classes {{join .Adapter.Labels}} ({{.Adapter.ProblemType}}) |
| Pooling | {{with .Adapter.Pooling}}{{.}}{{else}}head{{end}} |
| Longest example | {{.Adapter.MaxLength}} tokens |
| Base model | {{code .Run.Model}} |
{{- range .Adapter.BaseFiles}}
| Base file {{code .File}} | sha256 {{code .SHA256}} |
{{- end}}
{{- if .Result}}
| Training | {{.Result.Steps}} steps, seed {{.Result.Seed}}, {{.Result.Parameters}} parameters |
{{- end}}
{{with .Manifest}}
## Training data

{{.Task}}, split {{.Split}}: {{.N}} of {{.Rows}} rows, drawn by the rule {{code .Rule}} with seed {{.Seed}}, of {{code .File}} (sha256 {{code .SHA256}}).
{{end}}
{{- if .Result}}
## Metrics

{{.Result.Task}}, split {{.Result.Split}}, {{.Result.Examples}} examples{{if .Result.Dropped}}, {{.Result.Dropped}} overlong ones left out{{end}}: {{join .Metrics}}.
{{end}}
{{- end}}

{{- define "merged"}}{{template "front" "transformers"}}
# {{.Class}}{{with .Adapter.Task}} for {{.}}{{else}}, fine-tuned{{end}}

A {{.Class}}, fine-tuned with [Deep LoRA](https://arxiv.org/abs/2406.04112); its adapter is merged into the weights.

` + "```python" + `
from transformers import AutoModelForSequenceClassification, AutoTokenizer

model = AutoModelForSequenceClassification.from_pretrained("PATH")
tokenizer = AutoTokenizer.from_pretrained("PATH")
` + "```" + `
{{template "facts" .}}{{end}}

{{- define "onnx"}}{{template "front" "onnx"}}
# {{.Class}}{{with .Adapter.Task}} for {{.}}{{else}}, fine-tuned{{end}}, in ONNX

A {{.Class}}, fine-tuned with [Deep LoRA](https://arxiv.org/abs/2406.04112); its adapter is merged into the weights.

` + "```python" + `
from onnxruntime import InferenceSession
from transformers import AutoTokenizer

session = InferenceSession("PATH/model.onnx")
tokenizer = AutoTokenizer.from_pretrained("PATH")
batch = tokenizer(["A text.", "Another one."], padding=True, return_tensors="np")
logits = session.run(["logits"], {i.name: batch[i.name] for i in session.get_inputs()})[0]
` + "```" + `
{{template "facts" .}}{{end}}

{{- define "peft"}}{{template "front" "peft"}}
# An adapter of {{.Class}}{{with .Adapter.Task}} for {{.}}{{end}}

A LoRA adapter that [Deep LoRA](https://arxiv.org/abs/2406.04112) trained, its factors folded into LoRA's two. {{.Note}}

` + "```python" + `
from peft import PeftModel
from transformers import AutoModelForSequenceClassification

base = AutoModelForSequenceClassification.from_pretrained({{printf "%q" .Run.Model}}, num_labels={{len .Adapter.Labels}}, dtype="float32")
model = PeftModel.from_pretrained(base, "PATH")
` + "```" + `
{{with .Pooled}}
Its classifier reads the {{$.Adapter.Pooling}} of the last states, not what the class's pooler gives: call this, not ` + "`model(...)`" + `.

` + "```python" + `
def logits(attention_mask, **inputs):
    states = base.{{$.Encoder}}(attention_mask=attention_mask, **inputs).last_hidden_state
    mask = attention_mask.unsqueeze(-1).to(states.dtype)
    return base.{{$.Outputs}}({{.}})
` + "```" + `
{{end}}
` + "`deeplora/`" + ` holds the factors as they were trained: ` + "`deeplora import`" + ` takes them from there.
{{template "facts" .}}{{end}}
`))

// inline is text from a file, such as the name of a class, as Markdown shows it: no markup, no table's cell, no line
// of its own.
func inline(text string) string {
	var b strings.Builder
	for _, r := range shown(text) {
		if strings.ContainsRune("\\`*[]<>|#&!", r) {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// shown leaves out what commands a terminal or turns the direction of a text.
func shown(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) {
			return '\ufffd'
		}
		return r
	}, text)
}
