"""Trains, with Transformers and PEFT, on what a run of deeplora was trained on: the same checkpoint and the same examples.

    python scripts/peer_run.py RUN --data GLUE --method lora|rslora|head [--lr 5e-4] [--seed 0]

From RUN come the checkpoint, the task, the rows that were drawn (manifest.json), steps, batch, rank, length and dropout.

lora, rslora: on the kernels that RUN adapts, by their names in its checkpoint. head: no adapter. The rate is
that of RUN's adapter unless --lr says otherwise. The rest is what PEFT's users have: alpha of twice the rank, the task's
classifier trained too, AdamW, the rate falling linearly to nothing, batches padded to their longest row.

Prints one JSON object: score, seconds, settings. Of GLUE's tasks it knows stsb, sst2 and rte. Needs torch, transformers and
peft, and scipy for stsb.
"""

import argparse
import csv
import json
import time
from pathlib import Path

import torch
import transformers

TASKS = {"stsb": ("STS-B", ["sentence1", "sentence2"], "score"), "sst2": ("SST-2", ["sentence"], "label"), "rte": ("RTE", ["sentence1", "sentence2"], "label")}
NAMES = {"entailment": 0, "not_entailment": 1}


class Task:
    """A task's texts, a list a column, and its labels."""

    def __init__(self, name, data):
        self.name = name
        self.folder, self.columns, self.label = TASKS[name]
        self.classes = 1 if name == "stsb" else 2
        self.kind = torch.float32 if name == "stsb" else torch.int64
        self.data = data

    def rows(self, split):
        with open(self.data / self.folder / f"{split}.tsv", encoding="utf-8", newline="") as f:
            table = list(csv.DictReader(f, delimiter="\t", quoting=csv.QUOTE_NONE))
        return [[r[c] for r in table] for c in self.columns], [float(NAMES.get(r[self.label], r[self.label])) for r in table]

    def score(self, outputs, labels):
        """outputs: a number a row for regression, else a class."""
        if self.name == "stsb":
            from scipy.stats import pearsonr

            return {"pearson": float(pearsonr(outputs, labels)[0])}
        return {"accuracy": sum(a == b for a, b in zip(outputs, labels, strict=True)) / len(labels)}


def batches(tokenizer, task, columns, labels, order, size, length):
    for i in range(0, len(order), size):
        index = order[i : i + size]
        fields = tokenizer(*([c[j] for j in index] for c in columns), truncation=True, max_length=length, padding=True, return_tensors="pt")
        yield {**fields, "labels": torch.tensor([labels[j] for j in index]).to(task.kind)}


def classifier(task, run, adapted, method):
    """The checkpoint with a head, the run's dropout, and what of it is trained."""
    config = transformers.AutoConfig.from_pretrained(run["model"], num_labels=task.classes)
    for name, value in config.to_dict().items():
        if run["dropout"] >= 0 and "dropout" in name and isinstance(value, (int, float)):  # below: the checkpoint's own
            setattr(config, name, run["dropout"])
    model = transformers.AutoModelForSequenceClassification.from_pretrained(run["model"], config=config, dtype=torch.float32)
    if method == "head":
        for parameter in model.base_model.parameters():
            parameter.requires_grad_(False)
        return model
    import peft

    names = {k["name"].removesuffix(".weight").split(".", 1)[1] for k in adapted}
    targets = [n for n, _ in model.named_modules() if any(n == k or n.endswith("." + k) for k in names)]
    config = peft.LoraConfig(r=run["rank"], lora_alpha=2 * run["rank"], target_modules=targets, task_type="SEQ_CLS", use_rslora=method == "rslora")
    return peft.get_peft_model(model, config)


def train(task, run, drawn, adapted, a):
    tokenizer = transformers.AutoTokenizer.from_pretrained(run["model"])
    model = classifier(task, run, adapted, a.method)
    trained = [q for q in model.parameters() if q.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=a.lr, weight_decay=0.0)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, 0, run["steps"])
    columns, labels = task.rows("train")
    began, step = time.time(), 0
    model.train()
    while step < run["steps"]:
        order = [drawn[i] for i in torch.randperm(len(drawn)).tolist()]
        for b in batches(tokenizer, task, columns, labels, order, run["batch"], run["max-length"]):
            model(**b).loss.backward()
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            step += 1
            if step == run["steps"]:
                break
    seconds = time.time() - began
    model.eval()
    columns, labels = task.rows("validation")
    found = []
    with torch.no_grad():
        for b in batches(tokenizer, task, columns, labels, range(len(labels)), 32, run["max-length"]):
            b.pop("labels")
            found.append(model(**b).logits)
    logits = torch.cat(found)
    outputs = (logits[:, 0] if task.classes == 1 else logits.argmax(1)).tolist()
    return task.score(outputs, labels) | {"lr": a.lr, "parameters": sum(q.numel() for q in trained), "train_seconds": round(seconds, 1)}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("run", type=Path)
    p.add_argument("--data", type=Path, required=True, help="GLUE's folder")
    p.add_argument("--method", choices=["lora", "rslora", "head"], default="lora")
    p.add_argument("--lr", type=float, help="default: that of the run's adapter")
    p.add_argument("--seed", type=int, help="default: the run's")
    a = p.parse_args()
    run, manifest = (json.loads((a.run / name).read_text(encoding="utf-8")) for name in ("config.json", "manifest.json"))
    if run["task"] not in TASKS:
        p.error(f"{a.run}: task {run['task']}; want one of {', '.join(TASKS)}")
    task = Task(run["task"], a.data)
    a.seed, a.lr = run["seed"] if a.seed is None else a.seed, a.lr or run["lr"]
    transformers.logging.set_verbosity_error()
    torch.manual_seed(a.seed)
    adapted = json.loads((a.run / "adapter/adapter.json").read_text(encoding="utf-8"))["kernels"]
    found = train(task, run, manifest["indices"], adapted, a)
    print(json.dumps({"method": a.method, "seed": a.seed, "steps": run["steps"], "examples": len(manifest["indices"])} | found))


if __name__ == "__main__":
    main()
