"""Makes train/testdata/classes.json: figures of classes, of sets of classes and of scores by scikit-learn and SciPy, and
losses with weights by PyTorch.

    pip install numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1 torch==2.15.0
    python scripts/goldens/classes.py > train/testdata/classes.json

Everything is asked for with zero_division=0. A case of classes names how many there are; some occur neither among
the labels nor among the predictions. null is undefined.
"""

import json
import warnings

import numpy as np
import scipy
import sklearn
import torch
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import (accuracy_score, confusion_matrix, f1_score, mean_absolute_error, mean_squared_error,
                             precision_recall_fscore_support, r2_score)


def number(v):
    return None if np.isnan(v) else float(v)


def per_label(labels, predicted, classes):
    p, r, f, s = precision_recall_fscore_support(labels, predicted, labels=list(range(classes)), zero_division=0)
    return [{"precision": float(a), "recall": float(b), "f1": float(c), "support": int(d)} for a, b, c, d in zip(p, r, f, s)]


def averages(labels, predicted):
    return {f"{a}_f1": float(f1_score(labels, predicted, average=a, zero_division=0)) for a in ("macro", "micro", "weighted")}


def classes(name, predicted, labels, k):
    predicted, labels = [int(p) for p in predicted], [int(y) for y in labels]
    return {"name": name, "classes": k, "predicted": predicted, "labels": labels,
            "metrics": {"accuracy": float(accuracy_score(labels, predicted)), **averages(labels, predicted)},
            "per_label": per_label(labels, predicted, k),
            "confusion": confusion_matrix(labels, predicted, labels=list(range(k))).tolist()}


def sets(name, logits, labels, threshold):
    logits, labels = np.asarray(logits, np.float32), np.asarray(labels, int)
    predicted = (1 / (1 + np.exp(-logits.astype(float))) >= threshold).astype(int)
    return {"name": name, "classes": labels.shape[1], "threshold": threshold, "logits": logits.astype(float).tolist(), "labels": labels.tolist(),
            "metrics": {"subset_accuracy": float(accuracy_score(labels, predicted)), **averages(labels, predicted)},
            "per_label": per_label(labels, predicted, labels.shape[1])}


def scores(name, predicted, labels):
    metrics = {"mse": mean_squared_error(labels, predicted), "mae": mean_absolute_error(labels, predicted), "r2": r2_score(labels, predicted),
               "pearson": np.nan, "spearman": np.nan}
    if len(labels) > 1:
        metrics["pearson"], metrics["spearman"] = pearsonr(predicted, labels)[0], spearmanr(predicted, labels)[0]
    return {"name": name, "predicted": [float(p) for p in predicted], "labels": [float(y) for y in labels],
            "metrics": {k: number(v) for k, v in metrics.items()}}


def losses(r):
    """A step of 7 examples, whole and in parts: CrossEntropyLoss(weight) and BCEWithLogitsLoss in float64."""
    logits, labels = torch.tensor(r.normal(0, 2, (7, 3))), torch.tensor([0, 2, 1, 1, 0, 0, 2])
    weight = torch.tensor([0.25, 3.0, 1.5], dtype=torch.float64)
    multi = torch.tensor(r.integers(0, 2, (7, 3)).astype(float))
    out = {"logits": logits.tolist(), "labels": labels.tolist(), "weight": weight.tolist(), "sets": multi.tolist()}
    for name, loss in (("cross_entropy", lambda x: torch.nn.CrossEntropyLoss(weight)(x, labels)), ("bce", lambda x: torch.nn.BCEWithLogitsLoss()(x, multi))):
        x = logits.clone().requires_grad_()
        value = loss(x)
        value.backward()
        out[name] = {"loss": value.item(), "gradient": x.grad.tolist()}
    return out


def main():
    warnings.simplefilter("ignore")
    r = np.random.default_rng(17)
    noisy = lambda labels, k, share: np.where(r.random(len(labels)) < share, r.integers(0, k, len(labels)), labels)
    two, five, many = r.integers(0, 2, 200), r.integers(0, 5, 300), r.choice(52, 900, p=np.arange(1, 53)[::-1] / 1378)
    one_hot = lambda rows, k, share: (r.random((rows, k)) < share).astype(int)
    gold = np.round(r.random(150) * 25) / 5
    guess = gold + r.normal(0, 1, 150)
    truth = one_hot(120, 6, 0.3)
    sparse = one_hot(60, 4, 0.1)
    sparse[:, 2] = 0
    print(json.dumps({
        "maker": f"scripts/goldens/classes.py, numpy {np.__version__}, scipy {scipy.__version__}, scikit-learn {sklearn.__version__}, torch {torch.__version__}",
        "classes": [
            classes("two classes", noisy(two, 2, 0.6), two, 2),
            classes("five classes", noisy(five, 5, 0.5), five, 5),
            classes("52 classes, imbalanced", noisy(many, 52, 0.3), many, 52),
            classes("a class never predicted", np.minimum(noisy(five, 5, 0.4), 3), five, 5),
            classes("a class that never occurs is predicted", noisy(np.minimum(five, 3), 5, 0.3), np.minimum(five, 3), 5),
            classes("classes that are neither", noisy(two, 2, 0.3) * 3, two * 3, 5),
            classes("one class only", [1] * 9, [1] * 9, 3),
            classes("one class to find, another said", [0] * 9, [1] * 9, 3),
            classes("all predictions of one class", [2] * 60, five[:60], 5),
            classes("all wrong", 1 - two, two, 2),
            classes("one example", [1], [0], 2),
        ],
        "sets": [
            sets("six labels", np.where(truth == 1, 1, -1) + r.normal(0, 1.5, truth.shape), truth, 0.5),
            sets("another threshold", np.where(truth == 1, 1, -1) + r.normal(0, 1.5, truth.shape), truth, 0.8),
            sets("a label that never occurs, examples without any", np.where(sparse == 1, 1, -1) + r.normal(0, 1, sparse.shape), sparse, 0.5),
            sets("nothing predicted", np.full(sparse.shape, -9.0), sparse, 0.5),
            sets("no label at all", np.zeros((5, 3)) - 1, np.zeros((5, 3)), 0.5),
            sets("logits on the threshold", np.zeros((4, 2)), [[1, 0], [0, 1], [1, 1], [0, 0]], 0.5),
        ],
        "scores": [
            scores("scores", guess, gold),
            scores("ties on both sides", np.round(guess), np.round(gold)),
            scores("worse than the mean", -guess, gold),
            scores("all right", gold, gold),
            scores("constant prediction", np.full(20, 2.5), gold[:20]),
            scores("constant scores", guess[:20], np.full(20, 2.0)),
            scores("constant scores, all right", np.full(20, 2.0), np.full(20, 2.0)),
            scores("one example", [1.5], [2.0]),
        ],
        "losses": losses(r),
    }))


if __name__ == "__main__":
    main()
