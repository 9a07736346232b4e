"""Makes a small random encoder of each family that deeplora reads, with a tokenizer of the family's kind.

    python scripts/families.py OUT [--text STS-B.tsv] [--family NAME ...] [--base [--layers 4]]

OUT/NAME holds config.json, model.safetensors (the encoder alone, as Transformers' AutoModel saves it) and the files of a
tokenizer that was trained on the sentences of a file. Weights are drawn wide, so that a mistake shows. With --base they are of
the size that is called base, but for the vocabulary, drawn as Transformers draws them: to measure time with. check_peft.py has
them made for itself. Needs torch, transformers, tokenizers.
"""

import argparse
import json
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VOCABULARY = 800


def configs(vocab):
    """The configuration of each family; the sizes of names that differ are set alike."""
    import transformers as t

    common = {"vocab_size": vocab, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    wide = {"intermediate_size": 128, "max_position_embeddings": 130}
    begins = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}
    return {
        "roberta": t.RobertaConfig(**common, **wide, **begins, type_vocab_size=1, layer_norm_eps=1e-5),
        "xlm-roberta": t.XLMRobertaConfig(**common, **wide, **begins, type_vocab_size=1, layer_norm_eps=1e-5),
        "camembert": t.CamembertConfig(**common, **wide, **begins, type_vocab_size=1, layer_norm_eps=1e-5),
        "distilbert": t.DistilBertConfig(vocab_size=vocab, dim=64, n_layers=2, n_heads=4, hidden_dim=128, max_position_embeddings=130),
        "electra": t.ElectraConfig(**common, **wide, embedding_size=32),
        "mpnet": t.MPNetConfig(**common, **wide, **begins),
        "albert": t.AlbertConfig(**common, **wide, embedding_size=32),
        "modernbert": t.ModernBertConfig(
            **common, intermediate_size=64, max_position_embeddings=130, local_attention=16, global_attn_every_n_layers=2,
            pad_token_id=0, bos_token_id=2, eos_token_id=3, cls_token_id=2, sep_token_id=3,
        ),
        "deberta-v2": t.DebertaV2Config(
            **common, **wide, type_vocab_size=0, relative_attention=True, max_relative_positions=16, position_buckets=-1, share_att_key=False,
            pos_att_type=["c2p", "p2c"], position_biased_input=True, pooler_hidden_size=64, pooler_hidden_act="gelu",
        ),
        "deberta-v3": t.DebertaV2Config(
            **common, **wide, type_vocab_size=0, relative_attention=True, position_buckets=16, norm_rel_ebd="layer_norm", share_att_key=True,
            pos_att_type=["p2c", "c2p"], position_biased_input=False, pooler_hidden_size=64, pooler_hidden_act="gelu",
        ),
    }


def base(config, layers):
    """Gives a configuration the sizes of its family's base model, and so many layers, or as many as that one has."""
    small = {"distilbert": 6, "modernbert": 22}.get(config.model_type, 12)
    sizes = {"hidden_size": 768, "num_attention_heads": 12, "intermediate_size": 3072, "num_hidden_layers": layers or small, "max_position_embeddings": 514}
    sizes |= {
        "distilbert": {"hidden_dim": 3072},  # the other names are those of an attribute map
        "electra": {"embedding_size": 768},
        "albert": {"embedding_size": 128},
        "modernbert": {"intermediate_size": 1152, "local_attention": 128, "global_attn_every_n_layers": 3, "layer_types": None},
        "deberta-v2": {"pooler_hidden_size": 768} | ({"position_buckets": 256} if config.position_buckets > 0 else {"max_relative_positions": 512})
        if config.model_type == "deberta-v2"
        else {},
    }.get(config.model_type, {})
    text = config.to_dict() | {config.attribute_map.get(k, k): v for k, v in sizes.items()}
    return type(config).from_dict({k: v for k, v in text.items() if v is not None})


def template(t, cls, sep, pair):
    """Special tokens around a text and around a pair."""
    from tokenizers import processors

    t.post_processor = processors.TemplateProcessing(single=f"{cls} $A {sep}", pair=pair, special_tokens=[(s, t.token_to_id(s)) for s in (cls, sep)])


def tokenizer(family, sentences):
    """The tokenizer, the names of its special tokens and what tokenizer_config.json says besides."""
    from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers, trainers

    old = {"cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "unk_token": "[UNK]", "mask_token": "[MASK]"}
    new = {"bos_token": "<s>", "eos_token": "</s>", "cls_token": "<s>", "sep_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>",
           "mask_token": AddedToken("<mask>", lstrip=True)}
    bert = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    fairseq = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    bert_pair, types = "[CLS] $A [SEP] $B:1 [SEP]:1", {"model_input_names": ["input_ids", "attention_mask"]}
    if family in ("distilbert", "electra", "mpnet"):
        names = dict(new, unk_token="[UNK]") if family == "mpnet" else old
        specials = ["<s>", "<pad>", "</s>", "[UNK]", "<mask>"] if family == "mpnet" else bert
        t = Tokenizer(models.WordPiece(unk_token="[UNK]", max_input_chars_per_word=100))
        t.normalizer, t.pre_tokenizer = normalizers.BertNormalizer(lowercase=True), pre_tokenizers.BertPreTokenizer()
        t.train_from_iterator(sentences, trainers.WordPieceTrainer(vocab_size=VOCABULARY, special_tokens=specials, show_progress=False))
        if family == "mpnet":
            template(t, "<s>", "</s>", "<s> $A </s> </s> $B </s>")
            return t, names, {"tokenizer_class": "MPNetTokenizer", "do_lower_case": True}
        template(t, "[CLS]", "[SEP]", bert_pair)
        return t, names, {"tokenizer_class": {"distilbert": "DistilBertTokenizer", "electra": "ElectraTokenizer"}[family], "do_lower_case": True}
    if family in ("roberta", "modernbert"):
        t = Tokenizer(models.BPE())
        if family == "modernbert":
            t.normalizer = normalizers.NFC()
        t.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        trainer = trainers.BpeTrainer(vocab_size=VOCABULARY, special_tokens=fairseq if family == "roberta" else bert, show_progress=False,
                                      initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
        t.train_from_iterator(sentences, trainer)
        if family == "roberta":
            template(t, "<s>", "</s>", "<s> $A </s> </s> $B </s>")
            return t, new, {"tokenizer_class": "RobertaTokenizer", "add_prefix_space": False}
        template(t, "[CLS]", "[SEP]", bert_pair)
        return t, old, {"tokenizer_class": "PreTrainedTokenizerFast", **types}
    t = Tokenizer(models.Unigram())
    two = normalizers.Replace(Regex(" {2,}"), " ")
    t.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase(), two] if family == "albert" else [normalizers.NFKC(), two])
    t.pre_tokenizer = pre_tokenizers.Metaspace(replacement="\u2581", prepend_scheme="always")
    names, specials, unk = (new, fairseq, "<unk>") if "rob" in family or family == "camembert" else (old, bert, "[UNK]")
    t.train_from_iterator(sentences, trainers.UnigramTrainer(vocab_size=VOCABULARY, special_tokens=specials, unk_token=unk, show_progress=False))
    if unk == "<unk>":
        template(t, "<s>", "</s>", "<s> $A </s> </s> $B </s>")
    else:
        template(t, "[CLS]", "[SEP]", bert_pair)
    return t, names, {"tokenizer_class": "PreTrainedTokenizerFast", **({} if family in ("albert", "deberta-v2", "deberta-v3") else types)}


def make(out, text, families=(), sized=None):
    """Makes the families' folders and returns them by name. sized changes a configuration, whose weights are then not drawn wide."""
    import torch
    import transformers

    rows = [line.split("\t") for line in Path(text).read_text(encoding="utf-8").splitlines()]
    columns = [rows[0].index(c) for c in ("sentence1", "sentence2")]
    sentences = [r[c] for r in rows[1:] for c in columns]
    made = {}
    for name in families or configs(VOCABULARY):
        folder = Path(out) / name
        folder.mkdir(parents=True, exist_ok=True)
        t, names, says = tokenizer(name, sentences)
        transformers.PreTrainedTokenizerFast(tokenizer_object=t, model_max_length=128, **names).save_pretrained(folder)
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps(json.loads(path.read_text(encoding="utf-8")) | says, indent=2), encoding="utf-8")
        torch.manual_seed(7)
        config = configs(t.get_vocab_size())[name]
        model = transformers.AutoModel.from_config(sized(config) if sized else config)
        with torch.no_grad():
            for p in [] if sized else model.parameters():
                if p.dim() >= 2:
                    p.normal_(0, 0.15)
                else:
                    p.add_(0.1 * torch.randn(p.shape))
        model.save_pretrained(folder)
        made[name] = folder
    return made


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("out", help="folder")
    p.add_argument("--text", default=str(ROOT / "internal/builtin/STS-B/train.tsv"), help="STS-B TSV with the sentences")
    p.add_argument("--family", action="append", default=[], help="families (default all)")
    p.add_argument("--base", action="store_true", help="of the size that is called base")
    p.add_argument("--layers", type=int, help="with --base: layers")
    a = p.parse_args()
    if a.layers and not a.base:
        p.error("--layers goes with --base")
    for folder in make(a.out, a.text, a.family, (lambda c: base(c, a.layers)) if a.base else None).values():
        print(folder)


if __name__ == "__main__":
    main()
