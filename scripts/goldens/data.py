"""Goldens of package data, from NumPy and PyArrow (pip install numpy pyarrow):

    python scripts/goldens/data.py data/testdata

draws.json           draws and orders of training by rng.py, the second implementation of internal/rng
numpy_shuffle.json   what numpy.random.seed(s); numpy.random.shuffle(list(range(n))) leaves
stsb.parquet         as the hub's GLUE: float32 label, int32 idx, Snappy, dictionaries, two row groups
rte_plain.parquet    int64 label, no compression, no dictionary, data pages of version 2
sst2_test.parquet    a test split: label -1
rte_names.parquet    class names for labels, Zstandard
nulls.parquet        a null in a text column
"""

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import rng  # beside this file; prints its own goldens

out = Path(sys.argv[1])


def draw(n, shots, seed, replace):
    stream = rng.Stream(rng.named(seed, "draw"))
    rows = [stream.int_n(n) for _ in range(shots)] if replace else stream.perm(n)[:shots]
    return {"rows": n, "shots": shots, "seed": seed, "replace": replace, "indices": rows}


def order(seed, epoch, n):
    perm = rng.Stream(rng.at(rng.named(seed, "order"), epoch)).perm(n)
    return {"seed": seed, "epoch": epoch, "n": n, "order": perm}


draws = [draw(100, 6, 0, False), draw(100, 6, 0, True), draw(5749, 256, 7, False), draw(5749, 16, 2**63 + 1, True)]
orders = [order(0, 0, 10), order(0, 1, 10), order(3, 2, 256)]
(out / "draws.json").write_text(json.dumps({"draws": draws, "orders": orders}, separators=(",", ":")) + "\n")

shuffles = []
for seed, n in [(13, 10), (42, 1), (0, 2), (4294967295, 8), (100, 1000), (87, 4096)]:
    np.random.seed(seed)
    order = list(range(n))
    np.random.shuffle(order)
    shuffles.append({"seed": seed, "n": n, "order": order})
(out / "numpy_shuffle.json").write_text(
    json.dumps({"numpy": np.__version__, "shuffles": shuffles}, separators=(",", ":")) + "\n"
)

pairs = [
    ('A "quoted\tfield" with a tab.', "Zweiter Satz: für später.", 3.8),
    ("A plane is taking off.", "", 5.0),
    ("", "An air plane\nis taking off.", 0.0),
    ("A man is smoking.", "A man is skating.", 0.5),
    ("A plane is taking off.", "An air plane is taking off.", 3.667),
]
first, second, scores = (list(c) for c in zip(*pairs))
idx = pa.array(range(len(pairs)), pa.int32())


def write(name, columns, **options):
    pq.write_table(pa.table(columns), out / name, **options)


write(
    "stsb.parquet",
    {"sentence1": first, "sentence2": second, "label": pa.array(scores, pa.float32()), "idx": idx},
    row_group_size=3,
    compression="snappy",
)
write(
    "rte_plain.parquet",
    {"idx": idx, "label": pa.array([0, 1, 1, 0, 1], pa.int64()), "sentence2": second, "sentence1": first},
    compression="none",
    use_dictionary=False,
    data_page_version="2.0",
)
write("sst2_test.parquet", {"sentence": first, "label": pa.array([-1] * 5, pa.int64()), "idx": idx})
write(
    "rte_names.parquet",
    {"sentence1": first, "sentence2": second, "label": ["entailment", "not_entailment"] * 2 + ["entailment"]},
    compression="zstd",
)
write("nulls.parquet", {"sentence": ["a", None], "label": pa.array([0, 1], pa.int64())})
