"""Makes train/testdata/metrics.json: GLUE's metrics by scikit-learn and SciPy.

    pip install numpy==2.4.6 scipy==1.17.1 scikit-learn==1.9.1
    python scripts/goldens/metrics.py > train/testdata/metrics.json

A case is two lists and the metrics that are made of them; null is undefined. f1 is asked for with
zero_division=0. SciPy answers constant sides with NaN, which is what undefined means here.
"""

import json
import warnings

import numpy as np
import scipy
import sklearn
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import accuracy_score, f1_score, matthews_corrcoef


def classes(predicted, labels):
    binary = set(predicted) | set(labels) <= {0, 1}
    metrics = {"accuracy": accuracy_score(labels, predicted), "matthews_correlation": matthews_corrcoef(labels, predicted)}
    if binary:
        metrics["f1"] = f1_score(labels, predicted, pos_label=1, zero_division=0)
    return metrics


def scores(predicted, labels):
    return {"pearson": pearsonr(predicted, labels)[0], "spearman": spearmanr(predicted, labels)[0]}


def case(name, make, predicted, labels):
    metrics = {k: None if np.isnan(v) else float(v) for k, v in make(predicted, labels).items()}
    return {"name": name, "predicted": [float(p) for p in predicted], "labels": [float(y) for y in labels], "metrics": metrics}


def main():
    warnings.simplefilter("ignore")
    r = np.random.default_rng(0)
    noisy = lambda labels, k, share: np.where(r.random(len(labels)) < share, r.integers(0, k, len(labels)), labels)
    two, three, skewed = r.integers(0, 2, 200), r.integers(0, 3, 300), (r.random(250) < 0.07).astype(int)
    gold = np.round(r.random(150) * 5 * 5) / 5
    guess = gold + r.normal(0, 1, 150)
    cases = [
        case("two classes", classes, noisy(two, 2, 0.6), two),
        case("two classes, worse than chance", classes, 1 - noisy(two, 2, 0.5), two),
        case("two classes, all right", classes, two, two),
        case("two classes, all wrong", classes, 1 - two, two),
        case("rare positives", classes, noisy(skewed, 2, 0.2), skewed),
        case("three classes", classes, noisy(three, 3, 0.5), three),
        case("three classes, one never predicted", classes, np.minimum(noisy(three, 3, 0.4), 1), three),
        case("constant prediction 1", classes, np.ones(20, int), r.integers(0, 2, 20)),
        case("constant prediction 0", classes, np.zeros(20, int), r.integers(0, 2, 20)),
        case("constant prediction of three", classes, np.full(30, 2), r.integers(0, 3, 30)),
        case("constant labels", classes, r.integers(0, 2, 20), np.zeros(20, int)),
        case("no positives at all", classes, np.zeros(9, int), np.zeros(9, int)),
        case("one example", classes, [1], [1]),
        case("scores", scores, guess, gold),
        case("scores, negative", scores, -guess, gold),
        case("scores with ties on both sides", scores, np.round(guess), np.round(gold)),
        case("scores far from 0", scores, guess + 1e6, gold),
        case("scores in float32", scores, guess.astype(np.float32).astype(float), gold.astype(np.float32).astype(float)),
        case("monotone, not linear", scores, np.exp(gold), gold),
        case("two scores", scores, [0.1, 0.2], [3.0, 1.0]),
        case("constant prediction 0.1", scores, np.full(10, 0.1), gold[:10]),
        case("constant prediction in float32", scores, np.full(7, float(np.float32(2.7))), gold[:7]),
        # A constant whose mean is not its value: formulas that divide variances make ±infinity of it.
        case("constant prediction of many", scores, np.full(391, -1.221678128538375), np.round(r.random(391), 2)),
        case("constant scores to predict", scores, guess[:10], np.full(10, 3.8)),
    ]
    maker = f"scripts/goldens/metrics.py, numpy {np.__version__}, scipy {scipy.__version__}, scikit-learn {sklearn.__version__}"
    print(json.dumps({"maker": maker, "cases": cases}))


if __name__ == "__main__":
    main()
