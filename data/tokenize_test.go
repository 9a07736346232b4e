package data

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/deeplora/deeplora/internal/testshared"
	"pgregory.net/rapid"
)

// realTokenizers gives the folders of real checkpoints' tokenizers. all-MiniLM-L6-v2 is not among the
// reference data: DEEPLORA_MINILM names its folder where there is one.
func realTokenizers(t testing.TB) map[string]string {
	folders := map[string]string{
		"bert-base-cased":   testshared.Path(t, "tokenizers", "bert-base-cased"),
		"bert-base-uncased": testshared.Path(t, "tokenizers", "bert-base-uncased"),
	}
	if dir := os.Getenv("DEEPLORA_MINILM"); dir != "" {
		folders["all-MiniLM-L6-v2"] = dir
	}
	return folders
}

// forReal runs a test with each real tokenizer, from each source, on each engine.
func forReal(t *testing.T, run func(t *testing.T, name string, tok Tokenizer)) {
	folders := realTokenizers(t)
	if len(folders) < 3 {
		t.Log("all-MiniLM-L6-v2 is left out: set DEEPLORA_MINILM to its folder")
	}
	for _, name := range slices.Sorted(maps.Keys(folders)) {
		for _, source := range []string{tokenizerFile, vocabFile} {
			v, err := readVocabulary(folder{only(t, folders[name], source, configFile), folders[name]})
			if err != nil {
				t.Fatal(err)
			}
			for _, engine := range slices.Sorted(maps.Keys(engines)) {
				tok, err := engines[engine](v)
				if err != nil {
					t.Fatal(err)
				}
				t.Run(fmt.Sprintf("%s/%s/%s", name, source, engine), func(t *testing.T) { run(t, name, tok) })
			}
		}
	}
}

// only is a folder less all files but those named.
func only(t testing.TB, dir string, names ...string) fstest.MapFS {
	fsys := fstest.MapFS{}
	for _, name := range names {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		fsys[name] = &fstest.MapFile{Data: content}
	}
	return fsys
}

type goldenCase struct {
	Name, Text, Pair string
	MaxLength        int  `json:"max_length"`
	PadTo            *int `json:"pad_to"`
	Encodings        map[string]map[string]struct {
		IDs    []int32
		Types  []int32 `json:"type_ids"`
		Mask   []int32
		Tokens []string
	}
}

func goldenCases(t testing.TB) []goldenCase {
	f, err := os.Open(testshared.Path(t, "reference", "tokenizer_cases.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var cases []goldenCase
	for lines := json.NewDecoder(bufio.NewReader(f)); lines.More(); {
		var c goldenCase
		if err := lines.Decode(&c); err != nil {
			t.Fatal(err)
		}
		cases = append(cases, c)
	}
	if len(cases) != 60 {
		t.Fatalf("%d cases; want 60", len(cases))
	}
	return cases
}

// Acceptance 6, edge cases: ids, types, mask and tokens of Hugging Face's own tokenizers.
func TestEncodePairEdgeCases(t *testing.T) {
	cases := goldenCases(t)
	forReal(t, func(t *testing.T, name string, tok Tokenizer) {
		for _, c := range cases {
			for form, want := range c.Encodings[name] {
				enc, _, err := EncodePair(tok, c.Text, c.Pair, form == "pair", c.MaxLength)
				if err != nil {
					t.Errorf("%s, %s: %v", c.Name, form, err)
					continue
				}
				length := len(enc.IDs)
				if c.PadTo != nil {
					length = *c.PadTo
				}
				batch, err := Assemble([]Encoded{enc}, nil, []int{0}, 1, length, tok.Special().PAD)
				if err != nil {
					t.Fatal(err)
				}
				tokens := make([]string, length)
				for i, id := range batch.IDs {
					tokens[i] = tok.Token(id)
				}
				if !slices.Equal(batch.IDs, want.IDs) || !slices.Equal(batch.Types, want.Types) || !slices.Equal(batch.Mask, want.Mask) {
					t.Errorf("%s, %s: %q\n got %v\nwant %v\n got %v\nwant %v", c.Name, form, c.Text, batch.IDs, want.IDs, batch.Types, want.Types)
				}
				if !slices.Equal(tokens, want.Tokens) {
					t.Errorf("%s, %s: tokens %q, want %q", c.Name, form, tokens, want.Tokens)
				}
			}
		}
	})
}

type goldenFile struct {
	Path     string
	Columns  []string
	Examples int
	SHA256   string `json:"file_sha256"`
	Hashes   map[string]map[string]json.RawMessage
}

// examples reads the texts of a TSV as the golden's script did.
func (g goldenFile) examples(t testing.TB) [][]string {
	content, err := os.ReadFile(testshared.Path(t, "glue", filepath.FromSlash(g.Path)))
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != g.SHA256 {
		t.Fatalf("%s is not the file the golden was made from", g.Path)
	}
	lines := strings.Split(strings.TrimSuffix(string(content), "\n"), "\n")
	header := strings.Split(lines[0], "\t")
	var rows [][]string
	for _, line := range lines[1 : g.Examples+1] {
		fields := strings.Split(line, "\t")
		var texts []string
		for _, column := range g.Columns {
			texts = append(texts, fields[slices.Index(header, column)])
		}
		rows = append(rows, texts)
	}
	return rows
}

func goldenFiles(t testing.TB) map[string]goldenFile {
	content, err := os.ReadFile(testshared.Path(t, "reference", "tokenizer_ids.json"))
	if err != nil {
		t.Fatal(err)
	}
	var golden struct{ Files map[string]goldenFile }
	if err := json.Unmarshal(content, &golden); err != nil {
		t.Fatal(err)
	}
	if len(golden.Files) != 6 {
		t.Fatalf("%d files; want 6", len(golden.Files))
	}
	return golden.Files
}

// Acceptance 6, real text: every example of the GLUE files at hand, whole and cut to 128 tokens.
func TestEncodePairRealText(t *testing.T) {
	files := goldenFiles(t)
	texts := map[string][][]string{}
	for key, file := range files {
		texts[key] = file.examples(t)
	}
	forReal(t, func(t *testing.T, name string, tok Tokenizer) {
		examples := 0
		for _, key := range slices.Sorted(maps.Keys(files)) {
			for mode, maxLength := range map[string]int{"full": 0, "max128": 128} {
				checkHashes(t, key+" "+mode, tok, texts[key], maxLength, files[key].Hashes[name][mode], files[key].Hashes[name]["truncated"])
			}
			examples += len(texts[key])
		}
		t.Logf("%d examples, twice each", examples)
	})
}

func checkHashes(t *testing.T, what string, tok Tokenizer, rows [][]string, maxLength int, hashes, cut json.RawMessage) {
	var want struct {
		SHA256    string
		Tokens    int
		Blocks    []string `json:"blocks_of_1000"`
		truncated int
	}
	if err := json.Unmarshal(hashes, &want); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(cut, &want.truncated); err != nil {
		t.Fatal(err)
	}
	whole, tokens, truncated, wrong := sha256.New(), 0, 0, 0
	i := 0
	for block := range slices.Chunk(rows, 1000) {
		h := sha256.New()
		for _, texts := range block {
			enc, lost, err := EncodePair(tok, texts[0], texts[len(texts)-1], len(texts) == 2, maxLength)
			if err != nil {
				t.Fatal(err)
			}
			line := strings.Trim(fmt.Sprint(enc.IDs), "[]") + "|" + strings.Trim(fmt.Sprint(enc.Types), "[]") + "\n"
			h.Write([]byte(line))
			whole.Write([]byte(line))
			tokens += len(enc.IDs)
			if lost > 0 {
				truncated++
			}
		}
		if got := hex.EncodeToString(h.Sum(nil))[:16]; got != want.Blocks[i] {
			wrong++
		}
		i++
	}
	if hex.EncodeToString(whole.Sum(nil)) != want.SHA256 {
		t.Errorf("%s: other ids in %d of %d blocks of 1000 examples; %d tokens, want %d", what, wrong, i, tokens, want.Tokens)
	}
	if maxLength > 0 && truncated != want.truncated {
		t.Errorf("%s: %d examples truncated, want %d", what, truncated, want.truncated)
	}
}

// letters is a vocabulary of single letters and a few words, for tests that need no real one.
var letters = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\nb\nc\n##a\n##b\n##c\nbab\n##cab\n.\né\n"

func letterFolder() fstest.MapFS {
	return fstest.MapFS{
		vocabFile:  &fstest.MapFile{Data: []byte(letters)},
		configFile: &fstest.MapFile{Data: []byte(`{"do_lower_case": true}`)},
	}
}

func letterTokenizer(t testing.TB) Tokenizer {
	tok, err := OpenTokenizer(letterFolder(), "")
	if err != nil {
		t.Fatal(err)
	}
	return tok
}

func TestEncodeWordPieces(t *testing.T) {
	tok := letterTokenizer(t)
	for _, c := range []struct {
		name, text string
		want       []int32
	}{
		{"nothing", "", []int32{}},
		{"longest first", "babcab babc", []int32{11, 12, 11, 10}},
		{"one unknown character spoils the word", "babx b", []int32{1, 6}},
		{"case and punctuation", "A.B", []int32{5, 13, 6}},
		{"special tokens inside a word", "a[SEP]b[mask]", []int32{5, 3, 6, 1, 1, 1}},
		{"100 characters of two bytes each", "a" + strings.Repeat("b", 99), append([]int32{5}, slices.Repeat([]int32{9}, 99)...)},
		{"101 characters", "a" + strings.Repeat("b", 100), []int32{1}},
		{"accents do not count", strings.Repeat("a\u0301", 100), append([]int32{5}, slices.Repeat([]int32{8}, 99)...)},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := tok.Encode(c.text)
			if err != nil || !slices.Equal(got, c.want) {
				t.Errorf("%q gives %v, %v; want %v", c.text, got, err, c.want)
			}
		})
	}
	if got, want := tok.Special(), (Special{CLS: 2, SEP: 3, PAD: 0, UNK: 1, MASK: 4}); got != want {
		t.Errorf("special tokens %+v; want %+v", got, want)
	}
	if tok.Token(12) != "##cab" || tok.Token(15) != "" || tok.Token(-1) != "" {
		t.Errorf("tokens %q %q %q", tok.Token(12), tok.Token(15), tok.Token(-1))
	}
	if got := tok.VocabSize(); got != 15 {
		t.Errorf("vocabulary of %d; want 15", got)
	}
}

func TestEncodeRefusesOtherThanUTF8(t *testing.T) {
	tok := letterTokenizer(t)
	const want = "byte 0xe9 at offset 3 is not valid UTF-8; convert the text first"
	if _, err := tok.Encode("caf\xe9"); err == nil || err.Error() != want {
		t.Errorf("got %v; want %s", err, want)
	}
	if _, _, err := EncodePair(tok, "a", "caf\xe9", true, 0); err == nil || err.Error() != "pair: "+want {
		t.Errorf("got %v; want pair: %s", err, want)
	}
}

func TestEncodePairLengths(t *testing.T) {
	tok := letterTokenizer(t)
	words := func(n int) string { return strings.Repeat("a ", n) }
	for _, c := range []struct {
		name            string
		a, b, maxLength int
		pair            bool
		wantA, wantB    int
	}{
		{"single fits", 4, 0, 6, false, 4, 0},
		{"single is cut", 9, 0, 6, false, 4, 0},
		{"no limit", 900, 900, 0, true, 900, 900},
		{"longer first", 9, 3, 10, true, 4, 3},
		{"longer second", 3, 9, 10, true, 3, 4},
		{"both", 9, 8, 11, true, 4, 4},
		{"both, odd, first longer", 9, 8, 10, true, 4, 3},
		{"both, odd, tie", 9, 9, 10, true, 3, 4},
		{"empty second is a pair", 2, 0, 10, true, 2, 0},
		{"no room but for special tokens", 2, 2, 3, true, 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			enc, cut, err := EncodePair(tok, words(c.a), words(c.b), c.pair, c.maxLength)
			if err != nil {
				t.Fatal(err)
			}
			ids := slices.Concat([]int32{2}, slices.Repeat([]int32{5}, c.wantA), []int32{3})
			types := make([]int32, len(ids))
			if c.pair {
				ids = slices.Concat(ids, slices.Repeat([]int32{5}, c.wantB), []int32{3})
				types = slices.Concat(types, slices.Repeat([]int32{1}, c.wantB+1))
			}
			if !slices.Equal(enc.IDs, ids) || !slices.Equal(enc.Types, types) {
				t.Errorf("got %v %v; want %v %v", enc.IDs, enc.Types, ids, types)
			}
			if want := c.a + c.b - c.wantA - c.wantB; cut != want {
				t.Errorf("%d tokens cut; want %d", cut, want)
			}
		})
	}
	for _, c := range []struct {
		maxLength int
		pair      bool
		want      string
	}{
		{1, false, "max length is 1; want at least 2, the special tokens alone, or 0 for no limit"},
		{2, true, "max length is 2; want at least 3, the special tokens alone, or 0 for no limit"},
		{-1, false, "max length is -1; want at least 2, the special tokens alone, or 0 for no limit"},
	} {
		if _, _, err := EncodePair(tok, "a", "b", c.pair, c.maxLength); err == nil || err.Error() != c.want {
			t.Errorf("got %v; want %s", err, c.want)
		}
	}
}

func TestJoinHasRoomForNothing(t *testing.T) {
	for maxLength := 1; maxLength <= 3; maxLength++ {
		enc, cut := (Special{CLS: 2, SEP: 3}).Join([]int32{5}, []int32{6, 7}, true, maxLength)
		if !slices.Equal(enc.IDs, []int32{2, 3, 3}) || cut != 3 {
			t.Errorf("max length %d: %v, %d cut", maxLength, enc.IDs, cut)
		}
	}
}

func TestLongestFirstIsFair(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.IntRange(0, 60).Draw(t, "a"), rapid.IntRange(0, 60).Draw(t, "b")
		budget := rapid.IntRange(0, 130).Draw(t, "budget")
		na, nb := longestFirst(a, b, budget, true)
		cutA, cutB := na < a, nb < b
		more := nb - na // for the longer one
		if a > b {
			more = na - nb
		}
		switch {
		case na > a || nb > b || na+nb != min(a+b, budget):
			t.Fatalf("%d and %d of %d and %d tokens do not fill %d", na, nb, a, b, budget)
		case cutA && cutB && more != budget%2:
			t.Fatalf("both are cut, to %d and %d: the longer has not the odd token alone", na, nb)
		case a != b && (cutA && !cutB && na < nb || cutB && !cutA && nb < na):
			t.Fatalf("%d and %d: the shorter is cut, the longer whole", na, nb)
		case a == b && cutA && nb-na != budget%2:
			t.Fatalf("%d and %d of equal lengths, in %d", na, nb, budget)
		}
	})
}

// Goroutines that share a tokenizer get what one alone gets.
func TestEncodeConcurrently(t *testing.T) {
	shared := letterTokenizer(t)
	texts := make([]string, 300)
	for i := range texts {
		texts[i] = strings.Repeat("a", i%40) + " " + strings.Repeat("bab", i%7) + " [MASK] c" + strings.Repeat("é", i%3)
	}
	var wait sync.WaitGroup
	for g := range 8 {
		wait.Go(func() {
			alone := letterTokenizer(t)
			for i := range texts {
				text := texts[(i*(2*g+1))%len(texts)]
				got, err := shared.Encode(text)
				want, _ := alone.Encode(text)
				if err != nil || !slices.Equal(got, want) {
					t.Errorf("%q: got %v, %v; want %v", text, got, err, want)
				}
			}
		})
	}
	wait.Wait()
}

// The greedy match against its definition, one code point less at a time, on vocabularies that overlap in every way:
// a continuation prefix that words can spell too, pieces of several code points and bytes.
func TestWordPiecesByTheirDefinition(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v := &vocabulary{unk: "[UNK]", prefix: rapid.SampledFrom([]string{"##", "a", "é"}).Draw(t, "prefix"), maxChars: 8, ids: map[string]int32{"[UNK]": 0}}
		piece := rapid.StringOfN(rapid.RuneFrom([]rune("abé一")), 1, 4, -1)
		for i, text := range rapid.SliceOfNDistinct(piece, 1, 20, rapid.ID).Draw(t, "pieces") {
			if rapid.Bool().Draw(t, "continues") {
				text = v.prefix + text
			}
			v.ids[text] = int32(i + 1)
		}
		word := rapid.StringOfN(rapid.RuneFrom([]rune("abé一")), 1, 10, -1).Draw(t, "word")
		got, err := newGoTokenizer(v).Encode(word)
		if want := naiveWordPieces(v, []rune(word)); err != nil || !slices.Equal(got, want) {
			t.Fatalf("%q in %v: %v, %v; want %v", word, v.ids, got, err, want)
		}
	})
}

func naiveWordPieces(v *vocabulary, word []rune) (ids []int32) {
	for start := 0; start < len(word); {
		end := len(word)
		for ; end > start; end-- {
			text := string(word[start:end])
			if start > 0 {
				text = v.prefix + text
			}
			if id, ok := v.ids[text]; ok {
				ids = append(ids, id)
				break
			}
		}
		if end == start || len(word) > v.maxChars {
			return []int32{v.ids[v.unk]}
		}
		start = end
	}
	return ids
}

func BenchmarkEncode(b *testing.B) {
	rows := goldenFiles(b)["STS-B/train"].examples(b)
	v, err := readVocabulary(folder{only(b, realTokenizers(b)["bert-base-uncased"], tokenizerFile), ""})
	if err != nil {
		b.Fatal(err)
	}
	for _, engine := range slices.Sorted(maps.Keys(engines)) {
		b.Run(engine, func(b *testing.B) {
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
