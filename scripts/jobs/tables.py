"""Writes the tables of docs/jobs.md from what run.py and baseline.py measured.

    python scripts/jobs/tables.py out docs/jobs.md

A table stands between <!-- table NAME --> and <!-- end -->; everything else is left alone.
"""

import json
import re
import sys
from pathlib import Path
from statistics import mean, stdev

ENCODERS = {"tiny": "embedded", "minilm": "MiniLM"}
ARMS = {"head": "head alone, on the mean", "lora": "LoRA", "deep": "deep-compressed"}
WORDS = {"tfidf": "TF-IDF + LR", "tfidf-begin": "TF-IDF + LR, first 100 words only"}
PEERS = {"embeddings": "embeddings + LR", "cosine": "cosine of embeddings, no training"}


def cell(values):
    """Mean ± deviation over the draws; fewer than three say so."""
    if not values:
        return "–"
    if len(set(values)) == 1:
        return f"{values[0]:.3f}"
    return f"{mean(values):.3f} ± {stdev(values):.3f}" + (f" ({len(values)})" if len(values) < 3 else "")


def lines(head, rows):
    rows = [r for r in rows if set(r[2:]) != {"–"}]  # what was not measured at all
    return ["| " + " | ".join(r) + " |" for r in [head, ["---"] * len(head), *rows]]


class Results:
    def __init__(self, folder):
        self.runs = json.loads((folder / "results.json").read_text())
        self.peers = json.loads((folder / "baselines.json").read_text())

    def ours(self, metric, job, draw, encoder, arm, which="chosen", more=None):
        return [
            r["metrics"][metric] for r in self.runs
            if (r["encoder"], r["job"], r["arm"], r["set"]) == (encoder, job, arm, more or {})
            and r[which] and r["draw"].split("-")[0] == draw
        ]

    def peer(self, metric, job, draw, encoder, peer, weights="none"):
        wanted = (encoder, job, peer, weights)
        return [
            r[metric] for r in self.peers
            if (r["encoder"], r["job"], r["peer"], r["weights"]) == wanted and r["draw"].split("-")[0] == draw
        ]

    def shots(self, job, draws, metric, words, regression=False):
        """A row a method, a column a number of shots."""
        rows = [["", name, *(cell(self.peer(metric, job, d, "", peer)) for d in draws)] for peer, name in words.items()]
        for encoder, title in ENCODERS.items():
            for peer, name in PEERS.items():
                if peer == "cosine" and not regression:
                    continue
                name = name.replace("LR", "ridge") if regression else name
                rows.append([title, name, *(cell(self.peer(metric, job, d, encoder, peer)) for d in draws)])
            for arm, name in ARMS.items():
                rows.append([title, name, *(cell(self.ours(metric, job, d, encoder, arm)) for d in draws)])
        return rows

    def bbc(self):
        draws = ["8", "32", "128", "all"]
        return lines(["encoder", "accuracy with shots a class:", *draws], self.shots("bbc", draws, "accuracy", WORDS))

    def spam(self):
        accuracy, f1 = (self.shots("spam", ["32"], m, WORDS) for m in ("accuracy", "macro_f1"))
        return lines(["encoder", "method", "accuracy", "macro F1"], [[*a, b[2]] for a, b in zip(accuracy, f1)])

    def stsb(self):
        words = {"tfidf": "TF-IDF + ridge", "tfidf-cosine": "cosine of TF-IDF, no training"}
        return lines(["encoder", "method", "Pearson, 256 pairs"], self.shots("stsb", ["256"], "pearson", words, True))

    def r52(self):
        rows = []

        def add(encoder, name, figures):
            cells = [cell(figures(m, w)) for w in ("none", "balanced") for m in ("accuracy", "macro_f1")]
            rows.append([encoder, name, *cells])

        add("", "TF-IDF + LR", lambda m, w: self.peer(m, "r52", "all", "", "tfidf", w))
        for e, title in ENCODERS.items():
            add(title, "embeddings + LR", lambda m, w: self.peer(m, "r52", "all", e, "embeddings", w))
            for arm, name in ARMS.items():
                for epochs in (1, 3):
                    more = {"epochs": "3"} if epochs == 3 else {}
                    figures = lambda m, w: self.ours(m, "r52", "all", e, arm, more={"class-weights": w} | more if w != "none" else more)
                    add(title, f"{name}, {epochs} epoch{'s' * (epochs > 1)}", figures)
        return lines(["encoder", "weights:", "none: accuracy", "macro F1", "balanced: accuracy", "macro F1"], rows)

    def rates(self):
        """Every rate that was tried on tuning files."""
        rows = []
        for encoder, title in ENCODERS.items():
            for job in ("bbc", "stsb", "r52", "spam"):
                for arm, name in ARMS.items():
                    tried = [r for r in self.runs if (r["encoder"], r["job"], r["arm"], r["draw"]) == (encoder, job, arm, "tune")]
                    metric = "pearson" if job == "stsb" else "accuracy"
                    said = [(r["lr"], r["metrics"][metric], r["chosen"]) for r in sorted(tried, key=lambda r: r["lr"])]
                    if said:
                        rows.append([title, job, name, ", ".join(f"{'**' * c}{lr:g}: {s:.3f}{'**' * c}" for lr, s, c in said)])
        return lines(["encoder", "job", "method", "rate: accuracy (STS-B: Pearson) on the tuning file"], rows)

    def reading(self):
        """What a head reads, and whether adapters are trained, on one draw of BBC."""
        rows = []
        for arm, name in (("deep", "deep-compressed"), ("lora", "LoRA")):
            for pooling, title in (("head", "first token through the pooler, the encoder's default"), ("mean", "mean of the last states")):
                runs = [
                    r for r in self.runs if (r["encoder"], r["job"], r["draw"], r["arm"]) == ("tiny", "bbc", "32-0", arm)
                    and r["chosen"] and r["set"].get("pooling", "head") == pooling
                ]
                rows.append([name, title, cell([r["metrics"]["accuracy"] for r in runs])])
        head = [r["metrics"]["accuracy"] for r in self.runs if (r["encoder"], r["job"], r["draw"], r["arm"]) == ("tiny", "bbc", "32-0", "head")]
        peer = [r["accuracy"] for r in self.peers if (r["encoder"], r["job"], r["draw"], r["peer"]) == ("tiny", "bbc", "32-0", "embeddings")]
        rows += [["none: head alone", "mean of the last states", cell(head)], ["none: LR", "mean of the last states, at length 1", cell(peer)]]
        return lines(["adapter", "what is read", "accuracy"], rows)


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    results, path = Results(Path(sys.argv[1])), Path(sys.argv[2])

    def table(found):
        return "\n".join([f"<!-- table {found[1]} -->", *getattr(results, found[1])(), "<!-- end -->"])

    path.write_text(re.sub(r"<!-- table (\w+) -->\n.*?<!-- end -->", table, path.read_text(), flags=re.DOTALL))


main()
