"""Trains deeplora on the files of data.py, one run after the other, and gathers what was measured.

    python scripts/jobs/run.py --data data --model tiny=builtin:tiny --model minilm=MINILM --out out

The learning rate of each arm is the best of a few, measured once on a job's tuning files, which are training rows; then
the job's draws are trained at it, or with --defaults at the method's own, and evaluated once, at the end, on the test
file. A finished run is not made again and a stopped one goes on; --dry-run lists what is left. Writes out/results.json.
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path

ARMS = {
    "deep": ["--method", "deep-compressed"],
    "lora": ["--method", "vanilla", "--init", "peft"],
    "head": ["--method", "head-only", "--pooling", "mean"],
}
DEFAULT = {"deep": 0.01, "lora": 0.0005, "head": 0.01}  # the methods' own
# What an arm's rate is chosen from, as many for each adapter. STS-B wants lower ones.
HIGH = {"deep": [0.003, 0.01, 0.03, 0.1], "lora": [0.0005, 0.002, 0.008, 0.032], "head": [0.01, 0.03, 0.1]}
LOW = {"deep": [0.001, 0.003, 0.01, 0.03], "lora": [0.000125, 0.0005, 0.002, 0.008], "head": [0.01, 0.03, 0.1]}
CLASSES = ["--task", "classification"]
SCORES = ["--task", "regression", "--text", "first", "--pair", "second", "--label", "similarity"]
SEEDS = 0, 1, 2
# Columns; how long draws are trained for, and all rows; draws, in the order in which they are run.
JOBS = {
    "bbc": (CLASSES, ["--steps", "100"], ["--epochs", "3"], ["8", "32", "all", "128"]),
    "stsb": (SCORES, ["--steps", "200"], [], ["256"]),
    "spam": (CLASSES, ["--steps", "100"], [], ["32"]),
    "r52": (CLASSES, ["--epochs", "1"], ["--epochs", "1"], ["all"]),
}
# Whose tuning a job takes that has none of its own: R52, and on MiniLM, which takes long, spam.
TUNED_ON = {("tiny", "r52"): "bbc", ("minilm", "r52"): "bbc", ("minilm", "spam"): "bbc"}


class Run:
    def __init__(self, encoder, job, draw, arm, lr, extra=()):
        self.encoder, self.job, self.draw, self.arm, self.lr, self.extra = encoder, job, draw, arm, lr, dict(extra)

    def folder(self, out):
        more = "".join(f"-{name}-{value}" for name, value in self.extra.items())
        return out / "runs" / self.encoder / self.job / f"{self.draw}-{self.arm}-{self.lr:g}{more}"

    def flags(self, data):
        columns, few, every, _ = JOBS[self.job]
        files = data / self.job
        train, test = f"train-{self.draw}", "test"
        if self.draw == "all":
            train = "train"
        elif self.draw == "tune":
            train, test = "tune-train", "tune-validation"
        length = every if self.draw == "all" else few
        more = [flag for name, value in self.extra.items() for flag in (f"--{name}", str(value))]
        seed = self.draw.split("-")[1] if "-" in self.draw else "0"
        return (
            columns + ["--rate-rule", "none", "--data", f"{files}/{train}.csv", "--validation", f"{files}/{test}.csv"]
            + ARMS[self.arm] + ["--lr", f"{self.lr:g}", "--seed", seed, "--save-every", "100"] + length + more
        )


def result(run, out):
    path = run.folder(out) / "result.json"
    return json.loads(path.read_text()) if path.exists() else None


def tuning(encoder, job):
    rates = LOW if job == "stsb" else HIGH
    return [Run(encoder, job, "tune", arm, lr) for arm in ARMS for lr in rates[arm]]


def best(encoder, job, arm, out):
    """The arm's best rate on the tuning files, or None while one of them was not tried."""
    runs = [r for r in tuning(encoder, TUNED_ON.get((encoder, job), job)) if r.arm == arm]
    scores = [result(r, out) for r in runs]
    if not all(scores):
        return None
    return max(zip(runs, scores), key=lambda rs: rs[1]["metrics"][rs[1]["primary_metric"]])[0].lr


def measured(encoder, job, a):
    """The runs that are evaluated on the test file, at the chosen rates or the defaults."""
    rates = {arm: best(encoder, job, arm, a.out) for arm in a.arm} if not a.defaults else DEFAULT
    for draw in JOBS[job][3]:
        if a.draw and draw not in a.draw:
            continue
        for name in ["all"] if draw == "all" else [f"{draw}-{seed}" for seed in a.seed or SEEDS]:
            for arm in (arm for arm in a.arm if rates[arm]):  # none before it was tuned
                for more in [{}, {"class-weights": "balanced"}] if job == "r52" else [{}]:
                    yield Run(encoder, job, name, arm, rates[arm], more | a.set)


def plan(a):
    """What is left, tuning first, since the rates of other runs depend on it."""
    for encoder, model in (m.split("=", 1) for m in a.model):
        for job in a.job or JOBS:
            if (encoder, job) not in TUNED_ON:
                yield from ((run, model) for run in tuning(encoder, job) if run.arm in a.arm)
            for run in measured(encoder, job, a):
                yield run, model


def train(run, a, model):
    folder = run.folder(a.out)
    folder.parent.mkdir(parents=True, exist_ok=True)
    begin = run.flags(a.data) + ["--model", model, "--out", str(folder)]
    if (folder / "config.json").exists():
        begin = ["--resume", "--out", str(folder)]
    with open(f"{folder}.log", "a") as log:
        done = subprocess.run([a.bin, "train", "--json", *begin], stdout=subprocess.DEVNULL, stderr=log)
    if done.returncode != 0:
        sys.exit(f"run.py: {folder}: exit code {done.returncode}; see {folder}.log")


def gather(out):
    """A row a finished run, from its own files."""
    rows = []
    for path in sorted((out / "runs").glob("*/*/*/result.json")):
        r, c = json.loads(path.read_text()), json.loads((path.parent / "config.json").read_text())
        encoder, job, name = path.parent.parts[-3:]
        arm = next(arm for arm in ARMS if f"-{arm}-" in name)
        rows.append({
            "encoder": encoder, "job": job, "draw": name.split(f"-{arm}-")[0], "arm": arm, "lr": c["lr"], "steps": c["steps"],
            "set": dict(re.findall(r"-(class-weights|epochs|max-length|pooling)-(\w+)", name)),
            "default": c["lr"] == DEFAULT[arm],
            "chosen": c["lr"] == best(encoder, job, arm, out),
            "parameters": r["trainable_parameters"], "examples": r["examples"], "loss": r["final_loss"], "metrics": r["metrics"],
        })
    (out / "results.json").write_text(json.dumps(rows, indent=1) + "\n")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--bin", default="bin/deeplora", help="the program")
    p.add_argument("--data", type=Path, required=True, help="what data.py made")
    p.add_argument("--model", action="append", required=True, metavar="NAME=MODEL", help="encoder: tiny=builtin:tiny, minilm=DIR")
    p.add_argument("--job", action="append", choices=list(JOBS), help="jobs (default all)")
    p.add_argument("--draw", action="append", help="shots, or all (default every draw of the job)")
    p.add_argument("--seed", action="append", type=int, help="seeds of few-shot draws (default 0, 1, 2)")
    p.add_argument("--out", type=Path, required=True, help="folder of the runs")
    p.add_argument("--set", action="append", default=[], metavar="FLAG=VALUE", help="a flag of deeplora train that all measured runs get")
    p.add_argument("--arm", action="append", choices=list(ARMS), help="methods (default deep and lora)")
    p.add_argument("--defaults", action="store_true", help="the methods' default rates instead of the chosen ones")
    p.add_argument("--dry-run", action="store_true", help="list the runs that are left")
    a = p.parse_args()
    a.arm = a.arm or ["deep", "lora"]
    a.set = dict(s.split("=", 1) for s in a.set)
    for run, model in plan(a):
        if not result(run, a.out):
            print(run.folder(a.out), flush=True)
            if not a.dry_run:
                train(run, a, model)
                gather(a.out)


main()
