package tokenizer

import (
	"cmp"
	"slices"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Cleaner is BERT's normaliser as Hugging Face's tokenizers library has it, code point by code point
// (formats.md 5, steps 2 to 5; testdata/normalizer.json was made with that library).
type Cleaner struct {
	Clean   bool // drop control characters, turn every white space into a space
	Chinese bool // put spaces around ideographs
	Strip   bool // drop accents
	Lower   bool
}

// AppendTo appends the normalised form of s, which must be valid UTF-8, to dst.
func (c Cleaner) AppendTo(dst []byte, s string) []byte {
	w := cleanWriter{dst: dst, Cleaner: c}
	for i := 0; i < len(s); {
		if b := s[i]; b < utf8.RuneSelf {
			w.ascii(b)
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		w.wide(r)
		i += size
	}
	w.flush()
	return w.dst
}

// Normalize returns the normalised form of s.
func (c Cleaner) Normalize(s string) string { return string(c.AppendTo(make([]byte, 0, len(s)+8), s)) }

// cleanWriter holds combining marks back until their order is known.
type cleanWriter struct {
	Cleaner
	dst   []byte
	marks []mark
	nfd   []byte // scratch
}

type mark struct {
	r   rune
	ccc uint8 // canonical combining class, never 0
}

// ascii is a shortcut for the characters that nearly all text consists of.
func (w *cleanWriter) ascii(b byte) {
	if w.Clean {
		switch {
		case b == '\t' || b == '\n' || b == '\r':
			b = ' '
		case b < ' ' || b == 0x7f:
			return
		}
	}
	if len(w.marks) > 0 {
		w.flush()
	}
	if w.Lower && 'A' <= b && b <= 'Z' {
		b += 'a' - 'A'
	}
	w.dst = append(w.dst, b)
}

func (w *cleanWriter) wide(r rune) {
	if w.Clean {
		switch {
		case isDropped(r):
			return
		case unicode.IsSpace(r):
			w.ascii(' ')
			return
		}
	}
	if w.Chinese && isChinese(r) {
		w.ascii(' ')
		defer w.ascii(' ')
	}
	if w.Strip {
		w.decompose(r)
		return
	}
	w.put(r)
}

// decompose writes r in normal form D, less its accents. Marks are sorted here, not by norm.NFD on the
// whole text: that has a newer Unicode, and breaks runs of more than thirty marks with a U+034F.
func (w *cleanWriter) decompose(r rune) {
	if !inUnicode9(r) {
		w.flush()
		w.put(r) // unknown then: no decomposition, class 0
		return
	}
	var buf [utf8.UTFMax]byte
	w.nfd = norm.NFD.Append(w.nfd[:0], buf[:utf8.EncodeRune(buf[:], r)]...)
	for rest := w.nfd; len(rest) > 0; {
		part, size := utf8.DecodeRune(rest)
		ccc := norm.NFD.Properties(rest).CCC()
		rest = rest[size:]
		accent := isAccent(part)
		if ccc == 0 {
			w.flush()
			if !accent {
				w.put(part)
			}
		} else if !accent { // dropping an accent here leaves the order of the others as it would be
			w.marks = append(w.marks, mark{part, ccc})
		}
	}
}

// flush writes the marks held back in canonical order: by class, otherwise as they came.
func (w *cleanWriter) flush() {
	slices.SortStableFunc(w.marks, func(a, b mark) int { return cmp.Compare(a.ccc, b.ccc) })
	for _, m := range w.marks {
		w.put(m.r)
	}
	w.marks = w.marks[:0]
}

func (w *cleanWriter) put(r rune) {
	if w.Lower {
		if r == 'İ' { // the one letter whose small form is two code points
			w.dst = append(w.dst, "i\u0307"...)
			return
		}
		r = lower(r)
	}
	w.dst = utf8.AppendRune(w.dst, r)
}

// SplitWords calls yield with each word of a normalised text, in order: white space separates words and
// is lost, a punctuation mark is a word of its own (formats.md 5, step 6). Words are slices of text.
func SplitWords(text []byte, yield func(word []byte)) {
	start := 0
	for i := 0; i < len(text); {
		r, size := rune(text[i]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRune(text[i:])
		}
		space := unicode.IsSpace(r)
		if space || isPunctuation(r) {
			if start < i {
				yield(text[start:i])
			}
			if !space {
				yield(text[i : i+size])
			}
			start = i + size
		}
		i += size
	}
	if start < len(text) {
		yield(text[start:])
	}
}
