"""Makes data/testdata/encoders.json: tokenizers of ALBERT, CamemBERT and ELECTRA, trained tiny on a few sentences, as their
files and what Transformers gives for texts that are hard for them.

    python scripts/goldens/encoder_tokenizers.py > data/testdata/encoders.json

Needs transformers, tokenizers, sentencepiece and protobuf. A SentencePiece model trained here has no compiled rewritings
(normalization_rule_name identity): the real ones take 300 kB.
"""
import base64
import io
import json
import os
import sys
import tempfile

import sentencepiece
import tokenizers
import transformers
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from transformers.convert_slow_tokenizer import AlbertConverter, CamembertConverter, import_protobuf

TEXT = """The quick brown fox jumps over the lazy dog, and 1,250 people in 2024 saw it: 3,000 of them twice.
Un élève français était très étonné : l'été n'avait duré que 12 jours, ou 1,5 semaine.
Don't say "never" (or -- worse -- 'always'); say maybe. A naïve café in São Paulo costs £3.50, or €4.
She sells sea shells, 10, 20, 30, 45, 50, 69, 70 of them, by the sea shore. Où est la bibliothèque ?
""".splitlines()

CASES = [
    ("Hello World", None), ("It costs 1,250 or 3,000, not 45, or 9,", "``Quoted'' text"), ("ÉTÉ été e\u0301te\u0301 İI", "Straße ﬁne ½"),
    ("  two  spaces\tand\u00a0more \n", ""), ("l'été (n'avait) - \"duré\" £3 €4", "[MASK] <mask> [SEP]</s> [CLS]<s>"),
    ("a [MASK] b  <mask> c<mask>", None), ("北京 unknown 👍 ok 👍🏽👍", "<unk> [UNK] <pad> ▁ x▁y"), ("", None), ("", "x"), ("\u200bzero\u00adwidth", "1,2,3, 4,"),
    ("the quick brown fox jumps over the lazy dog and the quick brown fox", "sea shells by the sea shore"),
]


def train(folder, file, **options):
    stream = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXT), model_writer=stream, model_type="unigram", vocab_size=140, hard_vocab_limit=False,
        character_coverage=1.0, minloglevel=2, num_threads=1, normalization_rule_name="identity", **options)
    with open(os.path.join(folder, file), "wb") as f:
        f.write(stream.getvalue())
    proto = import_protobuf().ModelProto()
    proto.ParseFromString(stream.getvalue())
    return proto


def albert(folder, config):
    proto = train(folder, "spiece.model", pad_id=0, unk_id=1, bos_id=-1, eos_id=-1, control_symbols=["[CLS]", "[SEP]"],
                  user_defined_symbols=["[MASK]", "(", ")", '"', "-", ".", "£", "€"])
    # As published files have it: pieces of a digit and a comma count for nothing (AlbertConverter.vocab).
    vocab = AlbertConverter.vocab(None, proto)
    extra = [tokenizers.AddedToken(p.piece, normalized=False, special=p.type == 3) for p in proto.pieces if p.type in (3, 4)]
    return transformers.AlbertTokenizer(vocab=vocab, additional_special_tokens=extra, **config)


def camembert(folder, config):
    proto = train(folder, "sentencepiece.bpe.model")
    vocab = CamembertConverter.convert_from_spm(vocab=[(p.piece, p.score) for p in proto.pieces])["vocab"]
    return transformers.CamembertTokenizer(vocab=vocab, additional_special_tokens=["<s>", "</s>"], **config)


def electra(folder, config):
    t = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    t.normalizer, t.pre_tokenizer = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
    t.train_from_iterator(TEXT, trainers.WordPieceTrainer(
        vocab_size=160, special_tokens=["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], show_progress=False))
    vocab = sorted(t.get_vocab().items(), key=lambda kv: kv[1])
    with open(os.path.join(folder, "vocab.txt"), "w", encoding="utf8") as f:
        f.writelines(token + "\n" for token, _ in vocab)
    return transformers.BertTokenizer(vocab=dict(vocab), **config)  # which model type electra has


FAMILIES = {
    "albert": (albert, "AlbertTokenizer", {}),
    "albert-cased": (albert, "AlbertTokenizer", {"do_lower_case": False, "keep_accents": True}),
    "camembert": (camembert, "CamembertTokenizer", {}),
    "electra": (electra, "ElectraTokenizer", {"do_lower_case": True}),
}


def main():
    made = {"maker": "scripts/goldens/encoder_tokenizers.py", "versions": {
        "transformers": transformers.__version__, "tokenizers": tokenizers.__version__, "sentencepiece": sentencepiece.__version__}}
    for name, (make, cls, config) in FAMILIES.items():
        with tempfile.TemporaryDirectory() as folder:
            t = make(folder, config)
            files = {f: base64.b64encode(open(os.path.join(folder, f), "rb").read()).decode() for f in os.listdir(folder)}
            said = json.dumps({"tokenizer_class": cls, **config})
            files["tokenizer_config.json"] = base64.b64encode(said.encode()).decode()
            whole = t.backend_tokenizer.to_str()
        cases = []
        for limit in (0, 12):
            for text, pair in CASES:
                backend = t.backend_tokenizer
                backend.no_truncation()
                if limit:
                    backend.enable_truncation(limit)
                e = backend.encode(text, pair)
                cases.append({"text": text, "pair": pair, "max_length": limit, "ids": e.ids, "types": e.type_ids})
        made[name] = {"files": files, "tokenizer.json": whole, "cases": cases}
    json.dump(made, sys.stdout, ensure_ascii=False, indent=1)
    print()


main()
