"""Makes model/testdata/deberta: DeBERTa-v2 by Transformers, in the ways that shared/reference/encoders does not have.

    pip install torch==2.15.0 transformers==5.24.0 safetensors==0.8.0
    python scripts/goldens/deberta.py model/testdata/deberta

buckets.json has the bucket of every distance. A case has the position_buckets and max_relative_positions of a config, and
the buckets of the distances 0, 1, 2, …; those of the other side are the same with a minus, which is checked here. The
folders are small random classifiers; what each computes, with the gradients of its kernels, lies beside it.
"""

import json
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from transformers import DebertaV2Config, DebertaV2ForSequenceClassification
from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position

# Of the published models, of the reference checkpoint, of long texts, and ones whose buckets end on whole numbers.
CASES = [(256, 512), (8, 40), (256, 1024), (32, 128), (64, 512), (8, 33), (10, 81), (2, 10), (3, 10), (510, 512)]

MODELS = {
    "queries": dict(relative_attention=True, pos_att_type="c2p", position_buckets=4, max_relative_positions=10, position_biased_input=False,
                    type_vocab_size=2, pooler_hidden_act="tanh", norm_rel_ebd="none", cls_dropout=0.2),
    "keys": dict(relative_attention=True, pos_att_type=" P2C ", share_att_key=True, norm_rel_ebd="layer_norm", max_relative_positions=5),
    "neither": dict(relative_attention=True, pos_att_type=[], share_att_key=True),
    "absolute": dict(pos_att_type="p2c|c2p", norm_rel_ebd="layer_norm"),
}


def buckets(n, farthest):
    distances = torch.arange(-2 * farthest, 2 * farthest + 1)
    rows = make_log_bucket_position(distances, n, farthest).to(torch.long)
    assert torch.equal(rows, -rows.flip(0))
    return {"position_buckets": n, "max_relative_positions": farthest, "buckets": rows[2 * farthest:].tolist()}


def make(folder, fields):
    torch.manual_seed(19)
    config = DebertaV2Config(vocab_size=13, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=6,
                             max_position_embeddings=20, num_labels=3, **fields)
    model = DebertaV2ForSequenceClassification(config).eval()
    with torch.no_grad():
        for name, p in model.named_parameters():
            p.normal_(0, 0.3) if p.dim() == 2 else p.add_(0.1 * torch.randn(p.shape))
    model.save_pretrained(folder)
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields, indent=2) + "\n")  # pos_att_type as it was given
    model = DebertaV2ForSequenceClassification.from_pretrained(folder).eval()
    lengths = [14, 9, 1]
    ids, mask = torch.randint(1, 13, (3, 14)), torch.tensor([[int(j < n) for j in range(14)] for n in lengths])
    ids, types, labels = ids * mask, mask * (torch.arange(14) > 4), torch.arange(3)
    args = {"token_type_ids": types} if config.type_vocab_size else {}
    result = model(input_ids=ids, attention_mask=mask, labels=labels, output_hidden_states=True, **args)
    result.loss.backward()
    tensors = {"input_ids": ids.int(), "attention_mask": mask.int(), "token_type_ids": types.int(), "labels": labels.int(),
               "logits": result.logits, "loss": result.loss.reshape(1), "hidden.2": result.hidden_states[-1] * mask[..., None]}
    tensors |= {"grad." + n: p.grad for n, p in model.named_parameters() if p.dim() == 2 and p.grad is not None}
    save_file({k: v.detach().contiguous().clone() for k, v in tensors.items()}, folder.parent / f"{folder.name}.safetensors",
              {"maker": f"scripts/goldens/deberta.py, torch {torch.__version__.split('+')[0]}, transformers {transformers.__version__}"})


def main(out):
    torch.set_num_threads(1)
    for name, fields in MODELS.items():
        (out / name).mkdir(parents=True, exist_ok=True)
        make(out / name, fields)
    (out / "buckets.json").write_text(json.dumps([buckets(*case) for case in CASES], separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
