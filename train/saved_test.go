package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/internal/jsonfile"
	"github.com/deeplora/deeplora/internal/rundir"
	"github.com/deeplora/deeplora/lora"
	"github.com/deeplora/deeplora/train/loop"

	"github.com/gomlx/compute"
	"github.com/gomlx/gomlx/core/tensors"

	"github.com/deeplora/deeplora/internal/sums"
	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/model"
)

// copyTree copies a folder of files and folders.
func copyTree(t *testing.T, from, to string) {
	t.Helper()
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
}

// edit rewrites a file.
func edit(t *testing.T, path string, change func(text string) string) {
	t.Helper()
	text := string(fileBytes(t, path))
	changed := change(text)
	if changed == text {
		t.Fatalf("%s: the edit changes nothing", path)
	}
	if err := os.WriteFile(path, []byte(changed), 0o644); err != nil {
		t.Fatal(err)
	}
}

// flip changes one bit of a file's last byte.
func flip(text string) string {
	return text[:len(text)-1] + string([]byte{text[len(text)-1] ^ 1})
}

// rewriteAdapter changes the tensors of an adapter and writes it anew, its sum included: such a file is not
// damaged, but it is not the adapter that its description says.
func rewriteAdapter(t *testing.T, dir string, change func(values map[string]*tensors.Tensor)) {
	t.Helper()
	info, values, err := readAdapter(dir)
	if err != nil {
		t.Fatal(err)
	}
	change(values)
	var list []loop.NamedTensor
	for name, v := range values {
		list = append(list, loop.NamedTensor{Name: name, Value: v})
	}
	if err := writeAdapter(dir, info, list); err != nil {
		t.Fatal(err)
	}
}

const adaptedQuery = "bert.encoder.layer.0.attention.self.query"

// What a user sees of each way in which a saved run can be wrong.
func TestOpenErrors(t *testing.T) {
	b := testbackend.All(t)[0]
	base := filepath.Join(t.TempDir(), "base")
	copyTree(t, smallModel(), base)
	run := filepath.Join(t.TempDir(), "run")
	c := small()
	c.Model, c.Steps, c.Warmup = base, 1, 0
	trainSmall(t, b, c, run)
	adapterFile := func(dir string) string { return filepath.Join(dir, adapterDir, adapterTensors) }
	description := func(dir string) string { return filepath.Join(dir, adapterDir, adapterJSON) }
	replace := func(from, to string) func(string) string {
		return func(text string) string { return strings.Replace(text, from, to, 1) }
	}
	describe := func(t *testing.T, dir string, change func(string) string) { // sums included: not damage
		edit(t, description(dir), change)
		if err := sums.Write(filepath.Join(dir, adapterDir), adapterJSON, adapterTensors); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		name string
		bend func(t *testing.T, dir, base string)
		is   error
		want string // DIR stands for the run, BASE for the model
	}{
		{
			"a bit of the tensors flipped", func(t *testing.T, dir, _ string) { edit(t, adapterFile(dir), flip) }, loop.ErrCorrupt,
			"DIR/adapter: adapter.safetensors: file is damaged: its sha256 is SUM, SHA256SUMS has SUMREMEDY",
		},
		{
			"tensors cut short", func(t *testing.T, dir, _ string) {
				edit(t, adapterFile(dir), func(text string) string { return text[:len(text)/2] })
			}, loop.ErrCorrupt,
			"DIR/adapter: adapter.safetensors: file is damaged: its sha256 is SUM, SHA256SUMS has SUMREMEDY",
		},
		{
			"sums removed", func(t *testing.T, dir, _ string) {
				if err := os.Remove(filepath.Join(dir, adapterDir, sums.File)); err != nil {
					t.Fatal(err)
				}
			}, loop.ErrCorrupt, "DIR/adapter: file is damaged: its SHA256SUMS is missingREMEDY",
		},
		{
			"a digit of the description changed", func(t *testing.T, dir, _ string) { edit(t, description(dir), replace(`"rank": 4`, `"rank": 5`)) }, loop.ErrCorrupt,
			"DIR/adapter: adapter.json: file is damaged: its sha256 is SUM, SHA256SUMS has SUMREMEDY",
		},
		{
			"unknown field", func(t *testing.T, dir, _ string) { describe(t, dir, replace(`"rank"`, `"rnak"`)) }, loop.ErrCorrupt,
			`DIR/adapter/adapter.json: file is damaged: json: unknown field "rnak"REMEDY`,
		},
		{
			"text after the description", func(t *testing.T, dir, _ string) {
				describe(t, dir, func(text string) string { return text + "]" })
			}, loop.ErrCorrupt, `DIR/adapter/adapter.json: file is damaged: text after the JSON valueREMEDY`,
		},
		{
			"version of a newer program", func(t *testing.T, dir, _ string) {
				describe(t, dir, replace(`"version": 2`, `"version": 3`))
			}, nil, `DIR/adapter/adapter.json: version 3; this program reads up to version 2`,
		},
		{
			"unknown method", func(t *testing.T, dir, _ string) {
				describe(t, dir, replace(`"deep-compressed"`, `"deep-future"`))
			}, nil, `DIR: unknown method "deep-future"; nearest: deep-wide (known: vanilla deep-wide deep-narrow deep-compressed rslora lora-plus lora-sb)`,
		},
		{
			"unknown task", func(t *testing.T, dir, _ string) { describe(t, dir, replace(`"stsb"`, `"sts"`)) }, nil,
			`DIR: unknown task "sts"; nearest: stsb (known: cola sst2 mrpc stsb qqp mnli mnli-mm qnli rte wnli ax classification regression multilabel)`,
		},
		{
			"settings that disagree", func(t *testing.T, dir, _ string) {
				describe(t, dir, replace(`"rank": 4`, `"rank": 6`))
			}, nil, `DIR: method deep-compressed: alpha 4; only vanilla, with another init than reference, scales its update`,
		},
		{
			"missing factor", func(t *testing.T, dir, _ string) {
				rewriteAdapter(t, filepath.Join(dir, adapterDir), func(v map[string]*tensors.Tensor) { delete(v, adaptedQuery+".W2") })
			}, nil, `DIR: tensor "bert.encoder.layer.0.attention.self.query.W2" is missing`,
		},
		{
			"misshapen factor", func(t *testing.T, dir, _ string) {
				rewriteAdapter(t, filepath.Join(dir, adapterDir), func(v map[string]*tensors.Tensor) {
					v[adaptedQuery+".W2"] = tensors.FromFlatDataAndDimensions(make([]float32, 8), 2, 4)
				})
			}, nil, `DIR: tensor "bert.encoder.layer.0.attention.self.query.W2" is [2 4], want [4 4]`,
		},
		{
			"unexpected factor", func(t *testing.T, dir, _ string) {
				rewriteAdapter(t, filepath.Join(dir, adapterDir), func(v map[string]*tensors.Tensor) {
					v[adaptedQuery+".W9"] = tensors.FromFlatDataAndDimensions(make([]float32, 4), 2, 2)
				})
			}, nil, `DIR: tensor "bert.encoder.layer.0.attention.self.query.W9" is unexpected in a deep-compressed adapter`,
		},
		{
			"misshapen head", func(t *testing.T, dir, _ string) {
				rewriteAdapter(t, filepath.Join(dir, adapterDir), func(v map[string]*tensors.Tensor) {
					v["classifier.bias"] = tensors.FromFlatDataAndDimensions(make([]float32, 3), 3)
				})
			}, nil, `DIR: tensor "classifier.bias" is [3], want [1]`,
		},
		{
			"kernel that the model lacks", func(t *testing.T, dir, _ string) {
				describe(t, dir, replace(adaptedQuery, "bert.encoder.layer.7.attention.self.query"))
			}, ErrOtherBase, `DIR: adapter belongs to another base model: the model has no kernel bert.encoder.layer.7.attention.self.query [32 32]`,
		},
		{
			"other weights", func(t *testing.T, _, base string) { edit(t, filepath.Join(base, "model.safetensors"), flip) }, ErrOtherBase,
			`adapter belongs to another base model: model file model.safetensors has changed since the run began: sha256 SUM`,
		},
		{
			"other config", func(t *testing.T, _, base string) {
				edit(t, filepath.Join(base, "config.json"), replace(`{`, `{"layer_norm_eps": 1e-5, `))
			}, ErrOtherBase,
			`adapter belongs to another base model: model file config.json has changed since the run began: sha256 SUM`,
		},
		{
			"no adapter yet", func(t *testing.T, dir, _ string) {
				if err := os.RemoveAll(filepath.Join(dir, adapterDir)); err != nil {
					t.Fatal(err)
				}
			}, nil, `DIR has no adapter yet: the run has not finished; go on with deeplora train --resume --out DIR`,
		},
		{
			"settings damaged", func(t *testing.T, dir, _ string) { edit(t, filepath.Join(dir, configJSON), replace(`{`, ``)) }, loop.ErrCorrupt,
			`DIR/config.json: file is damaged: not a JSON object, {…}`,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir, model := filepath.Join(t.TempDir(), "run"), filepath.Join(t.TempDir(), "base")
			copyTree(t, run, dir)
			copyTree(t, base, model)
			edit(t, filepath.Join(dir, configJSON), replace(base, model))
			tc.bend(t, dir, model)
			saved, err := Open(t.Context(), dir, b, OpenOptions{})
			if err == nil {
				saved.Close()
				t.Fatal("opened")
			}
			if tc.is != nil && !errors.Is(err, tc.is) {
				t.Errorf("%v is not %v", err, tc.is)
			}
			remedy := "; remove " + filepath.Join(dir, resultJSON) + ", and deeplora train --resume --out " + dir + " writes it again from the last checkpoint"
			want := strings.NewReplacer("DIR", dir, "BASE", model, "REMEDY", remedy).Replace(tc.want)
			if got := digests.ReplaceAllString(counts.ReplaceAllString(err.Error(), "$1 N"), "SUM"); got != want {
				t.Errorf("got  %s\nwant %s", got, want)
			}
		})
	}
}

// An adapter file written and read is the same, a trained head's orientation included.
func TestAdapterFileRoundTrip(t *testing.T) {
	dir := t.TempDir()
	values := []loop.NamedTensor{
		{Name: "k.W1", Value: tensors.FromFlatDataAndDimensions([]float32{1, 2, 3, float32(math.Pi), -0, 1e-38}, 2, 3)},
		{Name: "wide", Value: tensors.FromFlatDataAndDimensions([]float64{math.Pi, 1e-300}, 2)},
		{Name: "classifier.weight", Value: tensors.FromFlatDataAndDimensions([]float32{1, 2, 3, 4, 5, 6}, 3, 2)},
		{Name: "bert.pooler.dense.weight", Value: tensors.FromFlatDataAndDimensions([]float64{1, 2, 3, 4}, 2, 2)},
	}
	info := AdapterInfo{Method: "vanilla", Settings: lora.Settings{Rank: 2}, Kernels: []AdaptedKernel{{"k", 4, 3, 0}}}
	if err := writeAdapter(dir, info, values); err != nil {
		t.Fatal(err)
	}
	got, read, err := readAdapter(dir)
	if err != nil {
		t.Fatal(err)
	}
	info.Version = adapterVersion
	a, errA := json.Marshal(got)
	b, errB := json.Marshal(info)
	if errA != nil || errB != nil || string(a) != string(b) {
		t.Errorf("description %s, want %s", a, b)
	}
	for _, v := range values {
		if x, ok := read[v.Name]; !ok || !x.Equal(v.Value) {
			t.Errorf("%s came back as %v, want %v", v.Name, x, v.Value)
		}
	}
	if len(read) != len(values) {
		t.Errorf("%d tensors, want %d", len(read), len(values))
	}
}

// checkpointed is a run that was stopped with checkpoints at steps 2 and 4.
func checkpointed(t *testing.T, b compute.Backend, c Config) string {
	t.Helper()
	c.SaveEvery = 2
	out := filepath.Join(t.TempDir(), "run")
	interruptAt(t, b, c, out, 4)
	return out
}

// A checkpoint that is not as it was written is set aside, and the one before is gone on from: the end has the same
// bits. One that is as it was written, and that this program cannot read, is an error.
func TestDamagedCheckpointIsSetAside(t *testing.T) {
	b := testbackend.All(t)[0]
	c := small()
	c.SaveEvery = 2
	whole := filepath.Join(t.TempDir(), "whole")
	trainSmall(t, b, c, whole)
	inFile := func(name string, change func(string) string) func(t *testing.T, at string) {
		return func(t *testing.T, at string) { edit(t, filepath.Join(at, name), change) }
	}
	const notAsWritten = "checkpoint step-4.damaged is not as it was written and is set aside: "
	for _, tc := range []struct {
		name string
		bend func(t *testing.T, at string)
		want string // AT stands for the checkpoint
	}{
		{"moments", inFile("optimizer.safetensors", flip), "AT: optimizer.safetensors: file is damaged: its sha256 is SUM, SHA256SUMS has SUM"},
		{"factors", inFile(adapterTensors, flip), "AT: adapter.safetensors: file is damaged: its sha256 is SUM, SHA256SUMS has SUM"},
		{"description", inFile(adapterJSON, flip), "AT: adapter.json: file is damaged: its sha256 is SUM, SHA256SUMS has SUM"},
		{"state cut short", inFile("state.json", func(text string) string { return text[:20] }), "AT: state.json: file is damaged: its sha256 is SUM, SHA256SUMS has SUM"},
		{"a digit of the state", inFile("state.json", func(text string) string { return strings.Replace(text, `"step": 4`, `"step": 5`, 1) }), "AT: state.json: file is damaged: its sha256 is SUM, SHA256SUMS has SUM"},
		{"the sums", inFile(sums.File, func(text string) string { return text[1:] }), "AT: SHA256SUMS:1: file is damaged: want a sha256, two spaces and the name of a file"},
		{"a file gone", func(t *testing.T, at string) {
			if err := os.Remove(filepath.Join(at, adapterJSON)); err != nil {
				t.Fatal(err)
			}
		}, "AT: adapter.json: file is damaged: it is missing, and SHA256SUMS lists it"},
		{"the log after the checkpoint before", func(t *testing.T, at string) {
			edit(t, filepath.Join(filepath.Dir(filepath.Dir(at)), loop.LogFile), func(text string) string {
				i := strings.Index(text, `"step":4`)
				return text[:i] + strings.Replace(text[i:], "4", "5", 1)
			})
		}, "LOG: file is damaged: the sha256 of its first N bytes is SUM, the checkpoint has SUM"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			out := checkpointed(t, b, c)
			at := filepath.Join(out, "checkpoints", fmt.Sprint("step-", 4))
			tc.bend(t, at)
			var notices []string
			trainSmall(t, b, Config{}, out, func(o *Options) {
				o.Resume = true
				o.OnEvent = func(e loop.Event) {
					if n, ok := e.(loop.Notice); ok {
						notices = append(notices, n.Text)
					}
				}
			})
			sameAdapter(t, whole, out)
			want := notAsWritten + strings.ReplaceAll(strings.ReplaceAll(tc.want, "AT", at), "LOG", filepath.Join(out, loop.LogFile)) + "; the run goes on from step 2"
			if !slices.ContainsFunc(notices, func(n string) bool {
				return digests.ReplaceAllString(regexp.MustCompile(`first \d+`).ReplaceAllString(n, "first N"), "SUM") == want
			}) {
				t.Errorf("notices %q, want\n%s", notices, want)
			}
			if names := checkpointNames(t, out); !slices.Contains(names, "step-4") || !rundir.Is(out, filepath.Join(rundir.Checkpoints, "step-4"+".damaged")) {
				t.Errorf("checkpoints %v, want step 4 anew and the damaged one beside it", names)
			}
		})
	}
	t.Run("state of a newer program", func(t *testing.T) {
		out := checkpointed(t, b, c)
		at := filepath.Join(out, "checkpoints", fmt.Sprint("step-", 4))
		edit(t, filepath.Join(at, "state.json"), func(text string) string { return strings.Replace(text, `"version": 2`, `"version": 3`, 1) })
		if err := sums.Write(at); err != nil {
			t.Fatal(err)
		}
		_, err := Train(t.Context(), Config{}, Options{Backend: b, Out: out, Resume: true})
		if want := "resume: " + filepath.Join(at, "state.json") + ": version 3; this program reads version 2"; errText(err) != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	})
}

// Where no checkpoint is good the run does not begin again by itself; nothing is moved; and the remedy works.
func TestNoGoodCheckpoint(t *testing.T) {
	b := testbackend.All(t)[0]
	c := small()
	c.SaveEvery = 2
	whole := filepath.Join(t.TempDir(), "whole")
	trainSmall(t, b, c, whole)
	out := checkpointed(t, b, c)
	for _, step := range []int{2, 4} {
		edit(t, filepath.Join(filepath.Join(out, "checkpoints", fmt.Sprint("step-", step)), "optimizer.safetensors"), flip)
	}
	for range 2 {
		_, err := Train(t.Context(), Config{}, Options{Backend: b, Out: out, Resume: true})
		want := "resume: no checkpoint is left that is as it was written: " + filepath.Join(out, "checkpoints", fmt.Sprint("step-", 4)) + ": optimizer.safetensors: file is damaged: its sha256 is SUM, SHA256SUMS has SUM; " +
			"remove " + filepath.Join(out, rundir.Checkpoints) + ", and --resume begins at the first step"
		if got := digests.ReplaceAllString(errText(err), "SUM"); got != want || !errors.Is(err, loop.ErrCorrupt) {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	if err := os.RemoveAll(filepath.Join(out, rundir.Checkpoints)); err != nil {
		t.Fatal(err)
	}
	trainSmall(t, b, Config{}, out, func(o *Options) { o.Resume = true })
	sameAdapter(t, whole, out)
}

// A finished run whose adapter is damaged says how to get it back, and so it does.
func TestDamagedAdapterIsWrittenAgain(t *testing.T) {
	b := testbackend.All(t)[0]
	out, whole := filepath.Join(t.TempDir(), "run"), filepath.Join(t.TempDir(), "whole")
	trainSmall(t, b, small(), out)
	copyTree(t, out, whole)
	edit(t, filepath.Join(out, adapterDir, adapterTensors), flip)
	_, err := Open(t.Context(), out, b, OpenOptions{})
	if want := "; remove " + filepath.Join(out, resultJSON) + ", and deeplora train --resume --out " + out + " writes it again from the last checkpoint"; !strings.HasSuffix(errText(err), want) {
		t.Fatalf("error %v, want one that ends with %s", err, want)
	}
	if err := os.Remove(filepath.Join(out, resultJSON)); err != nil {
		t.Fatal(err)
	}
	trainSmall(t, b, Config{}, out, func(o *Options) { o.Resume = true })
	sameAdapter(t, whole, out)
}

// A run goes on only with what it began with.
func TestResumeErrors(t *testing.T) {
	b := testbackend.All(t)[0]
	model, rows := filepath.Join(t.TempDir(), "model"), filepath.Join(t.TempDir(), "data")
	copyTree(t, smallModel(), model)
	copyTree(t, smallData(), rows)
	c := small()
	c.Model, c.Data = model, rows
	out := checkpointed(t, b, c)
	resume := func() error {
		_, err := Train(t.Context(), Config{}, Options{Backend: b, Out: out, Resume: true})
		return err
	}
	restored := func(path string, change func(string) string) {
		t.Helper()
		before := fileBytes(t, path)
		edit(t, path, change)
		err := resume()
		if err := os.WriteFile(path, before, 0o644); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{
			model: "resume " + out + ": model file model.safetensors has changed since the run began: sha256 SUM",
			rows:  "resume " + out + ": data file validation.jsonl has changed since the run began: sha256 SUM",
			out: "resume: no checkpoint is left that is as it was written: " + filepath.Join(out, loop.LogFile) + ": file is damaged: it is 3 bytes, the checkpoint was saved at N; " +
				"remove " + filepath.Join(out, rundir.Checkpoints) + ", and --resume begins at the first step",
		}[filepath.Dir(path)]
		if got := digests.ReplaceAllString(counts.ReplaceAllString(errText(err), "$1 N"), "SUM"); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
	restored(filepath.Join(model, "model.safetensors"), flip)
	restored(filepath.Join(rows, "validation.jsonl"), func(text string) string { return strings.Replace(text, `"label":`, `"label": `, 1) })
	restored(filepath.Join(out, loop.LogFile), func(text string) string { return text[:3] })
	if err := resume(); err != nil {
		t.Errorf("with everything put back: %v", err)
	}
}

// A new run takes no directory that holds something, and none that another run holds.
func TestOutputInUse(t *testing.T) {
	b := testbackend.All(t)[0]
	c := small()
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "thesis.tex"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	_, err := Train(t.Context(), c, Options{Backend: b, Out: full})
	if want := full + ": output directory is in use: it holds thesis.tex; choose another --out"; !errors.Is(err, rundir.ErrInUse) || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	out := checkpointed(t, b, c)
	_, err = Train(t.Context(), c, Options{Backend: b, Out: out})
	if want := out + ": output directory is in use by a run; --resume goes on with it, or choose another --out"; !errors.Is(err, rundir.ErrInUse) || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	held, err := rundir.Open(out, configJSON)
	if err != nil {
		t.Fatal(err)
	}
	_, err = Train(t.Context(), c, Options{Backend: b, Out: out, Resume: true})
	if !errors.Is(err, rundir.ErrInUse) || !strings.HasPrefix(err.Error(), out+": output directory is in use by another process (process ") {
		t.Errorf("held by another process: %v", err)
	}
	held.Close()
	trainSmall(t, b, c, out, func(o *Options) { o.Resume = true })
}

// Whatever adapter.json says, it is applied to its tensors or refused.
func FuzzAdapterDescription(f *testing.F) {
	c, err := model.ReadConfig(os.DirFS(smallModel()), "config.json")
	if err != nil {
		f.Fatal(err)
	}
	values := map[string]*tensors.Tensor{
		adaptedQuery + ".W1": tensors.FromFlatDataAndDimensions(make([]float32, 64), 2, 32),
		adaptedQuery + ".W2": tensors.FromFlatDataAndDimensions(make([]float32, 64), 32, 2),
	}
	good := AdapterInfo{Version: 1, Method: "vanilla", Settings: lora.Settings{Rank: 2, Init: "reference"}, Kernels: []AdaptedKernel{{adaptedQuery, 32, 32, 0}}}
	for _, change := range []func(a *AdapterInfo){
		func(*AdapterInfo) {},
		func(a *AdapterInfo) { a.Rank = 1 << 40 },
		func(a *AdapterInfo) { a.Method, a.Depth, a.InitScale = "deep-compressed", 1<<40, 1 },
		func(a *AdapterInfo) { a.Method, a.Depth, a.InitScale = "deep-wide", 3, 1 },
		func(a *AdapterInfo) { a.Init, a.Alpha = "peft", -1 },
		func(a *AdapterInfo) { a.Kernels = append(a.Kernels, a.Kernels[0]) },
		func(a *AdapterInfo) { a.Kernels[0].In = -1 },
	} {
		a := good
		a.Kernels = append([]AdaptedKernel(nil), good.Kernels...)
		change(&a)
		text, err := json.Marshal(a)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(text))
	}
	path := filepath.Join(f.TempDir(), adapterJSON)
	f.Fuzz(func(t *testing.T, text string) {
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		var info AdapterInfo
		if err := jsonfile.Read(path, &info); err != nil {
			if !errors.Is(err, loop.ErrCorrupt) {
				t.Errorf("%v is not loop.ErrCorrupt", err)
			}
			return
		}
		a, byKernel, err := info.adaptation(values, c)
		if err != nil {
			return
		}
		seen := map[string]bool{}
		for _, s := range a.sites {
			for i, factor := range byKernel[s.kernel.Name] {
				if seen[s.name(i)] {
					t.Errorf("%s was accepted twice", s.name(i))
				}
				seen[s.name(i)] = true
				if factor == nil || !slices.Equal(factor.Shape().Dimensions, s.factors[i].Shape) {
					t.Errorf("%s was accepted without its tensor of %v", s.name(i), s.factors[i].Shape)
				}
			}
		}
	})
}
