package tokenizer

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"
)

// Hostile parts give an error or a normaliser that makes text of text.
func FuzzNormalizer(f *testing.F) {
	for _, raw := range []string{
		"null", `{"type": "NFC"}`, `{"type": "Sequence", "normalizers": [{"type": "NFKD"}, {"type": "StripAccents"}, {"type": "Lowercase"}]}`,
		`{"type": "Replace", "pattern": {"Regex": "\\s{2,}|[\\n\\r\\t]"}, "content": " "}`, `{"type": "Replace", "pattern": {"String": "a"}, "content": ""}`,
		`{"type": "Strip", "strip_left": true, "strip_right": false}`, `{"type": "Prepend", "prepend": "▁"}`, `{"type": "Nmt"}`,
		`{"type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": true, "strip_accents": null, "lowercase": true}`,
		`{"type": "Precompiled", "precompiled_charsmap": "CAAAAAAEAAAAAQAAYQA="}`,
	} {
		f.Add([]byte(raw), "A  e\u0301\u0327 ﬁ한\r\n北")
	}
	f.Fuzz(func(t *testing.T, raw []byte, text string) {
		if !utf8.ValidString(text) || len(text) > 1000 {
			return
		}
		n, err := ParseNormalizer(raw)
		if err != nil {
			return
		}
		if got := n.Normalize(text); utf8.Valid(raw) && !utf8.ValidString(got) {
			t.Fatalf("%q becomes %q", text, got)
		}
	})
}

// Words lie in the text one after another, none empty; with neither spaces written otherwise nor parts removed they are
// all of it.
func FuzzPreTokenizer(f *testing.F) {
	for _, raw := range []string{
		"null", `{"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}`, `{"type": "WhitespaceSplit"}`,
		`{"type": "Sequence", "pretokenizers": [{"type": "WhitespaceSplit"}, {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always", "split": true}]}`,
		`{"type": "Split", "pattern": {"Regex": "\\p{N}{1,3}"}, "behavior": "MergedWithNext", "invert": false}`, `{"type": "BertPreTokenizer"}`,
		`{"type": "Punctuation", "behavior": "MergedWithPrevious"}`, `{"type": "Digits", "individual_digits": false}`, `{"type": "Whitespace"}`,
	} {
		f.Add([]byte(raw), "I'll  say 123,\r\n''don't'' é ▁x 한")
	}
	f.Fuzz(func(t *testing.T, raw []byte, text string) {
		if !utf8.ValidString(text) || len(text) > 1000 {
			return
		}
		p, bytes, err := ParsePreTokenizer(raw)
		if err != nil {
			return
		}
		var words []string
		p.Split(text, true, func(word string, _ bool) {
			if word == "" {
				t.Fatal("an empty word")
			}
			words = append(words, word)
		})
		if kind, _ := typeOf(raw); kind == "ByteLevel" && bytes {
			if got := strings.Join(words, ""); strings.TrimPrefix(got, " ") != strings.TrimPrefix(text, " ") {
				t.Fatalf("%q is cut into %q", text, words)
			}
		}
	})
}

// Damaged tables are refused, or rewrite text as text, without a panic.
func FuzzCharsmap(f *testing.F) {
	f.Add([]byte{8, 0, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 'a', 0}, "abc")
	f.Add([]byte{4, 0, 0, 0, 0, 4, 0, 0}, "ﬁ\u0301")
	f.Fuzz(func(t *testing.T, content []byte, text string) {
		m, err := newCharsmap(content)
		if err != nil || !utf8.ValidString(text) || len(text) > 1000 {
			return
		}
		if got := m.Normalize(text); !utf8.ValidString(got) {
			t.Fatalf("%q becomes %q", text, got)
		}
	})
}

func FuzzSentencePiece(f *testing.F) {
	f.Add([]byte("\n\x0c\n\x05<unk>\x15\x00\x00\x00\x00\x18\x02\n\x0a\n\x03\xe2\x96\x81\x15\x00\x00\x80\xbf\x12\x02\x18\x01"))
	f.Fuzz(func(t *testing.T, content []byte) {
		s, err := ReadSentencePiece(content)
		if err != nil {
			return
		}
		u := Unigram{Unknown: s.UnknownID}
		size := 0
		for _, p := range s.Pieces {
			u.Pieces = append(u.Pieces, p.Piece)
			size += len(p.Text)
		}
		if size > len(content) {
			t.Fatalf("%d bytes of tokens in %d", size, len(content))
		}
		if m, err := u.Model(); err == nil {
			m.Append(nil, "a▁b<unk>")
		}
	})
}

// A merge of long words gives what looking at all pairs again and again gives.
func FuzzMerge(f *testing.F) {
	f.Add("abababcabcaab", uint64(12345))
	f.Add("aaaaaaaaaaaa", uint64(1))
	f.Fuzz(func(t *testing.T, word string, seed uint64) {
		if len(word) > shortWord || len(word) < 2 {
			return
		}
		b := BPE{Vocab: map[string]int32{}, Bytes: true}
		add := func(token string) {
			if _, ok := b.Vocab[token]; !ok {
				b.Vocab[token] = int32(len(b.Vocab))
			}
		}
		for _, letter := range alphabet {
			add(letter)
		}
		list := []string{"a", "b", "c"}
		for range 20 {
			seed = seed*6364136223846793005 + 1442695040888963407
			pair := Merge{list[(seed>>33)%uint64(len(list))], list[(seed>>45)%uint64(len(list))]}
			if !slices.Contains(b.Merges, pair) && len(pair[0]+pair[1]) < 20 {
				b.Merges = append(b.Merges, pair)
				add(pair[0] + pair[1])
				list = append(list, pair[0]+pair[1])
			}
		}
		model, err := b.Model()
		if err != nil {
			t.Fatal(err)
		}
		m := model.(*bpe)
		ids := func() (ids []int32) {
			for i := range len(word) {
				ids = append(ids, m.bytes[word[i]])
			}
			return ids
		}
		if short, long := m.merge(ids()), m.mergeLong(ids()); !slices.Equal(short, long) {
			t.Fatalf("%q with %v: %v, by the heap %v", word, b.Merges, short, long)
		}
	})
}

// Viterbi's way is as good as any: it is held against all ways to cut a short word.
func FuzzUnigram(f *testing.F) {
	f.Add("abcab", `[["<unk>", 0], ["a", -1], ["b", -1.5], ["ab", -2], ["abc", -9], ["ca", -1]]`)
	f.Fuzz(func(t *testing.T, word, vocabulary string) {
		var u Unigram
		if json.Unmarshal([]byte(vocabulary), &u.Pieces) != nil || len(word) > 8 || word == "" || !utf8.ValidString(word) {
			return
		}
		model, err := u.Model()
		if err != nil {
			return
		}
		ids := model.Append(nil, word)
		known, text := true, ""
		for _, id := range ids {
			if id == 0 {
				known = false
			}
			text += u.Pieces[id].Text
		}
		if known && text != word {
			t.Fatalf("%q becomes %v, %q", word, ids, text)
		}
		if !known {
			return
		}
		score := 0.0
		for _, id := range ids {
			score += u.Pieces[id].Score
		}
		var best func(rest string) float64
		best = func(rest string) float64 {
			if rest == "" {
				return 0
			}
			most := -1e300
			for id, p := range u.Pieces {
				if id > 0 && model.IDs()[p.Text] == int32(id) && strings.HasPrefix(rest, p.Text) {
					most = max(most, p.Score+best(rest[len(p.Text):]))
				}
			}
			return most
		}
		if want := best(word); score < want-1e-6*max(1, -want) {
			t.Fatalf("%q: %v scores %g, another cut %g", word, ids, score, want)
		}
	})
}
