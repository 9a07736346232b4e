"""Holds what deeplora exports against the software it is exported for: Transformers and PEFT.

    python scripts/check_peft.py                               # the embedded encoder, and one of each family (families.py)
    python scripts/check_peft.py --model DIR                   # a checkpoint of yours too
    python scripts/check_peft.py --family mpnet                # the embedded encoder and one family
    python scripts/check_peft.py --python VENV                 # a virtual environment that has torch, transformers, peft

Without --python it makes a virtual environment of its own (kept in --work for the next time) from the package index
that pip is set up for; where that cannot be done it says so and exits with 3, or 0 with --optional. The index's torch
brings CUDA's libraries, without which it cannot be imported: 6 GB on disk. Where pip's settings (PIP_FIND_LINKS,
PIP_EXTRA_INDEX_URL) offer the same version for CPUs only, as 2.15.0+cpu, pip takes that one.

For each model and method it trains a short run, exports it merged and as an adapter, loads the first with
AutoModelForSequenceClassification and the second with PeftModel, neither with a missing or an unexpected key, and
tokenizes and predicts 100 sentences there and with deeplora. Exits with 1 if token ids differ, or logits by more
than 1e-5 of the largest.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path

import families

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = {"torch": "2.15.0", "transformers": "5.24.0", "peft": "0.21.2"}
INSTALL_SECONDS = 900
METHODS = {"vanilla": "all-dense", "rslora": "all-dense", "lora-plus": "all-dense", "deep-narrow": "all-dense", "deep-compressed": "all-dense", "deep-wide": "only-query-value",
           "lora-sb": "all-dense", "vanilla lora-ga": "all-dense", "vanilla lora-one": "all-dense", "vanilla pissa": "all-dense", "rslora lora-ga": "all-dense"}  # method and, where it has several, init
FAMILIES = ["roberta", "xlm-roberta", "camembert", "distilbert", "electra", "mpnet", "albert", "modernbert", "deberta-v2", "deberta-v3"]
FAMILY_METHODS = ["vanilla", "deep-narrow", "deep-compressed"]
TOLERANCE = 1e-5
SENTENCES = 100


def parser(doc, work, inside="the environment and the runs"):
    """The options of a check that has an environment: those that all such scripts have."""
    p = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--bin", default=str(ROOT / "bin/deeplora"), help="the program")
    p.add_argument("--work", default=str(ROOT / ".build" / work), help=f"directory for {inside}")
    p.add_argument("--python", help="virtual environment to use instead of making one")
    p.add_argument("--backend", default="auto", help="deeplora's --backend")
    p.add_argument("--optional", action="store_true", help="exit with 0 where the environment cannot be made")
    p.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    return p


def add_models(p):
    """The options of a check that goes through models."""
    p.add_argument("--model", action="append", default=[], help="checkpoint directory (repeatable), beside the embedded encoder")
    p.add_argument("--family", action="append", choices=FAMILIES, help="families beside it (default all)")
    p.add_argument("--no-families", action="store_true", help="no family but the embedded encoder's")
    p.add_argument("--text", default=str(ROOT / "internal/builtin/STS-B/train.tsv"), help="STS-B TSV with the sentences")
    p.add_argument("--steps", type=int, default=8, help="training steps of each run")


def arguments():
    p = parser(__doc__, "check_peft")
    add_models(p)
    p.add_argument("--method", action="append", choices=METHODS, help="methods (default all)")
    return p.parse_args()


def go_inside(a, script, packages, check):
    """Runs the script again in its environment, unless this is there, and ends with what that ended with."""
    if a.inside:
        return
    if not getattr(a, "run", None) and not Path(a.bin).exists():  # a run that is there is only looked at
        sys.exit(f"{a.bin} is not there: make build")
    Path(a.work).mkdir(parents=True, exist_ok=True)
    python = environment(a, packages, check)
    if python is None:
        sys.exit(0 if a.optional else 3)
    sys.exit(subprocess.run([python, script, *sys.argv[1:], "--inside"], env={**os.environ, "HF_HUB_OFFLINE": "1"}).returncode)


def environment(a, packages, check):
    """The Python of the virtual environment, made if need be; None where that cannot be done."""
    if a.python:
        return Path(a.python) / "bin/python"
    venv = Path(a.work) / "venv"
    python = venv / "bin/python"
    pinned = [f"{name}=={version}" for name, version in packages.items()]
    have = [python, "-c", f"import {', '.join(packages)}; " + "; ".join(f"assert {n}.__version__.split('+')[0] == '{v}', '{n} is ' + {n}.__version__" for n, v in packages.items())]
    if python.exists() and not fault(have):
        return python
    print(f"{check}: making an environment with {', '.join(pinned)} in {venv}", file=sys.stderr, flush=True)
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--retries", "2", *pinned]
    for command in ([sys.executable, "-m", "venv", venv], install, have):
        if why := fault(command) and fault(command):  # on a busy machine a download may break off, or the first import fail
            print(f"{check}: not run: no environment with {', '.join(pinned)}: {why}")
            return None
    return python


def fault(command):
    """Why a command fails, in a line; empty if it does not."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as e:
        return str(e)
    if done.returncode == 0:
        return ""
    lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()] or [f"exit code {done.returncode}"]
    errors = [line for line in lines if line.startswith("ERROR") or line.split(":")[0].endswith("Error")]
    return errors[-1] if errors else lines[0]


def deeplora(a, *args, **more):
    done = subprocess.run([a.bin, *args], capture_output=True, text=True, **more)
    if done.returncode != 0:
        sys.exit(f"deeplora {' '.join(args)}: exit code {done.returncode}\n{done.stderr}")
    return done.stdout


def sentences(a):
    """The first different sentences of the file, alone and in pairs."""
    rows = [line.split("\t") for line in Path(a.text).read_text(encoding="utf-8").splitlines()]
    first, second = rows[0].index("sentence1"), rows[0].index("sentence2")
    pairs = [(r[first], r[second]) for r in rows[1 : SENTENCES // 2 + 1]]
    assert len(pairs) == SENTENCES // 2, f"{a.text} has {len(rows) - 1} rows"
    return pairs


def small_data(a, folder):
    """A training set of a few rows, so that a run takes seconds."""
    lines = Path(a.text).read_text(encoding="utf-8").splitlines(keepends=True)
    (folder / "STS-B").mkdir(parents=True, exist_ok=True)
    (folder / "STS-B/train.tsv").write_text("".join(lines[:33]), encoding="utf-8")
    (folder / "STS-B/validation.tsv").write_text("".join(lines[:1] + lines[33:49]), encoding="utf-8")
    return folder


def strict(what, missing, unexpected):
    assert not missing and not unexpected, f"{what}: missing {sorted(missing)[:3]}, unexpected {sorted(unexpected)[:3]}"


def logits(torch, model, tokenizer, pairs):
    """Their logits, their token ids. One row a batch: what padding does is not the question."""
    out, ids = [], []
    with torch.no_grad():
        for first, second in pairs:
            batch = tokenizer(first, second, truncation=True, max_length=64, return_tensors="pt")
            ids.append(batch["input_ids"][0].tolist())
            out.append(model.eval()(**batch).logits[0].tolist())
    return out, ids


def furthest(ours, theirs):
    return max(abs(x - y) for a, b in zip(ours, theirs, strict=True) for x, y in zip(a, b, strict=True))


def check(a, torch, reference, arm, pairs, work):
    """Trains, exports and compares one method, with one init, on one model. Returns the largest differences."""
    import transformers
    from peft import PeftModel, get_peft_model_state_dict
    from safetensors.torch import load_file

    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    data = small_data(a, work / "data")
    run, merged, adapter = work / "run", work / "merged", work / "adapter"
    method, _, init = arm.partition(" ")
    deeplora(a, "train", "--quiet", "--backend", a.backend, "--model", reference, "--method", method, *(["--init", init] if init else []), "--scope", METHODS[arm], "--data", str(data),
             "--batch", "4", "--steps", str(a.steps), "--max-length", "64", "--lr", "5e-3", "--init-scale", "0.3", "--train-head", "--pooling", "head", "--out", str(run))
    deeplora(a, "export", "--backend", a.backend, "--run", str(run), "--format", "merged", "--out", str(merged))
    deeplora(a, "export", "--backend", a.backend, "--run", str(run), "--format", "peft", "--out", str(adapter))
    rows = "".join(json.dumps({"text": f, "pair": s}) + "\n" for f, s in pairs)
    ours = [json.loads(line)["logits"] for line in deeplora(a, "predict", "--backend", a.backend, "--run", str(run), "--input", "-", input=rows).splitlines()]
    our_ids = [json.loads(line)["input_ids"] for line in deeplora(a, "tokenize", "--model", str(merged), "--max-length", "64", "--input", "-", input=rows).splitlines()]

    model, info = transformers.AutoModelForSequenceClassification.from_pretrained(merged, output_loading_info=True)
    strict("merged", info["missing_keys"], info["unexpected_keys"])
    assert not info["mismatched_keys"], info["mismatched_keys"]
    tokenizer = transformers.AutoTokenizer.from_pretrained(merged)
    theirs, ids = logits(torch, model, tokenizer, pairs)
    assert ids == our_ids, "token ids differ"

    base_dir = reference if reference != "builtin:tiny" else str(ROOT / "internal/builtin/tiny")
    base = transformers.AutoModelForSequenceClassification.from_pretrained(base_dir, num_labels=1, dtype=torch.float32)
    adapted = PeftModel.from_pretrained(base, adapter)
    strict("adapter", set(get_peft_model_state_dict(adapted)) - set(load_file(adapter / "adapter_model.safetensors")),
           set(load_file(adapter / "adapter_model.safetensors")) - set(get_peft_model_state_dict(adapted)))
    with_adapter, _ = logits(torch, adapted, tokenizer, pairs)
    weights = {n: p.clone() for n, p in base.state_dict().items() if n.endswith("lora_B.default.weight")}
    for name, p in base.named_parameters():  # how much the adapter does: without it, with the same head
        if name in weights or "lora_embedding_B" in name:
            p.data.zero_()
    without, _ = logits(torch, adapted, tokenizer, pairs)
    size = max(1.0, max(abs(x) for row in ours for x in row))
    return {"merged": furthest(ours, theirs), "adapter": furthest(ours, with_adapter), "moved": furthest(with_adapter, without), "size": size}


def main():
    a = arguments()
    go_inside(a, __file__, PACKAGES, "check_peft")

    import peft
    import torch
    import transformers

    torch.set_num_threads(1)  # a row at a time: on a busy machine threads wait for one another most of the time
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    warnings.filterwarnings("ignore", category=FutureWarning)
    warnings.filterwarnings("ignore", message="Could not find a config file")  # of builtin:tiny, which is no path
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, peft {peft.__version__}")
    pairs, failed = sentences(a), False
    print(f"{SENTENCES} sentences in {len(pairs)} pairs; largest difference of logits")
    models = [(m, a.method or METHODS) for m in ["builtin:tiny", *a.model]]
    if not a.no_families:
        made = families.make(Path(a.work) / "families", a.text, a.family or FAMILIES)
        models += [(str(folder), a.method or FAMILY_METHODS) for folder in made.values()]
    for reference, methods in models:
        for method in methods:
            d = check(a, torch, reference, method, pairs, Path(a.work) / "runs" / f"{Path(reference).name}-{method.replace(' ', '-')}")
            bad = max(d["merged"], d["adapter"]) > TOLERANCE * d["size"]
            failed |= bad
            print(f"{Path(reference).name:20} {method:16} merged {d['merged']:.2e}  adapter {d['adapter']:.2e}  "
                  f"(logits to {d['size']:.2f}, moved by the adapter {d['moved']:.2e}){'  TOO FAR' if bad else ''}", flush=True)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
