"""The peer of the benchmark: vanilla LoRA with Transformers and PEFT on PyTorch, on the CPU.

Times optimizer steps on full rows of random ids and prints one JSON object. Needs torch, transformers and peft;
bench/main.go runs it in turn with deeplora.
"""

import argparse
import json
import statistics
import time

SCOPES = {
    "only-query-value": ["query", "value"],
    "attention-mlp": ["query", "key", "value", "attention.output.dense", "intermediate.dense", "output.dense"],
}


def arguments():
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--model", required=True, help="checkpoint folder")
    p.add_argument("--scope", choices=SCOPES, default="attention-mlp")
    p.add_argument("--rank", type=int, default=8)
    p.add_argument("--batch", type=int, default=16)
    p.add_argument("--length", type=int, default=128)
    p.add_argument("--steps", type=int, default=6)
    p.add_argument("--threads", type=int, default=0)
    return p.parse_args()


def main():
    a = arguments()
    started = time.monotonic()
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForSequenceClassification, logging

    logging.set_verbosity_error()
    torch.manual_seed(0)
    if a.threads:
        torch.set_num_threads(a.threads)
    model = AutoModelForSequenceClassification.from_pretrained(a.model, num_labels=1, problem_type="regression")
    config = LoraConfig(r=a.rank, lora_alpha=a.rank, target_modules=SCOPES[a.scope], task_type="SEQ_CLS", modules_to_save=[])
    model = get_peft_model(model, config)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name)  # the head stays frozen, as ours does
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4, eps=1e-6, weight_decay=0.0)

    ids = torch.randint(1000, 20000, (a.batch, a.length))
    types, mask, labels = torch.zeros_like(ids), torch.ones_like(ids), torch.rand(a.batch)
    seconds = []
    for step in range(a.steps):
        began = time.monotonic()
        loss = model(input_ids=ids, token_type_ids=types, attention_mask=mask, labels=labels).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        loss.item()
        seconds.append(time.monotonic() - began)
        if step == 0:
            first = time.monotonic() - started
    import resource

    print(json.dumps({
        "versions": {"torch": torch.__version__},
        "trainable_parameters": sum(p.numel() for p in trained),
        "start_to_first_step_seconds": first,
        "step_seconds": statistics.median(seconds[1:]),
        "peak_rss_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }))


if __name__ == "__main__":
    main()
