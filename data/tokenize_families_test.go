package data

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
)

// familyGolden is a tokenizer of scripts/goldens/encoder_tokenizers.py.
type familyGolden struct {
	Files map[string]string
	JSON  string `json:"tokenizer.json"`
	Cases []struct {
		Text      string
		Pair      *string
		MaxLength int `json:"max_length"`
		IDs       []int32
		Types     []int32
	}
}

func familyGoldens(t testing.TB) map[string]familyGolden {
	content, err := os.ReadFile("testdata/encoders.json")
	if err != nil {
		t.Fatal(err)
	}
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(content, &raw); err != nil {
		t.Fatal(err)
	}
	delete(raw, "maker")
	delete(raw, "versions")
	goldens := map[string]familyGolden{}
	for name, content := range raw {
		var g familyGolden
		if err := json.Unmarshal(content, &g); err != nil {
			t.Fatal(err)
		}
		goldens[name] = g
	}
	return goldens
}

func (g familyGolden) folder(t testing.TB) fstest.MapFS {
	files := fstest.MapFS{}
	for name, text := range g.Files {
		content, err := base64.StdEncoding.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		files[name] = &fstest.MapFile{Data: content}
	}
	return files
}

// ALBERT with its user-defined tokens and quotes, CamemBERT's numbering, ELECTRA: ids and types of Transformers' classes,
// from the files and from the tokenizer.json that these classes write.
func TestFamiliesFromTheirFiles(t *testing.T) {
	goldens := familyGoldens(t)
	if len(goldens) != 4 {
		t.Fatalf("%d tokenizers; want 4", len(goldens))
	}
	for _, name := range slices.Sorted(maps.Keys(goldens)) {
		g := goldens[name]
		older := g.folder(t)
		for source, files := range map[string]fstest.MapFS{
			"older files": older,
			tokenizerFile: {tokenizerFile: {Data: []byte(g.JSON)}, configFile: older[configFile]},
		} {
			v, err := readVocabulary(folder{files, name})
			if err != nil {
				t.Errorf("%s, %s: %v", name, source, err)
				continue
			}
			for engine, open := range engines {
				tok, err := open(v)
				if err != nil {
					t.Fatal(err)
				}
				t.Run(strings.Join([]string{name, source, engine}, "/"), func(t *testing.T) {
					for _, c := range g.Cases {
						pair := ""
						if c.Pair != nil {
							pair = *c.Pair
						}
						enc, _, err := EncodePair(tok, c.Text, pair, c.Pair != nil, c.MaxLength)
						if err != nil || !slices.Equal(enc.IDs, c.IDs) || !slices.Equal(enc.Types, c.Types) {
							t.Errorf("%q, %q to %d: %v\n got %v %v\nwant %v %v", c.Text, pair, c.MaxLength, err, enc.IDs, enc.Types, c.IDs, c.Types)
						}
					}
				})
			}
		}
	}
}
