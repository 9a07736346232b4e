package train

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/deeplora/deeplora/internal/testbackend"
)

// What CheckFiles finds is what Train would say, and where it finds nothing Train begins.
func TestCheckSaysWhatTrainingWould(t *testing.T) {
	b := testbackend.All(t)[0]
	noTokenizer := filepath.Join(t.TempDir(), "model")
	if err := os.CopyFS(noTokenizer, os.DirFS(smallModel())); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(noTokenizer, "vocab.txt")); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name string
		set  func(c *Config)
		want string
	}{
		{"no data", func(c *Config) { c.Data = "nowhere" }, "data: there is no directory nowhere"},
		{"no model", func(c *Config) { c.Model = filepath.Join(t.TempDir(), "nowhere") }, "nowhere"},
		{"no tokenizer", func(c *Config) { c.Model = noTokenizer }, "model " + noTokenizer},
		{"another column", func(c *Config) { *c = ownScores(t); c.Label = "points" }, "points"},
		{"too many shots", func(c *Config) { c.Shots = 61 }, "61 examples of 60 without replacement"},
		{"too long", func(c *Config) { c.MaxLength = 64 }, "max-length is 64, the model has 48 positions"},
		{"no kernels", func(c *Config) { c.Target = []string{"nothing$"} }, "nothing$"},
		{"class weights of scores", func(c *Config) { c.ClassWeights = "balanced" }, "class-weights"},
	} {
		t.Run(c.name, func(t *testing.T) {
			config := small()
			c.set(&config)
			err := config.CheckFiles(t.Context(), embedded())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("%v, want %s", err, c.want)
			}
			out := filepath.Join(t.TempDir(), "run")
			_, trained := Train(t.Context(), config, Options{Backend: b, Out: out, Sources: embedded()})
			if trained == nil || !strings.Contains(trained.Error(), c.want) || errors.Is(trained, ErrConfig) != errors.Is(err, ErrConfig) {
				t.Errorf("training says %v, the check %v", trained, err)
			}
		})
	}
	for _, set := range []func(c *Config){func(*Config) {}, func(c *Config) { *c = ownScores(t) }, func(c *Config) { c.Method = "head-only" }} {
		config := small()
		set(&config)
		before := config
		if err := config.CheckFiles(t.Context(), embedded()); err != nil {
			t.Error(err)
		}
		if key, _ := config.Key(); key != mustKey(t, before) {
			t.Error("checking changes the settings")
		}
	}
}

func mustKey(t *testing.T, c Config) string {
	t.Helper()
	key, err := c.Key()
	if err != nil {
		t.Fatal(err)
	}
	return key
}
