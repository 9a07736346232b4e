package tokenizer

import (
	"cmp"
	"slices"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// The normal forms below are those of Unicode 9, as the tokenizers library has them. norm's own functions on a whole
// text are of a newer Unicode, and break runs of more than thirty marks with a U+034F.

func nfc(s string) string {
	if below(s, 0x300) {
		return s // composed already
	}
	return compose(decompose(s, norm.NFD))
}

func nfd(s string) string {
	if below(s, utf8.RuneSelf) {
		return s
	}
	return string(decompose(s, norm.NFD).runes)
}

func nfkc(s string) string {
	if below(s, 0xa0) {
		return s
	}
	return compose(decompose(s, norm.NFKD))
}

func nfkd(s string) string {
	if below(s, 0xa0) {
		return s
	}
	return string(decompose(s, norm.NFKD).runes)
}

func below(s string, limit rune) bool {
	for _, r := range s {
		if r >= limit {
			return false
		}
	}
	return true
}

// decomposed is a text with each code point's combining class.
type decomposed struct {
	runes   []rune
	classes []uint8
}

// decompose takes code points apart and sorts the marks.
func decompose(s string, form norm.Form) decomposed {
	d := decomposed{make([]rune, 0, len(s)), make([]uint8, 0, len(s))}
	var buf []byte
	var one [utf8.UTFMax]byte
	for _, r := range s {
		if r < utf8.RuneSelf || !inUnicode9(r) { // unknown then: no decomposition, class 0
			d.runes, d.classes = append(d.runes, r), append(d.classes, 0)
			continue
		}
		buf = form.Append(buf[:0], one[:utf8.EncodeRune(one[:], r)]...)
		for rest := buf; len(rest) > 0; {
			part, size := utf8.DecodeRune(rest)
			d.runes, d.classes = append(d.runes, part), append(d.classes, norm.NFD.Properties(rest).CCC())
			rest = rest[size:]
		}
	}
	d.sort()
	return d
}

// sort orders each run of marks by class, otherwise as they came.
func (d *decomposed) sort() {
	type mark struct {
		r     rune
		class uint8
	}
	var run []mark
	for from := 0; from < len(d.runes); {
		to := from
		for to < len(d.runes) && d.classes[to] != 0 {
			to++
		}
		if to-from > 1 {
			run = run[:0]
			for i := from; i < to; i++ {
				run = append(run, mark{d.runes[i], d.classes[i]})
			}
			slices.SortStableFunc(run, func(a, b mark) int { return cmp.Compare(a.class, b.class) })
			for i, m := range run {
				d.runes[from+i], d.classes[from+i] = m.r, m.class
			}
		}
		from = to + 1
	}
}

// compose puts code points together again: a mark joins the last starter unless one of its class or a higher stands
// between.
func compose(d decomposed) string {
	out := make([]rune, 0, len(d.runes))
	starter, last := -1, uint8(0) // where in out; the class before the code point at hand
	for i, r := range d.runes {
		class := d.classes[i]
		adjacent := starter == len(out)-1
		if starter >= 0 && (adjacent || last != 0 && last < class) {
			if both, ok := composed(out[starter], r); ok {
				out[starter] = both
				continue
			}
		}
		if class == 0 {
			starter = len(out)
		}
		last = class
		out = append(out, r)
	}
	return string(out)
}

// composed is the one code point that two make in Unicode 9.
func composed(a, b rune) (rune, bool) {
	if b < 0x300 || !inUnicode9(a) || !inUnicode9(b) {
		return 0, false
	}
	var pair, both [2*utf8.UTFMax + 8]byte
	n := utf8.EncodeRune(pair[:], a)
	n += utf8.EncodeRune(pair[n:], b)
	joined := norm.NFC.Append(both[:0], pair[:n]...)
	r, size := utf8.DecodeRune(joined)
	return r, size == len(joined) && inUnicode9(r)
}
