"""Holds a run's merged export in Transformers' pipeline("text-classification") against deeplora predict.

    python scripts/jobs/pipeline.py --run out/runs/minilm/bbc/all-deep-0.01 --texts data/bbc/test.csv --out merged

Exports the run (where --out is not there yet), gives each text to both, and exits with 1 unless each label has its
name and each probability is within 1e-5. One text at a time in Transformers: what padding does is not the question.
"""

import argparse
import csv
import itertools
import json
import subprocess
import sys
from pathlib import Path

TOLERANCE = 1e-5


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--bin", default="bin/deeplora", help="the program")
    p.add_argument("--run", required=True, help="finished run of a classification")
    p.add_argument("--texts", required=True, help="CSV with the columns that were trained on")
    p.add_argument("--rows", type=int, default=400, help="texts compared, from the first")
    p.add_argument("--out", type=Path, required=True, help="folder of the export")
    a = p.parse_args()

    config = json.loads((Path(a.run) / "config.json").read_text())
    with open(a.texts, newline="", encoding="utf-8") as f:
        rows = list(itertools.islice(csv.DictReader(f), a.rows))
    lines = "".join(json.dumps({"text": r[config["text"]]}) + "\n" for r in rows)
    ours = subprocess.run([a.bin, "predict", "--run", a.run], input=lines, capture_output=True, text=True, check=True)
    ours = [json.loads(line) for line in ours.stdout.splitlines()]
    if not a.out.exists():
        subprocess.run([a.bin, "export", "--run", a.run, "--format", "merged", "--out", a.out], check=True)

    from transformers import pipeline

    classify = pipeline("text-classification", model=str(a.out), tokenizer=str(a.out), top_k=None, device="cpu")
    furthest, right = 0.0, 0
    for row, said in zip(rows, ours, strict=True):
        scores = classify([row[config["text"]]], truncation=True, max_length=config["max-length"])[0]
        theirs = {s["label"]: s["score"] for s in scores}
        if theirs.keys() != said["probabilities"].keys():
            sys.exit(f"labels are {sorted(theirs)} in Transformers, {sorted(said['probabilities'])} in deeplora")
        furthest = max([furthest, *(abs(theirs[name] - p) for name, p in said["probabilities"].items())])
        right += max(theirs, key=theirs.get) == row[config["label"]]
    print(f"{len(rows)} texts, labels {', '.join(config['labels'].split(','))}")
    print(f"largest difference of a probability {furthest:.1e}, accuracy in Transformers {right / len(rows):.4f}")
    sys.exit(0 if furthest <= TOLERANCE else 1)


main()
