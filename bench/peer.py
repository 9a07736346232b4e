"""The peer of the benchmark: LoRA with Transformers and PEFT on PyTorch. Run by bench/main.go.

    python bench/peer.py '{"do": "epoch", "model": DIR, "rows": "train.jsonl", ...}'

What to do and with what is one JSON object, the order of bench/peer.go; the answer is one on standard output.
Batches are padded to their longest row, as DataCollatorWithPadding does; the head is frozen, as deeplora's is.
Needs torch, transformers and peft.
"""

import json
import statistics
import sys
import time

import peft
import torch
import transformers


def synchronize(o):
    if o["device"] == "cuda":
        torch.cuda.synchronize()


def versions(o):
    found = {m.__name__: m.__version__ for m in (torch, transformers, peft)}
    if o["device"] == "cuda":
        found["gpu"] = torch.cuda.get_device_name()
    return found


def base(o):
    """The checkpoint with a head of as many outputs as the task has, and one probability for every dropout, whatever its family calls it."""
    config = transformers.AutoConfig.from_pretrained(o["model"], num_labels=o["labels"], problem_type="regression" if o["labels"] == 1 else "single_label_classification")
    for name, value in config.to_dict().items():
        if "dropout" in name and isinstance(value, (int, float)):
            setattr(config, name, o["dropout"])
    return transformers.AutoModelForSequenceClassification.from_pretrained(o["model"], config=config, ignore_mismatched_sizes=True, dtype=torch.float32)


def adapted(o):
    """The checkpoint with a trained adapter, not merged."""
    return peft.PeftModel.from_pretrained(base(o), o["adapter"]).to(o["device"]).eval()


def trainable(o):
    """The checkpoint with a new adapter on the kernels that deeplora adapts, and its optimizer."""
    config = peft.LoraConfig(r=o["rank"], lora_alpha=o["rank"], target_modules=o["kernels"], task_type="SEQ_CLS", modules_to_save=[])
    model = peft.get_peft_model(base(o), config).to(o["device"])
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name)
    model.train()
    trained = [p for p in model.parameters() if p.requires_grad]
    return model, torch.optim.AdamW(trained, lr=1e-4, eps=1e-6, weight_decay=0.0)


class Rows:
    """Tokenized rows, collated a batch at a time."""

    def __init__(self, o):
        self.device = o["device"]
        self.dtype = torch.float32 if o["labels"] == 1 else torch.int64
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(o["model"])
        with open(o["rows"], encoding="utf-8") as f:
            rows = [json.loads(line) for line in f]
        self.labels = [r["label"] for r in rows]
        self.encoded = self.tokenizer(*([r[c] for r in rows] for c in o["columns"]), truncation=True, max_length=o["max_length"])
        self.lengths = [len(ids) for ids in self.encoded["input_ids"]]

    def batch(self, index):
        fields = self.tokenizer.pad({k: [v[i] for i in index] for k, v in self.encoded.items()}, return_tensors="pt")
        return {**fields, "labels": torch.tensor([self.labels[i] for i in index], dtype=self.dtype)}

    def batches(self, size, order=None):
        order = list(range(len(self.labels))) if order is None else order
        for start in range(0, len(order), size):
            yield order[start : start + size]

    def on_device(self, index):
        return {k: v.to(self.device) for k, v in self.batch(index).items()}

    def tokens(self, index):
        return sum(self.lengths[i] for i in index)


def autocast(o):
    """What PyTorch's users set for bf16; nothing otherwise."""
    return torch.autocast(o["device"], dtype=torch.bfloat16, enabled=o["precision"] == "bf16")


def step(o, model, optimizer, rows, index):
    """Seconds of an optimizer step, collating included."""
    began = time.perf_counter()
    with autocast(o):
        loss = model(**rows.on_device(index)).loss
    loss.backward()
    optimizer.step()
    optimizer.zero_grad()
    loss.item()
    synchronize(o)
    return time.perf_counter() - began


def steps(o):
    """The median step of a process, its first left out; the tokens of one."""
    model, optimizer = trainable(o)
    rows = Rows(o)
    indices = list(rows.batches(o["batch"]))
    seconds = [step(o, model, optimizer, rows, indices[i % len(indices)]) for i in range(o["steps"])]
    return {"seconds": statistics.median(seconds[1:]), "tokens": rows.tokens(indices[0])}


def epoch(o):
    """The steps of an epoch in a drawn order, after one step to warm up."""
    model, optimizer = trainable(o)
    rows = Rows(o)
    order = torch.randperm(len(rows.labels)).tolist()
    indices = list(rows.batches(o["batch"], order))
    step(o, model, optimizer, rows, indices[0])
    return {"seconds": sum(step(o, model, optimizer, rows, i) for i in indices), "tokens": rows.tokens(order)}


def start(o):
    """From the start of the process to the first finished step; goes on to all steps and saves where that is asked for."""
    model, optimizer = trainable(o)
    rows = Rows(o)
    indices = list(rows.batches(o["batch"]))
    for i in range(o["steps"]):
        step(o, model, optimizer, rows, indices[i % len(indices)])
        if i == 0:
            first = time.time() - o["started"]
    if o["out"]:
        model.save_pretrained(o["out"])
    return {"seconds": first}


@torch.no_grad()
def evaluate(o):
    """The logits of all rows in the file's order, tokenized before."""
    model, rows = adapted(o), Rows(o)
    began = time.perf_counter()
    for index in rows.batches(o["batch"]):
        with autocast(o):
            logits = model(**rows.on_device(index)).logits
        logits.float().cpu()
    synchronize(o)
    return {"seconds": time.perf_counter() - began}


def export(o):
    adapted(o).merge_and_unload().save_pretrained(o["out"])
    transformers.AutoTokenizer.from_pretrained(o["model"]).save_pretrained(o["out"])
    return {}


@torch.no_grad()
def check(o):
    """Loss and logits of all rows, in one batch."""
    rows = Rows(o)
    found = adapted(o)(**rows.on_device(range(len(rows.labels))))
    return {"loss": found.loss.item(), "logits": found.logits.tolist()}


DO = {"versions": versions, "check": check, "step": steps, "epoch": epoch, "start": start, "whole": start, "eval": evaluate, "export": export}


def main():
    o = json.loads(sys.argv[1])
    transformers.logging.set_verbosity_error()
    torch.manual_seed(o["seed"])
    if o["threads"]:
        torch.set_num_threads(o["threads"])
    print(json.dumps(DO[o["do"]](o)))


if __name__ == "__main__":
    main()
