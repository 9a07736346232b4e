package train

import (
	"bytes"
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gomlx/compute"

	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/lora"
	"github.com/deeplora/deeplora/train/loop"
)

// startOf is a small run without dropout, of a method and one of its starts.
func startOf(method, init string) Config {
	c := small()
	c.Method, c.Init, c.Dropout, c.Warmup, c.LR = method, init, 0, 0, 1e-3
	c.Shots = c.Batch // the same batch at every step
	if method == "lora-sb" {
		c.LR = 1e-4
	}
	return c
}

// The starts that take their beginning out of the kernel begin as plain LoRA does, at the model's own loss, to the bit;
// the others begin a step further down the gradient they were made of. All go on from there, and what is frozen of them
// ends as it began.
func TestStartsBeginWhereTheyShould(t *testing.T) {
	b := testbackend.All(t)[0]
	var plain []float64
	trainSmall(t, b, startOf("vanilla", lora.InitPEFT), filepath.Join(t.TempDir(), "run"), losses(&plain))
	for _, v := range [][2]string{
		{"vanilla", lora.InitLoRAGA}, {"rslora", lora.InitPiSSA}, {"vanilla", lora.InitLoRAOne}, {"lora-sb", lora.InitReference},
	} {
		t.Run(v[0]+" "+v[1], func(t *testing.T) {
			c, dir := startOf(v[0], v[1]), filepath.Join(t.TempDir(), "run")
			var list []float64
			r := trainSmall(t, b, c, dir, losses(&list))
			first, last := list[0], list[len(list)-1]
			switch v[1] {
			case lora.InitLoRAGA, lora.InitPiSSA:
				if first != plain[0] {
					t.Errorf("the first loss is %v, the model's own %v", first, plain[0])
				}
			default:
				if !(first < plain[0]) {
					t.Errorf("the first loss is %v, the model's own %v; want it lower", first, plain[0])
				}
			}
			if !(last < first) {
				t.Errorf("losses %v", list)
			}
			frozenStays(t, b, c, dir, r)
		})
	}
}

// frozenStays holds the adapter of a finished run against how it began: what is frozen of it is not counted as trained.
func frozenStays(t *testing.T, b compute.Backend, c Config, dir string, r *Result) {
	t.Helper()
	saved, err := ReadFinished(t.Context(), dir, OpenOptions{Sources: embedded()})
	if err != nil {
		t.Fatal(err)
	}
	tr, trained := created(t, b, c), 0
	params := tr.loop.Params()
	for i, p := range tr.loop.Parameters() {
		end, same := saved.Values[p.Name], false
		if end != nil {
			same = bytes.Equal(bitsOf(t, []loop.NamedTensor{p}), bitsOf(t, []loop.NamedTensor{{Name: p.Name, Value: end}}))
		}
		if frozen := params[i].Rate == 0; same != frozen && !strings.HasPrefix(p.Name, "classifier") {
			t.Errorf("%s at rate %g: unchanged is %v", p.Name, params[i].Rate, same)
		}
		if params[i].Rate != 0 {
			trained += p.Value.Shape().Size()
		}
	}
	if r.Parameters != trained {
		t.Errorf("%d trainable parameters, want %d", r.Parameters, trained)
	}
}

// LoRA-SB begins with the first update that moves anything, which a warm-up makes small.
func TestLoRASBStartsAtTheFirstRate(t *testing.T) {
	b := testbackend.All(t)[0]
	inner := func(warmup int) (list []float64) {
		c := startOf("lora-sb", lora.InitReference)
		c.Warmup = warmup
		for _, p := range created(t, b, c).loop.Parameters() {
			if strings.HasSuffix(p.Name, ".R") {
				list = append(list, float64s(t, p.Value)...)
			}
		}
		return list
	}
	at, slower := inner(0), inner(4)
	if len(at) != 6*4*4 {
		t.Fatalf("%d entries of R, want those of 6 kernels", len(at))
	}
	for i := range at {
		if math.Abs(at[i]-4*slower[i]) > 1e-6*math.Abs(at[0]) {
			t.Fatalf("entry %d is %g without a warm-up, %g with one of 4 steps", i, at[i], slower[i])
		}
	}
}

// A stopped run goes on to the same bits, and another goes on from it, frozen factors and all.
func TestStartsResumeAndGoOn(t *testing.T) {
	b := testbackend.All(t)[0]
	for _, v := range [][2]string{{"lora-sb", lora.InitReference}, {"vanilla", lora.InitPiSSA}} {
		c := startOf(v[0], v[1])
		whole, parts := filepath.Join(t.TempDir(), "whole"), filepath.Join(t.TempDir(), "parts")
		trainSmall(t, b, c, whole)
		interruptAt(t, b, c, parts, 3)
		trainSmall(t, b, c, parts, func(o *Options) { o.Resume = true })
		sameAdapter(t, whole, parts)

		from, err := ReadFinished(t.Context(), whole, OpenOptions{Sources: embedded()})
		if err != nil {
			t.Fatal(err)
		}
		on := startOf(v[0], v[1])
		on.From, on.Seed, on.Steps = whole, 5, 1
		for _, p := range created(t, b, on).loop.Parameters() {
			if want := from.Values[p.Name]; want != nil && fmt.Sprint(float64s(t, p.Value)) != fmt.Sprint(float64s(t, want)) {
				t.Errorf("%s %s: %s does not begin where the other run ended", v[0], v[1], p.Name)
			}
		}
	}
}

// Kernels that are held in fewer bits are no beginning for PiSSA.
func TestPiSSARefusesHeldKernels(t *testing.T) {
	c := startOf("vanilla", lora.InitPiSSA)
	c.Precision = "bf16x3"
	var xla compute.Backend
	for _, b := range testbackend.All(t) {
		if b.Name() == "xla" {
			xla = b
		}
	}
	if xla == nil {
		t.Skip("no XLA plugin: other precisions than f32 are its own")
	}
	_, err := Train(t.Context(), c, Options{Backend: xla, Out: filepath.Join(t.TempDir(), "run"), Sources: embedded()})
	if want := "precision: method vanilla with init pissa starts from the kernels themselves, which are held as bf16x3; take f32"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error %v, want %q", err, want)
	}
}
