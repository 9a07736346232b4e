"""Holds what `export --format onnx` writes against onnxruntime and Transformers, from text.

    python scripts/check_onnx.py                               # the embedded encoder, and one of each family (families.py)
    python scripts/check_onnx.py --model DIR                   # a checkpoint of yours too
    python scripts/check_onnx.py --family mpnet                # the embedded encoder and one family
    python scripts/check_onnx.py --python VENV                 # a virtual environment that has the packages below

The environment is check_peft.py's, made as that makes it, with two packages more. For each model it trains a short run on
three classes, exports it merged and as ONNX in every precision, and predicts 100 sentences of STS-B, alone and in 50
pairs, with onnxruntime, in padded batches of other sizes than the graph was made with, from the tokenizer beside the
graph. Transformers computes in float32 with the merged export on the same batches. Printed are the largest differences of
logits and of probabilities, how many labels are others, and the sizes of the files; at the end a table of them in Markdown,
in which a checkpoint has the name of its folder. Exits with 1 if the graph is not valid, if logits in f32 differ by more
than 1e-5 of the largest, or in f16 by more than 2e-2, or if a label is another one in either. int8 is shown and not
judged: what rounding the states costs is the model's own.
"""

import csv
import json
import shutil
import sys
import time
from pathlib import Path

import check_peft
from check_peft import FAMILIES, deeplora

PACKAGES = {**check_peft.PACKAGES, "onnx": "1.23.2", "onnxruntime": "1.32.0"}
TOLERANCES = {"f32": 1e-5, "f16": 2e-2, "int8": None}
CLASSES = ["different", "near", "same"]
BATCH, LONGEST = 13, 64


def arguments():
    p = check_peft.parser(__doc__, "check_peft", "the environment, which is check_peft.py's with more in it, and the runs")
    check_peft.add_models(p)
    p.add_argument("--repeat", type=int, default=0, help="compute all inputs so often, on one thread, and print inputs a second")
    return p.parse_args()


def rows_of(path):
    """Sentences in pairs, and their scores."""
    lines = [line.split("\t") for line in Path(path).read_text(encoding="utf-8").splitlines()]
    at = [lines[0].index(name) for name in ("sentence1", "sentence2", "score")]
    return [tuple(r[i] for i in at) for r in lines[1:]]


def small_data(rows, path):
    """A training file of three classes."""
    with open(path, "w", encoding="utf-8", newline="") as f:
        w = csv.writer(f)
        w.writerow(["text", "pair", "label"])
        for first, second, score in rows[:64]:
            w.writerow([first, second, CLASSES[min(int(float(score) / 5 * 3), 2)]])
    return path


def inputs_of(rows):
    """100 sentences, each alone and then in pairs."""
    pairs = [r[:2] for r in rows[-50:]]
    return [(sentence, None) for pair in pairs for sentence in pair] + pairs


def batches(tokenizer, inputs, tensors):
    """Sentences alone and pairs are not in one batch: a tokenizer takes either."""
    for group in ([i for i in inputs if i[1] is None], [i for i in inputs if i[1] is not None]):
        for at in range(0, len(group), BATCH):
            first, second = zip(*group[at : at + BATCH])
            second = None if second[0] is None else list(second)
            yield tokenizer(list(first), second, padding=True, truncation=True, max_length=LONGEST, return_tensors=tensors)


class Runtime:
    """A directory of an ONNX export, in onnxruntime."""

    def __init__(self, folder):
        import onnx
        import onnxruntime
        import transformers

        onnx.checker.check_model(str(folder / "model.onnx"), full_check=True)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options)
        self.tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        self.size = sum(f.stat().st_size for f in folder.glob("model.onnx*"))

    def logits(self, inputs):
        import numpy

        out = []
        for batch in batches(self.tokenizer, inputs, "np"):
            out.append(self.session.run(["logits"], {i.name: batch[i.name].astype("int64") for i in self.session.get_inputs()})[0])
        return numpy.concatenate(out)


def peer(folder, inputs):
    """Logits of the merged export in Transformers, and the names of its classes."""
    import torch
    import transformers

    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    with torch.no_grad():
        logits = torch.cat([model(**b).logits for b in batches(tokenizer, inputs, "pt")]).numpy()
    return logits, [model.config.id2label[i] for i in range(model.config.num_labels)]


def softmax(x):
    import numpy

    e = numpy.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def pace(runtime, inputs, repeat):
    runtime.logits(inputs)
    begin = time.perf_counter()
    for _ in range(repeat):
        runtime.logits(inputs)
    return repeat * len(inputs) / (time.perf_counter() - begin)


def trained(a, reference, rows, work):
    """A short run on a model, in a folder that is empty before."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    deeplora(a, "train", "--quiet", "--backend", a.backend, "--model", reference, "--task", "classification", "--data", str(small_data(rows, work / "data.csv")),
             "--labels", ",".join(CLASSES), "--scope", "all-dense", "--batch", "4", "--steps", str(a.steps), "--max-length", str(LONGEST), "--lr", "5e-3", "--init-scale", "0.3",
             "--pooling", "head", "--out", str(work / "run"))
    return str(work / "run")


def check(a, reference, rows, work):
    """Trains, exports and compares one model. Returns its row of the table and whether a judged precision is too far."""
    run, merged, failed = trained(a, reference, rows, work), work / "merged", False
    deeplora(a, "export", "--backend", a.backend, "--run", run, "--format", "merged", "--out", str(merged))
    inputs = inputs_of(rows)
    theirs, names = peer(merged, inputs)
    row = {"encoder": Path(reference).name, "largest": abs(theirs).max(), "far": [], "labels": [], "bytes": []}
    for precision, tolerance in TOLERANCES.items():
        out = work / precision
        report = json.loads(deeplora(a, "export", "--backend", a.backend, "--run", run, "--format", "onnx", "--precision", precision, "--json", "--out", str(out)))
        runtime = Runtime(out)
        config = json.loads((out / "config.json").read_text(encoding="utf-8"))
        assert [config["id2label"][str(i)] for i in range(len(names))] == names, f"classes {config['id2label']}, want {names}"
        ours = runtime.logits(inputs)
        far, labels = abs(ours - theirs).max(), int((ours.argmax(-1) != theirs.argmax(-1)).sum())
        bad = tolerance is not None and (not far <= tolerance * max(1.0, row["largest"]) or labels > 0)
        failed |= bad
        row["family"] = config["model_type"]
        for column, value in (("far", far), ("labels", labels), ("bytes", runtime.size)):
            row[column].append(value)
        speed = f"  {pace(runtime, inputs, a.repeat):8.1f} inputs/s" if a.repeat else ""
        print(f"{row['encoder']:18} {precision:5} logits {far:.1e} of {row['largest']:.2f}  probabilities {abs(softmax(ours) - softmax(theirs)).max():.1e}  "
              f"other labels {labels} of {len(inputs)}  at export {report['verified']['max_difference']:.1e}  {runtime.size:,} bytes{speed}{'  TOO FAR' if bad else ''}", flush=True)
    return row, failed


def table(rows):
    """What was found, a row a model, in Markdown."""
    names = list(TOLERANCES)
    columns = ["encoder", "family", "largest logit", *(f"`{name}`" for name in names), "other labels, " + " / ".join(f"`{name}`" for name in names), "bytes, " + " / ".join(f"`{name}`" for name in names)]
    yield columns
    yield ["---"] * len(columns)
    for r in rows:
        yield [r["encoder"], r["family"], f"{r['largest']:.2f}", *(f"{far:.1e}" for far in r["far"]), " / ".join(map(str, r["labels"])), " / ".join(f"{size:,}" for size in r["bytes"])]


def main():
    a = arguments()
    check_peft.go_inside(a, __file__, PACKAGES, "check_onnx")

    import families
    import onnxruntime
    import torch
    import transformers

    torch.set_num_threads(1)
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    print(f"onnxruntime {onnxruntime.__version__}, torch {torch.__version__}, transformers {transformers.__version__}")
    rows, found, failed = rows_of(a.text), [], False
    models = ["builtin:tiny", *a.model]
    if not a.no_families:
        models += [str(f) for f in families.make(Path(a.work) / "families", a.text, a.family or FAMILIES).values()]
    for reference in models:
        row, bad = check(a, reference, rows, Path(a.work) / "onnx" / Path(reference).name)
        found.append(row)
        failed |= bad
    print()
    for line in table(found):
        print("| " + " | ".join(line) + " |")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
