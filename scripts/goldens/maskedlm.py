"""Makes model/testdata/maskedlm: a small BertForMaskedLM with random weights, and what it says of a batch.

    pip install torch==2.15.0 transformers==5.24.0 safetensors==0.8.0
    python scripts/goldens/maskedlm.py make model/testdata/maskedlm

and opens a folder that the program saved as each of Transformers' models, to compare with what the program computed:

    python scripts/goldens/maskedlm.py check DIR

DIR holds the model and batch.safetensors: input_ids, token_type_ids and attention_mask [rows, seq], the program's
logits [rows, seq, vocab] and last hidden state [rows, seq, hidden].
"""

import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoModelForMaskedLM, AutoModelForSequenceClassification, BertConfig, BertForMaskedLM


def make(folder):
    torch.manual_seed(20)
    config = BertConfig(vocab_size=40, hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24,
                        max_position_embeddings=24, initializer_range=0.3)
    model = BertForMaskedLM(config).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            if p.dim() == 1:  # biases and norms begin at 0 and 1: too special to see faults at
                p.add_(0.3 * torch.randn_like(p))
    model.save_pretrained(folder)
    ids = torch.randint(5, 40, (3, 12))
    types = torch.zeros_like(ids)
    mask = torch.ones_like(ids)
    types[1, 6:] = 1
    types[2, 4:8] = 1
    mask[2, 8:] = 0
    batch = {"input_ids": ids, "token_type_ids": types, "attention_mask": mask}
    with torch.no_grad():
        logits = model(**batch).logits
    golden = {name: x.to(torch.int32).contiguous() for name, x in batch.items()}
    maker = f"scripts/goldens/maskedlm.py, torch {torch.__version__.split('+')[0]}, transformers {transformers.__version__}"
    save_file({**golden, "logits": logits.contiguous()}, Path(folder) / "golden.safetensors", {"maker": maker})


def check(folder):
    batch = load_file(Path(folder) / "batch.safetensors")
    want_logits, want_hidden = batch.pop("logits"), batch.pop("hidden")
    batch = {name: x.long() for name, x in batch.items()}
    real = batch["attention_mask"].bool()

    def compare(what, got, want):
        off = (got.float() - want)[real].abs().max().item()
        print(f"{what}: largest difference {off:.2e}, largest value {want[real].abs().max().item():.2f}")
        if not off < 1e-5 * max(1.0, want[real].abs().max().item()):
            sys.exit(f"{what} differs")

    def opened(kind, fresh):
        model, info = kind.from_pretrained(folder, output_loading_info=True, dtype=torch.float32)
        odd = {k: sorted(v) for k, v in info.items() if v and k not in ("missing_keys", "unexpected_keys")}
        missing = sorted(k for k in info["missing_keys"])
        if missing != fresh or odd:
            sys.exit(f"{kind.__name__}: missing {missing}, want {fresh}; {odd}")
        print(f"{kind.__name__}: missing {missing}, unexpected {sorted(info['unexpected_keys'])}")
        return model.eval()

    with torch.no_grad():
        compare("AutoModelForMaskedLM", opened(AutoModelForMaskedLM, [])(**batch).logits, want_logits)
        compare("AutoModel", opened(AutoModel, [])(**batch).last_hidden_state, want_hidden)
        opened(AutoModelForSequenceClassification, ["classifier.bias", "classifier.weight"])(**batch)


if __name__ == "__main__":
    torch.set_num_threads(1)
    {"make": make, "check": check}[sys.argv[1]](sys.argv[2])
