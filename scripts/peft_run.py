"""Trains with Transformers and PEFT what a run of deeplora was trained on: LoRA beside LoRA, from the same examples.

    python scripts/peft_run.py RUN --data GLUE [--method lora|rslora|head] [--lr 5e-4] [--seed 0]

From RUN come the checkpoint, the task, the rows that were drawn (manifest.json), steps, batch, rank, length, dropout and,
unless --lr says otherwise, the learning rate of the adapter. The rest is what PEFT's users have: alpha of twice the rank, the
task's classifier trained too, AdamW, the rate falling linearly to nothing, batches padded to their longest row. Adapted are
the kernels that RUN adapts, by their names in its checkpoint. Prints one JSON object: score, seconds, settings. Of GLUE's tasks
it knows stsb, sst2 and rte. Needs torch, transformers and peft, and scipy for stsb.
"""

import argparse
import csv
import json
import time
from pathlib import Path

import peft
import torch
import transformers

TASKS = {"stsb": ("STS-B", ["sentence1", "sentence2"], "score"), "sst2": ("SST-2", ["sentence"], "label"), "rte": ("RTE", ["sentence1", "sentence2"], "label")}
NAMES = {"entailment": 0, "not_entailment": 1}


def rows(path, columns, label):
    with open(path, encoding="utf-8", newline="") as f:
        table = list(csv.DictReader(f, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [[r[c] for r in table] for c in columns], [float(NAMES.get(r[label], r[label])) for r in table]


def batches(tokenizer, columns, labels, order, size, length, kind):
    for i in range(0, len(order), size):
        index = order[i : i + size]
        fields = tokenizer(*([c[j] for j in index] for c in columns), truncation=True, max_length=length, padding=True, return_tensors="pt")
        yield {**fields, "labels": torch.tensor([labels[j] for j in index]).to(kind)}


def score(task, model, tokenizer, columns, labels, length, kind):
    model.eval()
    found = []
    with torch.no_grad():
        for b in batches(tokenizer, columns, labels, range(len(labels)), 32, length, kind):
            b.pop("labels")
            found.append(model(**b).logits)
    logits = torch.cat(found)
    if task == "stsb":
        from scipy.stats import pearsonr

        return "pearson", float(pearsonr(logits[:, 0], labels)[0])
    return "accuracy", float((logits.argmax(1) == torch.tensor(labels)).float().mean())


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("run", type=Path)
    p.add_argument("--data", type=Path, required=True, help="GLUE's folder")
    p.add_argument("--method", choices=["lora", "rslora", "head"], default="lora", help="head: no adapter")
    p.add_argument("--lr", type=float, help="default: that of the run's adapter")
    p.add_argument("--seed", type=int, help="default: the run's")
    a = p.parse_args()
    run = json.loads((a.run / "config.json").read_text(encoding="utf-8"))
    drawn = json.loads((a.run / "manifest.json").read_text(encoding="utf-8"))
    if run["task"] not in TASKS:
        p.error(f"{a.run}: task {run['task']}; want one of {', '.join(TASKS)}")
    folder, columns, label = TASKS[run["task"]]
    kind = torch.float32 if run["task"] == "stsb" else torch.int64
    seed, lr = run["seed"] if a.seed is None else a.seed, a.lr or run["lr"]

    transformers.logging.set_verbosity_error()
    torch.manual_seed(seed)
    tokenizer = transformers.AutoTokenizer.from_pretrained(run["model"])
    config = transformers.AutoConfig.from_pretrained(run["model"], num_labels=1 if run["task"] == "stsb" else 2)
    for name, value in config.to_dict().items():
        if "dropout" in name and isinstance(value, (int, float)):
            setattr(config, name, run["dropout"])
    model = transformers.AutoModelForSequenceClassification.from_pretrained(run["model"], config=config, dtype=torch.float32)
    if a.method == "head":
        for parameter in model.base_model.parameters():
            parameter.requires_grad_(False)
    else:
        names = {k["name"].removesuffix(".weight").split(".", 1)[1] for k in json.loads((a.run / "adapter/adapter.json").read_text(encoding="utf-8"))["kernels"]}
        targets = [n for n, _ in model.named_modules() if any(n == k or n.endswith("." + k) for k in names)]
        model = peft.get_peft_model(model, peft.LoraConfig(r=run["rank"], lora_alpha=2 * run["rank"], target_modules=targets, task_type="SEQ_CLS", use_rslora=a.method == "rslora"))
    trained = [q for q in model.parameters() if q.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=lr, weight_decay=0.0)
    schedule = transformers.get_linear_schedule_with_warmup(optimizer, 0, run["steps"])

    texts, labels = rows(a.data / folder / "train.tsv", columns, label)
    begun, step = time.time(), 0
    model.train()
    while step < run["steps"]:
        order = [drawn["indices"][i] for i in torch.randperm(len(drawn["indices"])).tolist()]
        for b in batches(tokenizer, texts, labels, order, run["batch"], run["max-length"], kind):
            model(**b).loss.backward()
            optimizer.step()
            schedule.step()
            optimizer.zero_grad()
            step += 1
            if step == run["steps"]:
                break
    seconds = time.time() - begun
    metric, value = score(run["task"], model, tokenizer, *rows(a.data / folder / "validation.tsv", columns, label), run["max-length"], kind)
    print(json.dumps({metric: value, "method": a.method, "lr": lr, "seed": seed, "steps": step, "examples": len(drawn["indices"]),
                      "parameters": sum(q.numel() for q in trained), "train_seconds": round(seconds, 1)}))


if __name__ == "__main__":
    main()
