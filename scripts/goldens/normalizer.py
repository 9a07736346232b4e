"""Makes internal/tokenizer/testdata/normalizer.json: what Hugging Face's tokenizers library makes of every code point.

    pip install tokenizers==0.23.3
    python scripts/goldens/normalizer.py > internal/tokenizer/testdata/normalizer.json

For each code point c but surrogates, and each normaliser below, the probe is

    a c U+1D166 U+302E c U+1BAA b

whose three fixed marks (combining classes 216, 224 and 9, none of them dropped as an accent) show c's own
class by how the five are reordered. Its words, after BertPreTokenizer, are joined by U+001F and a newline
follows. Each block of 4096 code points gives the first 16 hex digits of the sha256 of its lines in UTF-8.
"""

import hashlib
import json
import sys

import tokenizers
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer

BLOCK = 4096
NORMALIZERS = {
    "cased": dict(clean_text=True, handle_chinese_chars=True, strip_accents=False, lowercase=False),
    "uncased": dict(clean_text=True, handle_chinese_chars=True, strip_accents=True, lowercase=True),
    "lower, accents kept": dict(clean_text=True, handle_chinese_chars=True, strip_accents=False, lowercase=True),
    "stripped, case kept": dict(clean_text=True, handle_chinese_chars=False, strip_accents=True, lowercase=False),
    "not cleaned": dict(clean_text=False, handle_chinese_chars=True, strip_accents=True, lowercase=True),
}


def line(normalizer, words, c):
    probe = "a" + chr(c) + "\U0001d166\u302e" + chr(c) + "\u1baab"
    return "\x1f".join(w for w, _ in words.pre_tokenize_str(normalizer.normalize_str(probe))) + "\n"


def main():
    words = BertPreTokenizer()
    result = {"maker": f"scripts/goldens/normalizer.py, tokenizers {tokenizers.__version__}", "block": BLOCK, "normalizers": {}}
    for name, options in NORMALIZERS.items():
        n = BertNormalizer(**options)
        blocks = []
        for start in range(0, 0x110000, BLOCK):
            lines = [line(n, words, c) for c in range(start, start + BLOCK) if not 0xD800 <= c <= 0xDFFF]
            blocks.append(hashlib.sha256("".join(lines).encode()).hexdigest()[:16])
        result["normalizers"][name] = {"options": options, "blocks": blocks}
    json.dump(result, sys.stdout, indent=1)
    print()


main()
