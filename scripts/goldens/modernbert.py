"""Makes model/testdata/modernbert-long: a small ModernBERT with random weights, and what it says of long texts.

    pip install torch==2.15.0 transformers==5.24.0 safetensors==0.8.0
    python scripts/goldens/modernbert.py model/testdata/modernbert-long

Its config.json is as Transformers 4 wrote it, and asks for what the released models leave out: every bias, other
activations and bases of positions, the mean of a text's tokens. The numbers are in FOLDER.safetensors.
"""

import json
import sys
from pathlib import Path

import torch
import transformers
from safetensors.torch import save_file
from transformers import AutoModelForSequenceClassification

CONFIG = {
    "architectures": ["ModernBertForSequenceClassification"], "model_type": "modernbert", "vocab_size": 60, "hidden_size": 16,
    "intermediate_size": 12, "num_hidden_layers": 4, "num_attention_heads": 1, "max_position_embeddings": 512,
    "hidden_activation": "gelu_pytorch_tanh", "initializer_range": 0.3, "initializer_cutoff_factor": 2.0, "norm_eps": 1e-4,
    "norm_bias": True, "pad_token_id": 0, "eos_token_id": 2, "bos_token_id": 1, "cls_token_id": 1, "sep_token_id": 2,
    "global_rope_theta": 80000.0, "local_rope_theta": 5000.0, "global_attn_every_n_layers": 3, "local_attention": 9,
    "attention_bias": True, "attention_dropout": 0.0, "embedding_dropout": 0.0, "mlp_bias": True, "mlp_dropout": 0.0,
    "decoder_bias": True, "classifier_pooling": "mean", "classifier_dropout": 0.0, "classifier_bias": True,
    "classifier_activation": "silu", "deterministic_flash_attn": False, "sparse_prediction": False,
    "sparse_pred_ignore_index": -100, "reference_compile": False, "repad_logits_with_grad": False,
    "layer_norm_eps": 1e-05, "position_embedding_type": "absolute", "gradient_checkpointing": False,
    "tie_word_embeddings": True, "dtype": "float32", "transformers_version": "4.57.1",
    "id2label": {"0": "no", "1": "maybe", "2": "yes"}, "label2id": {"no": 0, "maybe": 1, "yes": 2},
}
LENGTHS = [512, 300, 200]

torch.manual_seed(19)
folder = Path(sys.argv[1])
folder.mkdir(parents=True, exist_ok=True)
(folder / "config.json").write_text(json.dumps(CONFIG, indent=2) + "\n")
config = transformers.AutoConfig.from_pretrained(folder)
model = AutoModelForSequenceClassification.from_config(config, attn_implementation="eager").eval()
with torch.no_grad():
    for name, p in model.named_parameters():
        p.copy_(torch.randn_like(p) * 0.25 + (1.0 if name.endswith("norm.weight") else 0.0))
save_file({name: p.contiguous() for name, p in model.state_dict().items()}, folder / "model.safetensors", {"format": "pt"})

mask = torch.zeros(len(LENGTHS), max(LENGTHS), dtype=torch.int64)
for row, length in enumerate(LENGTHS):
    mask[row, :length] = 1
ids = torch.randint(3, CONFIG["vocab_size"], mask.shape) * mask
ids[:, 0] = 1
labels = torch.tensor([2, 0, 1])
out = model(input_ids=ids, attention_mask=mask, labels=labels, output_hidden_states=True)
out.loss.backward()
golden = {"input_ids": ids, "token_type_ids": torch.zeros_like(ids), "attention_mask": mask, "labels": labels}
golden = {name: x.to(torch.int32) for name, x in golden.items()}
last = model.model(input_ids=ids, attention_mask=mask).last_hidden_state
golden |= {"logits": out.logits, "loss": out.loss.reshape(1), "hidden.4": last * mask.unsqueeze(-1)}
golden |= {"grad." + name: p.grad for name, p in model.named_parameters() if p.dim() == 2}
maker = f"scripts/goldens/modernbert.py, torch {torch.__version__.split('+')[0]}, transformers {transformers.__version__}"
save_file({name: x.detach().contiguous() for name, x in golden.items()}, folder.parent / (folder.name + ".safetensors"), {"maker": maker})
print(out.logits, out.loss)
