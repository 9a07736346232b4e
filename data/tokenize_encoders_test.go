package data

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/deeplora/deeplora/internal/modelfiles"
	"github.com/deeplora/deeplora/internal/testshared"
)

// encoderGolden is what Hugging Face's library gives for the tokenizer of one family of encoders.
type encoderGolden struct {
	Cases []struct {
		Text, Pair string
		HasPair    bool
		MaxLength  int `json:"max_length"`
		IDs        []int32
		Tokens     []string
	}
	Hash string `json:"rows_sha256"`
}

func encoderGoldens(t testing.TB) map[string]encoderGolden {
	content, err := os.ReadFile(testshared.Path(t, "reference", "encoders", "tokenizers", "tokenizers.json"))
	if err != nil {
		t.Fatal(err)
	}
	var golden struct{ Families map[string]encoderGolden }
	if err := json.Unmarshal(content, &golden); err != nil {
		t.Fatal(err)
	}
	if len(golden.Families) != 6 {
		t.Fatalf("%d families; want 6", len(golden.Families))
	}
	return golden.Families
}

type encoderRow struct{ Text, Pair string }

func encoderRows(t testing.TB) (rows []encoderRow) {
	f, err := os.Open(testshared.Path(t, "reference", "encoders", "tokenizers", "rows.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for lines := json.NewDecoder(bufio.NewReader(f)); lines.More(); {
		var row encoderRow
		if err := lines.Decode(&row); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, row)
	}
	return rows
}

// olderFiles are what each family has instead of tokenizer.json. ModernBERT has nothing else.
var olderFiles = map[string][]string{
	"roberta":     {modelfiles.VocabularyJSON, modelfiles.Merges},
	"xlm-roberta": {modelfiles.SentencePieceBPE},
	"deberta-v3":  {modelfiles.SentencePieceSPM},
	"mpnet":       {vocabFile},
	"distilbert":  {vocabFile},
}

// forEncoders runs a test with the tokenizer of each family, from each source, on each engine.
func forEncoders(t *testing.T, run func(t *testing.T, name string, golden encoderGolden, tok Tokenizer)) {
	goldens := encoderGoldens(t)
	for _, name := range slices.Sorted(maps.Keys(goldens)) {
		dir := testshared.Path(t, "reference", "encoders", "tokenizers", name)
		sources := map[string]fstest.MapFS{tokenizerFile: only(t, dir, tokenizerFile, configFile)}
		if files := olderFiles[name]; files != nil {
			sources[strings.Join(files, "+")] = only(t, dir, append(files, configFile)...)
		}
		for _, source := range slices.Sorted(maps.Keys(sources)) {
			v, err := readVocabulary(folder{sources[source], name})
			if err != nil {
				t.Errorf("%s, %s: %v", name, source, err)
				continue
			}
			for _, engine := range slices.Sorted(maps.Keys(engines)) {
				tok, err := engines[engine](v)
				if err != nil {
					t.Fatal(err)
				}
				t.Run(name+"/"+source+"/"+engine, func(t *testing.T) { run(t, name, goldens[name], tok) })
			}
		}
	}
}

// Ids and tokens of every edge case. The golden's call drops an empty pair, which is a pair to us (formats.md 5).
func TestEncodersEdgeCases(t *testing.T) {
	forEncoders(t, func(t *testing.T, _ string, golden encoderGolden, tok Tokenizer) {
		if len(golden.Cases) != 120 {
			t.Fatalf("%d cases; want 120", len(golden.Cases))
		}
		differ := 0
		for _, c := range golden.Cases {
			enc, _, err := EncodePair(tok, c.Text, c.Pair, c.Pair != "", c.MaxLength)
			tokens := make([]string, len(enc.IDs))
			for i, id := range enc.IDs {
				tokens[i] = tok.Token(id)
			}
			if err != nil || !slices.Equal(enc.IDs, c.IDs) || !slices.Equal(tokens, c.Tokens) {
				if differ++; differ < 4 {
					t.Errorf("%q, %q: %v\n got %v\nwant %v\n got %q\nwant %q", c.Text, c.Pair, err, enc.IDs, c.IDs, tokens, c.Tokens)
				}
			}
		}
		t.Logf("%d of %d differ", differ, len(golden.Cases))
	})
}

// Ids of 3,000 pairs, cut to 64 tokens.
func TestEncodersRealText(t *testing.T) {
	rows := encoderRows(t)
	forEncoders(t, func(t *testing.T, _ string, golden encoderGolden, tok Tokenizer) {
		h := sha256.New()
		for _, row := range rows {
			enc, _, err := EncodePair(tok, row.Text, row.Pair, row.Pair != "", 64)
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(h, "%s\t\n", strings.Trim(fmt.Sprint(enc.IDs), "[]"))
		}
		if got := hex.EncodeToString(h.Sum(nil)); got != golden.Hash {
			t.Errorf("%d rows have the hash %s; want %s", len(rows), got, golden.Hash)
		}
	})
}

// How special tokens and types stand around texts, by each family's template.
func TestEncodersTemplates(t *testing.T) {
	for name, want := range map[string]struct {
		tokens string
		types  string
	}{
		"roberta":     {"<s> . </s> </s> ! </s>", "0 0 0 0 0 0"},
		"mpnet":       {"<s> . </s> </s> ! </s>", "0 0 0 0 0 0"},
		"xlm-roberta": {"<s> . </s> </s> ! </s>", "0 0 0 0 0 0"},
		"modernbert":  {"[CLS] . [SEP] ! [SEP]", "0 0 0 1 1"},
		"distilbert":  {"[CLS] . [SEP] ! [SEP]", "0 0 0 1 1"},
		"deberta-v3":  {"[CLS] . [SEP] ! [SEP]", "0 0 0 1 1"},
	} {
		forEncoders(t, func(t *testing.T, family string, _ encoderGolden, tok Tokenizer) {
			if family != name {
				return
			}
			enc, _, err := EncodePair(tok, ".", "!", true, 0)
			if err != nil {
				t.Fatal(err)
			}
			var tokens []string
			for _, id := range enc.IDs {
				if token := strings.TrimPrefix(tok.Token(id), "▁"); token != "" {
					tokens = append(tokens, token)
				}
			}
			if got := strings.Join(tokens, " "); got != want.tokens {
				t.Errorf("%s: %s; want %s", family, got, want.tokens)
			}
			if got := strings.Trim(fmt.Sprint(enc.Types), "[]"); !strings.HasPrefix(name, "xlm") && !strings.HasPrefix(name, "deb") && got != want.types {
				t.Errorf("%s: types %s; want %s", family, got, want.types)
			}
			s := tok.Special()
			if s.Count(true) != strings.Count(want.tokens, " ")-1 || s.Count(false) != 2 || s.MASK < 0 || s.PAD < 0 || s.UNK < 0 {
				t.Errorf("%s: %+v, %d special tokens around a pair", family, s, s.Count(true))
			}
		})
	}
}

func BenchmarkEncoders(b *testing.B) {
	rows := goldenFiles(b)["STS-B/train"].examples(b)
	for _, name := range []string{"roberta", "modernbert", "xlm-roberta", "deberta-v3", "distilbert"} {
		v, err := readVocabulary(folder{only(b, testshared.Path(b, "reference", "encoders", "tokenizers", name), tokenizerFile), ""})
		if err != nil {
			b.Fatal(err)
		}
		for _, engine := range slices.Sorted(maps.Keys(engines)) {
			b.Run(name+"/"+engine, func(b *testing.B) {
				b.ReportAllocs()
				tok, err := engines[engine](v)
				if err != nil {
					b.Fatal(err)
				}
				tokens := 0
				for b.Loop() {
					for _, texts := range rows {
						enc, _, err := EncodePair(tok, texts[0], texts[1], true, 128)
						if err != nil {
							b.Fatal(err)
						}
						tokens += len(enc.IDs)
					}
				}
				b.ReportMetric(float64(tokens)/b.Elapsed().Seconds(), "tokens/s")
			})
		}
	}
}
