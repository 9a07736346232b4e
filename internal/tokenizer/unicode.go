package tokenizer

import (
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/rangetable"
)

// The classes of characters below are frozen as the tokenizers library has them, since a model's
// vocabulary was made with them: general categories of Unicode 8, normal forms of Unicode 9, small
// letters of Unicode 17. Go's tables are another Unicode and move with the compiler, so each class is Go's
// class cut down to what existed then, and the few characters that changed class since are named.
// TestCleanMatchesEveryCodePoint holds all of it against that library.

var (
	unicode8 = rangetable.Assigned("8.0.0")
	unicode9 = rangetable.Assigned("9.0.0")
)

func inUnicode9(r rune) bool { return unicode.Is(unicode9, r) }

// isDropped reports the characters cleaning removes: categories Cc, Cf and Co, U+FFFD. Tab and the line
// ends, which are Cc, are white space and must be asked for before. Unassigned code points stay.
func isDropped(r rune) bool {
	if r == utf8.RuneError || unicode.In(r, unicode.Cc, unicode.Co) {
		return true
	}
	return unicode.Is(unicode.Cf, r) && unicode.Is(unicode8, r)
}

// isAccent reports the nonspacing marks, category Mn.
func isAccent(r rune) bool {
	switch r {
	case 0x1734: // Mc today
		return true
	case 0x1885, 0x1886, 0xA9BD, 0x111C9: // Mn today
		return false
	}
	return unicode.Is(unicode.Mn, r) && unicode.Is(unicode8, r)
}

// isPunctuation reports category P, and every ASCII character that is not a letter, digit, space or control.
func isPunctuation(r rune) bool {
	if r < utf8.RuneSelf {
		return '!' <= r && r <= '/' || ':' <= r && r <= '@' || '[' <= r && r <= '`' || '{' <= r && r <= '~'
	}
	switch r {
	case 0x166D, 0x111C9: // So and Mn today
		return true
	}
	return unicode.IsPunct(r) && unicode.Is(unicode8, r)
}

// isChinese reports the blocks of ideographs. The library starts extension E 0x100 late, at U+2B920, and
// its ids are the ones that count.
func isChinese(r rune) bool {
	return 0x4E00 <= r && r <= 0x9FFF || 0x3400 <= r && r <= 0x4DBF ||
		0x20000 <= r && r <= 0x2A6DF || 0x2A700 <= r && r <= 0x2B81F || 0x2B920 <= r && r <= 0x2CEAF ||
		0xF900 <= r && r <= 0xFAFF || 0x2F800 <= r && r <= 0x2FA1F
}

// lower returns the small letter of r. Letters that Unicode 16 and 17 added are spelled out, since Go has
// Unicode 15. U+0130, whose small form is two code points, is the caller's.
func lower(r rune) rune {
	switch {
	case 0x10D50 <= r && r <= 0x10D65: // Garay
		return r + 0x20
	case 0x16EA0 <= r && r <= 0x16EB8: // Beria Erfe
		return r + 0x1B
	}
	switch r {
	case 0x1C89, 0xA7CC, 0xA7CE, 0xA7D2, 0xA7D4, 0xA7DA:
		return r + 1
	case 0xA7CB:
		return 0x0264
	case 0xA7DC:
		return 0x019B
	}
	return unicode.ToLower(r)
}

// newLetters and newNumbers came with Unicode 15.1 and 16, which the library's expressions know and Go does not yet.
var (
	newLetters = [][2]rune{
		{0x1C89, 0x1C8A},
		{0xA7CB, 0xA7CD},
		{0xA7DA, 0xA7DC},
		{0x105C0, 0x105F3},
		{0x10D4A, 0x10D65},
		{0x10D6F, 0x10D85},
		{0x10EC2, 0x10EC4},
		{0x11380, 0x11389},
		{0x1138B, 0x1138B},
		{0x1138E, 0x1138E},
		{0x11390, 0x113B5},
		{0x113B7, 0x113B7},
		{0x113D1, 0x113D1},
		{0x113D3, 0x113D3},
		{0x11BC0, 0x11BE0},
		{0x13460, 0x143FA},
		{0x16100, 0x1611D},
		{0x16D40, 0x16D6C},
		{0x18CFF, 0x18CFF},
		{0x1E5D0, 0x1E5ED},
		{0x1E5F0, 0x1E5F0},
		{0x2EBF0, 0x2EE5D},
	}
	newNumbers = [][2]rune{
		{0x10D40, 0x10D49},
		{0x116D0, 0x116E3},
		{0x11BF0, 0x11BF9},
		{0x16130, 0x16139},
		{0x16D70, 0x16D79},
		{0x1CCF0, 0x1CCF9},
		{0x1E5F1, 0x1E5FA},
	}
	// newDigits are those of Unicode 17, of which the library's Digits is.
	newDigits = append([][2]rune{{0x11DE0, 0x11DE9}, {0x16FF4, 0x16FF6}}, newNumbers...)
)

func within(list [][2]rune, r rune) bool {
	for _, span := range list {
		if span[0] <= r && r <= span[1] {
			return true
		}
	}
	return false
}

func isLetter(r rune) bool { return unicode.IsLetter(r) || r >= 0x1C89 && within(newLetters, r) }

func isNumber(r rune) bool { return unicode.IsNumber(r) || r >= 0x10D40 && within(newNumbers, r) }

func isDigit(r rune) bool { return unicode.IsNumber(r) || r >= 0x10D40 && within(newDigits, r) }

// isMark reports category M of Unicode 9.
func isMark(r rune) bool {
	switch r {
	case 0x1CF2, 0x1CF3: // Lo today
		return true
	case 0x111C9: // Po then
		return false
	}
	return unicode.IsMark(r) && inUnicode9(r)
}
