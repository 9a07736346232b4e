"""What people would do instead, on the same files: scikit-learn on TF-IDF vectors and on an encoder's embeddings.

    python scripts/jobs/baseline.py --data data --model tiny=internal/builtin/tiny --model minilm=MINILM --out out

Classes: logistic regression. Scores: ridge regression on what two texts' vectors say of the pair, and the cosine of
the vectors, without any training. C and alpha are chosen by cross-validation on the training rows of each run, as a
user of scikit-learn would. An embedding is the mean of the last states over a text's first 128 tokens, which is what
deeplora reads too, or 256 with --length 256, at length 1. Writes out/baselines.json; what is there already is not
computed again.
"""

import argparse
import csv
import json
import sys
import warnings
from pathlib import Path

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import accuracy_score, f1_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold

GRID = [1, 10, 100, 1000]
BEGIN = 100  # words of a text that are about 128 tokens
JOBS = {"bbc": "train*.csv", "spam": "train-*.csv", "stsb": "train-*.csv", "r52": "train.csv"}  # what each is trained on


def read(path):
    with open(path, newline="", encoding="utf-8") as f:
        return list(csv.DictReader(f))


def classes(x, y, test, truth, weights):
    """Metrics of logistic regression, its C by cross-validation."""
    folds = StratifiedKFold(min(5, np.unique(y, return_counts=True)[1].max()), shuffle=True, random_state=0)
    model = LogisticRegression(max_iter=1000, class_weight=weights)
    search = GridSearchCV(model, {"C": GRID}, cv=folds, scoring="f1_macro" if weights else "accuracy").fit(x, y)
    said = search.predict(test)
    return {
        "accuracy": accuracy_score(truth, said),
        "macro_f1": f1_score(truth, said, average="macro", zero_division=0),
        "C": search.best_params_["C"],
    }


def ridge(x, y, test, truth):
    search = GridSearchCV(Ridge(), {"alpha": [0.1, 1, 10, 100]}, cv=5, scoring="r2").fit(x, y)
    return {"pearson": pearson(search.predict(test), truth), "alpha": search.best_params_["alpha"]}


def pearson(said, truth):
    return float(np.corrcoef(said, truth)[0, 1])


def cosines(a, b):
    return np.asarray(a.multiply(b).sum(axis=1) if hasattr(a, "multiply") else (a * b).sum(axis=1, keepdims=True))


class Embedder:
    """Embeddings of a checkpoint, each file's kept beside the results."""

    def __init__(self, folder, cache, length):
        self.folder, self.cache, self.length = folder, cache, length
        self.model = None

    def __call__(self, texts, name):
        path = self.cache / f"{name}.npy"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, self.compute(texts))
        return np.load(path)

    def compute(self, texts):
        import torch
        from transformers import AutoModel, AutoTokenizer

        if self.model is None:
            self.tokenizer = AutoTokenizer.from_pretrained(self.folder)
            self.model = AutoModel.from_pretrained(self.folder, dtype=torch.float32).eval()
        out = np.zeros((len(texts), self.model.config.hidden_size), np.float32)
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        with torch.no_grad():
            for i in range(0, len(order), 32):
                rows = order[i : i + 32]
                batch = self.tokenizer([texts[r] for r in rows], truncation=True, max_length=self.length, padding=True, return_tensors="pt")
                mask = batch["attention_mask"][:, :, None]
                states = self.model(**batch).last_hidden_state
                mean = (states * mask).sum(1) / mask.sum(1)
                out[rows] = torch.nn.functional.normalize(mean).numpy()
        return out


def classification(job, draw, train, test, embedders):
    y, truth = [r["label"] for r in train], [r["label"] for r in test]
    texts, test_texts = [r["text"] for r in train], [r["text"] for r in test]
    words = TfidfVectorizer(sublinear_tf=True).fit(texts)
    for weights in (None, "balanced") if job == "r52" else (None,):
        yield "", "tfidf", weights, lambda: classes(words.transform(texts), y, words.transform(test_texts), truth, weights)
        if job in ("bbc", "spam"):
            begin, test_begin = ([" ".join(t.split()[:BEGIN]) for t in x] for x in (texts, test_texts))
            few = TfidfVectorizer(sublinear_tf=True).fit(begin)
            yield "", "tfidf-begin", weights, lambda: classes(few.transform(begin), y, few.transform(test_begin), truth, weights)
        for name, embed in embedders.items():
            yield name, "embeddings", weights, lambda: classes(
                embed(texts, f"{job}-train-{draw}"), y, embed(test_texts, f"{job}-test"), truth, weights
            )


def regression(job, draw, train, test, embedders):
    y, truth = (np.array([float(r["similarity"]) for r in rows]) for rows in (train, test))
    words = TfidfVectorizer(sublinear_tf=True).fit([r[k] for r in train for k in ("first", "second")])

    def tfidf(rows):
        a, b = (words.transform([r[k] for r in rows]) for k in ("first", "second"))
        return np.hstack([cosines(a, b), np.asarray(abs(a - b).sum(axis=1))])

    yield "", "tfidf", None, lambda: ridge(tfidf(train), y, tfidf(test), truth)
    yield "", "tfidf-cosine", None, lambda: {"pearson": pearson(tfidf(test)[:, 0], truth)}
    for name, embed in embedders.items():
        def pairs(rows, what):
            a, b = (embed([r[k] for r in rows], f"{job}-{what}-{k}") for k in ("first", "second"))
            return np.hstack([cosines(a, b), a * b, abs(a - b)])

        yield name, "embeddings", None, lambda: ridge(pairs(train, f"train-{draw}"), y, pairs(test, "test"), truth)
        yield name, "cosine", None, lambda: {"pearson": pearson(pairs(test, "test")[:, 0], truth)}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", type=Path, required=True, help="what data.py made")
    p.add_argument("--model", action="append", default=[], metavar="NAME=DIR", help="encoder for embeddings (repeatable)")
    p.add_argument("--length", type=int, default=128, help="tokens of a text that the encoder reads")
    p.add_argument("--out", type=Path, required=True, help="folder of the results")
    p.add_argument("--job", action="append", choices=list(JOBS), help="jobs (default all)")
    a = p.parse_args()
    warnings.filterwarnings("ignore", message="The least populated class")  # R52 has classes of one row
    suffix = "" if a.length == 128 else f"-{a.length}"
    embedders = {}
    for name, folder in (m.split("=", 1) for m in a.model):
        embedders[name + suffix] = Embedder(folder, a.out / "embeddings" / (name + suffix), a.length)
    path = a.out / "baselines.json"
    a.out.mkdir(parents=True, exist_ok=True)
    results = json.loads(path.read_text()) if path.exists() else []
    done = {(r["job"], r["draw"], r["encoder"], r["peer"], r["weights"]) for r in results}
    for job in a.job or JOBS:
        test = read(a.data / job / "test.csv")
        for file in sorted((a.data / job).glob(JOBS[job])):
            draw = file.stem[len("train-") :] or "all"
            rows = read(file)
            for encoder, peer, weights, measure in (regression if job == "stsb" else classification)(job, draw, rows, test, embedders):
                weights = weights or "none"
                if (job, draw, encoder, peer, weights) in done:
                    continue
                metrics = measure()
                print(job, draw, encoder, peer, weights, metrics, file=sys.stderr, flush=True)
                results.append({"job": job, "draw": draw, "encoder": encoder, "peer": peer, "weights": weights} | metrics)
                path.write_text(json.dumps(results, indent=1) + "\n")


main()
