"""Makes the goldens of cmd/deeplora/internal/wordpiece with Hugging Face's WordPieceTrainer, and holds the package's files against
Transformers.

    pip install tokenizers==0.23.3 transformers==5.24.0
    python scripts/goldens/wordpiece.py make cmd/deeplora/internal/wordpiece/testdata internal/builtin/STS-B [GLUE]
    python scripts/goldens/wordpiece.py check FOLDER GLUE/SST-2/validation.tsv

GLUE is a folder of SST-2, STS-B and RTE; without it the numbers of those texts are left as they are.

The trainer numbers the ## characters in the order of a hash map that is seeded anew each run, and ids decide between
pairs of one count. Each vocabulary is made twice: "fixed", where all single characters, ours in their order, are named
as special tokens, which is all the trainer needs to be deterministic (it cuts words before it knows of special
tokens); and "stock", as it comes, where the test takes over the order of that one run.

wordpiece.json           vocabularies of small texts, of GLUE the sha256 of vocab.txt and of the ids of SST-2's validation
                         set, each line "101 7592 102\\n"
tokenizer.json, tokenizer_config.json
                         as BertTokenizer.save_pretrained writes them of the first vocabulary
"""

import collections
import hashlib
import json
import sys
import tempfile
from pathlib import Path

import tokenizers
import transformers
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.trainers import WordPieceTrainer

SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
COLUMNS = {"STS-B": ("sentence1", "sentence2"), "SST-2": ("sentence",), "RTE": ("sentence1", "sentence2")}


def fields(path, columns):
    lines = path.read_text(encoding="utf-8").split("\n")
    at = [lines[0].split("\t").index(c) for c in columns]
    return [line.split("\t")[i] for line in lines[1:] if line for i in at]


def blank(lowercase):
    t = Tokenizer(WordPiece(unk_token="[UNK]"))
    t.normalizer = BertNormalizer(lowercase=lowercase)
    t.pre_tokenizer = BertPreTokenizer()
    return t


def train(texts, specials, lowercase, size, min_frequency, limit):
    t = blank(lowercase)
    t.train_from_iterator(
        texts,
        WordPieceTrainer(
            vocab_size=size, min_frequency=min_frequency, limit_alphabet=limit, special_tokens=specials, show_progress=False
        ),
    )
    ids = t.get_vocab()
    return sorted(ids, key=ids.get)


def single_characters(texts, lowercase, limit):
    """The alphabet, counted here, in the order of cmd/deeplora/internal/wordpiece."""
    t, counts, inside = blank(lowercase), collections.Counter(), set()
    for text in texts:
        for w, _ in t.pre_tokenizer.pre_tokenize_str(t.normalizer.normalize_str(text)):
            counts.update(w)
            inside.update(w[1:])
    kept = sorted(counts, key=lambda c: (-counts[c], c))
    if len(kept) > limit and counts[kept[limit - 1]] == counts[kept[limit]]:
        raise SystemExit(f"limit {limit} cuts between equally frequent characters: the trainer leaves that to chance")
    kept = sorted(kept[:limit])
    return kept + ["##" + c for c in kept if c in inside]


def vocabulary(texts, lowercase, size, min_frequency=2, limit=1000, stock=False):
    specials = SPECIALS if stock else SPECIALS + single_characters(texts, lowercase, limit)
    return train(texts, specials, lowercase, size, min_frequency, limit)


def fast(vocab, lowercase, folder):
    (Path(folder) / "vocab.txt").write_text("\n".join(vocab) + "\n", encoding="utf-8")
    return transformers.BertTokenizerFast(
        vocab=str(Path(folder) / "vocab.txt"), do_lower_case=lowercase, model_max_length=128
    )


def ids_digest(tokenizer, sentences):
    lines = [" ".join(map(str, tokenizer(s)["input_ids"])) + "\n" for s in sentences]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def small_cases(texts):
    for text, lowercase, size, minimum, limit in [
        ("sts-b", True, 300, 2, 1000),
        ("sts-b", True, 1200, 2, 1000),
        ("sts-b", False, 1000, 3, 1000),
        ("sts-b", True, 100000, 1, 1000),  # ends when no pair is left
        ("sts-b", True, 400, 2, 20),  # characters vanish
        ("odd", True, 400, 2, 1000),
        ("odd", False, 600, 1, 1000),
        ("repeats", True, 60, 2, 1000),
        ("repeats", True, 1000, 1, 1000),
    ]:
        for stock in (False, True):
            vocab = vocabulary(texts[text], lowercase, size, minimum, limit, stock)
            yield {
                "text": text, "lowercase": lowercase, "size": size, "min_frequency": minimum, "limit_alphabet": limit,
                "stock": stock, "vocab": " ".join(vocab),
            }  # fmt: skip


def glue_cases(glue):
    texts = [s for task, columns in sorted(COLUMNS.items()) for s in fields(glue / task / "train.tsv", columns)]
    sentences = fields(glue / "SST-2" / "validation.tsv", COLUMNS["SST-2"])
    for lowercase, size in [(True, 500), (True, 2000), (True, 8000), (False, 2000)]:
        vocab = vocabulary(texts, lowercase, size)
        with tempfile.TemporaryDirectory() as folder:
            ids = ids_digest(fast(vocab, lowercase, folder), sentences)
        lines = "".join(token + "\n" for token in vocab)
        yield {
            "lowercase": lowercase, "size": size, "vocab_sha256": hashlib.sha256(lines.encode()).hexdigest(),
            "sst2_ids_sha256": ids,
        }  # fmt: skip


def make(out, builtin, glue=None):
    out, builtin = Path(out), Path(builtin)
    texts = {name: (out / f"{name}.txt").read_text(encoding="utf-8").rstrip("\n").split("\n") for name in ("odd", "repeats")}
    texts["sts-b"] = [s for f in ("train.tsv", "validation.tsv") for s in fields(builtin / f, COLUMNS["STS-B"])]
    golden = out / "wordpiece.json"
    cases = list(small_cases(texts))
    large = list(glue_cases(Path(glue))) if glue else json.loads(golden.read_text())["glue"]
    maker = f"scripts/goldens/wordpiece.py, tokenizers {tokenizers.__version__}, transformers {transformers.__version__}"
    golden.write_text(json.dumps({"maker": maker, "small": cases, "glue": large}, ensure_ascii=False, indent=1) + "\n")
    with tempfile.TemporaryDirectory() as folder:
        fast(cases[0]["vocab"].split(" "), True, folder).save_pretrained(folder)
        for name in ("tokenizer.json", "tokenizer_config.json"):
            (out / name).write_bytes((Path(folder) / name).read_bytes())


def check(folder, validation):
    """Prints what AutoTokenizer makes of a folder, and its digest of SST-2's validation set."""
    t = transformers.AutoTokenizer.from_pretrained(folder)
    print(type(t).__name__, len(t), t.model_max_length, t("A first text.", "and its pair")["token_type_ids"])
    print(ids_digest(t, fields(Path(validation), COLUMNS["SST-2"])))


{"make": make, "check": check}[sys.argv[1]](*sys.argv[2:])
