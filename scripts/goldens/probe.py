"""Makes internal/probe/testdata/probe.json: what scikit-learn fits to features, at given penalties.

    python scripts/goldens/probe.py internal/probe/testdata/probe.json

Needs scikit-learn and numpy. A penalty p of the mean loss is alpha = p·n of Ridge, and C = 1/(p·n) of LogisticRegression.
"""

import json
import sys

import numpy as np
import sklearn
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.model_selection import LeaveOneOut, cross_val_predict
from sklearn.preprocessing import StandardScaler

random = np.random.default_rng(3)
n, features, classes = 30, 6, 3
x = random.normal(size=(n, features)) * [1, 10, 0.1, 1, 1, 1] + [0, 5, 0, 0, 0, 0]
x[:, 5] = 2  # never changes
y = np.stack([x[:, 0] + 0.1 * x[:, 1] + random.normal(size=n) * 0.3, x[:, 2] * 5], axis=1)
labels = np.argmax(x[:, [0, 3, 4]] + random.normal(size=(n, 3)) * 0.5, axis=1)
sets = (x[:, [0, 3]] + random.normal(size=(n, 2)) * 0.5 > 0).astype(float)
weights = [1.0, 2.0, 0.5]

penalties = [1e-3, 1e-1, 1.0]
z = StandardScaler().fit_transform(x)
ridge, left_out, logistic, weighted, sigmoid = [], [], [], [], []
for p in penalties:
    ridge.append(Ridge(alpha=p * n).fit(z, y).predict(z).tolist())
    # Features stay as they are standardised over all examples; only the layer is fitted anew.
    left_out.append(float(((cross_val_predict(Ridge(alpha=p * n), z, y, cv=LeaveOneOut()) - y) ** 2).sum()))
    settings = dict(C=1 / (p * n), tol=1e-10, max_iter=10000)
    logistic.append(LogisticRegression(**settings).fit(z, labels).predict_proba(z).tolist())
    weighted.append(LogisticRegression(**settings, class_weight=dict(enumerate(weights))).fit(z, labels).predict_proba(z).tolist())
    sigmoid.append([LogisticRegression(**settings).fit(z, sets[:, j]).predict_proba(z)[:, 1].tolist() for j in range(2)])

json.dump({
    "made_by": f"scripts/goldens/probe.py, scikit-learn {sklearn.__version__}, numpy {np.__version__}",
    "x": x.tolist(), "y": y.tolist(), "labels": labels.tolist(), "sets": sets.tolist(), "weights": weights, "penalties": penalties,
    "ridge": ridge, "left_out": left_out, "logistic": logistic, "weighted": weighted, "sigmoid": sigmoid,
}, open(sys.argv[1], "w"))
