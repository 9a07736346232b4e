package train

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/gomlx/compute"

	"github.com/deeplora/deeplora/data"
	"github.com/deeplora/deeplora/internal/testbackend"
	"github.com/deeplora/deeplora/internal/testshared"
)

// probeCases are the kinds of outputs: one score, classes, and several labels at once.
func probeCases(t *testing.T) map[string]func(c *Config) {
	return map[string]func(c *Config){
		"scores": func(*Config) {},
		"classes": func(c *Config) {
			c.Task, c.Data = "classification", tableOf(t, "a man plays a flute,music\n", "two dogs run on sand,animals\n", "shares fell on monday,money\n")
		},
		"labels": func(c *Config) {
			c.Task, c.Data = "multilabel", tableOf(t, "a man plays a flute,music|people\n", "two dogs run on sand,animals\n", "a woman and her cat,animals|people\n")
		},
	}
}

// tableOf is a CSV file of these rows, each twelve times with a number in it.
func tableOf(t *testing.T, rows ...string) string {
	t.Helper()
	var text strings.Builder
	text.WriteString("text,label\n")
	for i := range 12 {
		for _, r := range rows {
			fmt.Fprintf(&text, "%d %s", i, r)
		}
	}
	path := filepath.Join(t.TempDir(), "rows.csv")
	writeFile(t, path, text.String())
	return path
}

// fewOnXLA leaves it to thorough tests to compile every case.
func fewOnXLA(t *testing.T, b compute.Backend, name string) {
	t.Helper()
	if b.Name() == "xla" && name != "classes" && !testshared.Thorough() {
		t.Skip("compiles for long: set DEEPLORA_SLOW=1")
	}
}

// Method probe takes no step, and fits its training examples better than a random head does. Its run opens like any other.
func TestProbe(t *testing.T) {
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		for name, change := range probeCases(t) {
			t.Run(name, func(t *testing.T) {
				fewOnXLA(t, b, name)
				c := small()
				c.Method, c.Shots, c.Steps, c.Warmup = methodProbe, 0, 0, 0
				change(&c)
				out := filepath.Join(t.TempDir(), "probe")
				r := trainSmall(t, b, c, out)
				if r.Steps != 0 || r.Parameters != 0 {
					t.Errorf("%d steps, %d parameters; want none", r.Steps, r.Parameters)
				}
				if again := trainSmall(t, b, c, filepath.Join(t.TempDir(), "again")); again.Metrics[again.PrimaryMetric] != r.Metrics[r.PrimaryMetric] {
					t.Errorf("%v, and once more %v", r.Metrics, again.Metrics)
				}
				p, err := Open(t.Context(), out, b, OpenOptions{Sources: embedded()})
				if err != nil {
					t.Fatal(err)
				}
				defer p.Close()
				if _, err := p.Predict(t.Context(), []data.Example{{Text: "a man plays a flute"}}); err != nil {
					t.Error(err)
				}
			})
		}
	})
}

// A head that starts as a probe begins at a lower loss than a random one, and through it the first gradients are taken.
func TestHeadStart(t *testing.T) {
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		for name, change := range probeCases(t) {
			t.Run(name, func(t *testing.T) {
				fewOnXLA(t, b, name)
				first := map[string]float64{}
				for _, start := range []string{startRandom, startProbe} {
					c := small()
					c.Dropout, c.Steps, c.Warmup, c.HeadStart, c.Shots = 0, 2, 0, start, 0
					change(&c)
					var all []float64
					trainSmall(t, b, c, filepath.Join(t.TempDir(), start), losses(&all))
					first[start] = all[0]
				}
				if first[startProbe] >= first[startRandom] {
					t.Errorf("the first loss is %v", first)
				}
			})
		}
	})
}

// An interrupted run whose head started as a probe ends with the same bits.
func TestHeadStartResumes(t *testing.T) {
	testbackend.Each(t, func(t *testing.T, b compute.Backend) {
		c := small()
		c.HeadStart = startProbe
		whole, parts := filepath.Join(t.TempDir(), "whole"), filepath.Join(t.TempDir(), "parts")
		trainSmall(t, b, c, whole)
		interruptAt(t, b, c, parts, 2)
		trainSmall(t, b, c, parts, func(o *Options) { o.Resume = true })
		sameAdapter(t, whole, parts)
	})
}

func TestHeadStartRefuses(t *testing.T) {
	c := Default()
	c.HeadStart, c.TrainHead = startProbe, false
	if err := errText(c.Validate()); !strings.Contains(err, "head-start: a probe is a head of the run's own") {
		t.Error(err)
	}
	c = Default()
	c.HeadStart, c.From = startProbe, "run"
	if err := errText(c.Validate()); !strings.Contains(err, "head-start: the run of --from brings its head") {
		t.Error(err)
	}
}
