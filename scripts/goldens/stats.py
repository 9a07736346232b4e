"""Makes cmd/deeplora/internal/study/testdata/stats.json: paired statistics by SciPy.

    pip install numpy==2.4.6 scipy==1.17.1
    python scripts/goldens/stats.py > cmd/deeplora/internal/study/testdata/stats.json

wilcoxon: two-sided p of differences, zeros dropped. Up to 50 differences that are left it is exact, with ties
too: SciPy then enumerates all signs (PermutationMethod); beyond, its normal approximation, with its correction
for ties and without one for continuity.

bca: SciPy's bias-corrected and accelerated interval of a mean from resamples whose indices a small generator
gives, x <- 6364136223846793005 x + 1442695040888963407 mod 2^64, index (x >> 33) mod n, so that Go can draw the
same; x begins at "seed".

holm: adjusted p by Holm's definition, written here.
"""

import json
import types

import numpy as np
import scipy
from scipy import stats

rng = np.random.default_rng(20)


def wilcoxon(differences):
    left = [d for d in differences if d != 0]
    tied = len(set(map(abs, left))) < len(left)
    if len(left) > 50:
        p = stats.wilcoxon(differences, method="asymptotic").pvalue
    elif tied:
        p = stats.wilcoxon(left, method=stats.PermutationMethod(n_resamples=np.inf)).pvalue
    else:
        p = stats.wilcoxon(left, method="exact").pvalue
    return {"differences": list(map(float, differences)), "p": float(p)}


def indices(seed, resamples, n):
    out, x = [], seed
    for _ in range(resamples * n):
        x = (6364136223846793005 * x + 1442695040888963407) % 2**64
        out.append((x >> 33) % n)
    return np.array(out).reshape(resamples, n)


def bca(values, seed, resamples=2000):
    values = np.array(values)
    means = values[indices(seed, resamples, len(values))].mean(axis=1)
    drawn = types.SimpleNamespace(bootstrap_distribution=means, confidence_interval=None, standard_error=None)
    r = stats.bootstrap((values,), np.mean, method="BCa", n_resamples=0, bootstrap_result=drawn)
    low, high = r.confidence_interval
    return {"values": values.tolist(), "seed": seed, "resamples": resamples, "low": float(low), "high": float(high)}


def holm(ps):
    order, adjusted, largest = np.argsort(ps, kind="stable"), [0.0] * len(ps), 0.0
    for place, i in enumerate(order):
        largest = max(largest, min(1.0, ps[i] * (len(ps) - place)))
        adjusted[i] = largest
    return {"p": ps, "adjusted": adjusted}


def normal(n, mean):
    return np.round(rng.normal(mean, 0.1, n), 6).tolist()


def main():
    wilcoxons = [wilcoxon(normal(n, m)) for n in (1, 2, 3, 5, 6, 10, 20, 35, 50, 51, 120) for m in (0, 0.05, 0.2)]
    wilcoxons += [
        wilcoxon(d)
        for d in (
            [0.25, 0.25, 0.5, -0.25, 1],
            [1, 1, 1, 1, 1, 1],
            [0, 0, 0.5, 1, -0.25],
            [0, 0.5, 0.5, -0.5, 0, 1, 1.5, 2],
            [-3, 3],
            (rng.integers(-3, 6, 14) / 4).tolist(),
            (rng.integers(-3, 8, 80) / 4).tolist(),
        )
    ]
    bcas = [bca(normal(n, 0.05), seed) for seed, n in enumerate((2, 3, 5, 8, 20, 100))]
    bcas.append(bca([0.1, 0.1, 0.1, 0.9], 7))
    bcas.append(bca([v / 64 for v in (1, 2, 2, 32, 3, 1)], 8))  # sums are exact: resampled means may equal the mean
    holms = [holm(p) for p in ([0.04], [0.01, 0.04, 0.03, 0.005], [0.0625, 0.0625, 0.0625], [0.9, 0.001, 0.02, 0.02, 1.0])]
    print(json.dumps({
        "scipy": scipy.__version__, "numpy": np.__version__,
        "moments": [{"values": v, "mean": float(np.mean(v)), "sd": float(np.std(v, ddof=1)), "median": float(np.median(v))}
                    for v in (normal(5, 0.6), normal(20, 0.1), [0.5, 0.5])],
        "wilcoxon": wilcoxons, "bca": bcas, "holm": holms,
    }))


main()
