"""Makes internal/tokenizer/testdata/characters.json: what the parts of Hugging Face's tokenizers library make of every code
point, as hashes of blocks of 0x1000.

    python scripts/goldens/characters.py > internal/tokenizer/testdata/characters.json

Each line hashed is what a part makes of a, the code point, U+0301, U+0323, the code point again and b; for those that cut,
the words with U+001F between.
"""
import hashlib
import json
import sys

import tokenizers
from tokenizers import Regex, normalizers, pre_tokenizers

BLOCK = 0x1000
NORMALIZERS = {
    "NFC": normalizers.NFC(), "NFD": normalizers.NFD(), "NFKC": normalizers.NFKC(), "NFKD": normalizers.NFKD(),
    "Lowercase": normalizers.Lowercase(), "StripAccents": normalizers.StripAccents(), "Nmt": normalizers.Nmt(),
    "Letters": normalizers.Replace(Regex(r"\p{L}"), "L"), "Numbers": normalizers.Replace(Regex(r"\p{N}"), "N"),
    "Spaces": normalizers.Replace(Regex(r"\s"), "_"),
}
CUTTERS = {
    "ByteLevel": pre_tokenizers.ByteLevel(add_prefix_space=False), "Digits": pre_tokenizers.Digits(individual_digits=True),
    "Punctuation": pre_tokenizers.Punctuation(), "WhitespaceSplit": pre_tokenizers.WhitespaceSplit(),
}


def lines(name, start):
    for cp in range(start, start + BLOCK):
        if 0xD800 <= cp <= 0xDFFF:
            continue
        probe = "a" + chr(cp) + "\u0301\u0323" + chr(cp) + "b"
        if name in NORMALIZERS:
            yield NORMALIZERS[name].normalize_str(probe)
        else:
            yield "\x1f".join(probe[a:b] for _, (a, b) in CUTTERS[name].pre_tokenize_str(probe))


def main():
    made = {"maker": f"scripts/goldens/characters.py, tokenizers {tokenizers.__version__}", "block": BLOCK, "parts": {}}
    for name in [*NORMALIZERS, *CUTTERS]:
        made["parts"][name] = [
            hashlib.sha256("".join(line + "\n" for line in lines(name, start)).encode()).hexdigest()[:12]
            for start in range(0, 0x110000, BLOCK)
        ]
    json.dump(made, sys.stdout, indent=0)
    print()


main()
