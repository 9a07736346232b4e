"""Holds what `train --tensorboard` writes against metrics.jsonl, with TensorBoard's own reader.

    python scripts/check_tensorboard.py                        # a run of the embedded encoder, killed and gone on with
    python scripts/check_tensorboard.py --run DIR              # a run of yours instead
    python scripts/check_tensorboard.py --python VENV          # a virtual environment that has tensorboard

The environment is made as check_peft.py makes its own. A run is trained with evaluations and checkpoints, killed between
two checkpoints and gone on with. Its event files are read three times: by a reader that was there before the run was
killed, as TensorBoard's page has it; by a new one; and record by record. Exits with 1 if any finds other steps or other
numbers than metrics.jsonl has, rounded to float32, or any of them twice.
"""

import argparse
import json
import os
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

from check_peft import ROOT, environment

PACKAGES = {"tensorboard": "2.21.0"}
STEPS, EVAL_EVERY, SAVE_EVERY = 200, 15, 40
PATIENCE = 240  # seconds


def arguments():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--bin", default=str(ROOT / "bin/deeplora"), help="the program")
    p.add_argument("--run", help="run directory to look at instead of training one")
    p.add_argument("--work", default=str(ROOT / ".build/check_tensorboard"), help="directory for the environment and the run")
    p.add_argument("--python", help="virtual environment to use instead of making one")
    p.add_argument("--backend", default="auto", help="deeplora's --backend")
    p.add_argument("--optional", action="store_true", help="exit with 0 where the environment cannot be made")
    p.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    return p.parse_args()


def single(number):
    return struct.unpack("f", struct.pack("f", number))[0]


def logged(run):
    """Steps and float32 numbers of metrics.jsonl by name, in the order of the file."""
    numbers = {}
    for line in (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines():
        fields = json.loads(line)
        for name, value in fields.items():
            if name != "step" and isinstance(value, (int, float)):
                numbers.setdefault(name, []).append((fields["step"], single(value)))
    return numbers


def shown(reader):
    return {tag: [(e.step, e.value) for e in reader.Scalars(tag)] for tag in reader.Tags()["scalars"]}


def recorded(folder):
    """The same, of all records of all files."""
    from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader
    from tensorboard.compat.proto.event_pb2 import Event

    numbers = {}
    for path in sorted(folder.glob("*tfevents*")):
        for data in RawEventFileLoader(str(path)).Load():
            e = Event.FromString(data)
            for v in e.summary.value:
                numbers.setdefault(v.tag, []).append((e.step, v.simple_value))
    return numbers


def compare(what, found, want):
    assert found, f"{what}: nothing was found"
    assert found.keys() == want.keys(), f"{what}: {sorted(found)}, metrics.jsonl has {sorted(want)}"
    for name, numbers in want.items():
        assert found[name] == numbers, f"{what}: {name}: {len(found[name])} numbers, metrics.jsonl has {len(numbers)}; the first that differ: {next(p for p in zip(found[name] + [None], numbers + [None]) if p[0] != p[1])}"
    print(f"{what}: {sum(len(n) for n in found.values())} numbers of {len(found)} tags are those of metrics.jsonl")


def train(a, run, *more):
    return [a.bin, "train", "--out", str(run), "--backend", a.backend, "--threads", "1", "--quiet", "--tensorboard", "--shots", "64", "--steps", str(STEPS),
            "--eval-every", str(EVAL_EVERY), "--save-every", str(SAVE_EVERY), *more]


def killed(a, run):
    """Trains until some steps after a checkpoint, and no further."""
    process = subprocess.Popen(train(a, run), stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + PATIENCE
    while process.poll() is None and time.monotonic() < deadline:
        log = run / "metrics.jsonl"
        # SAVE_EVERY steps, their evaluations, and a few steps more
        if (run / f"checkpoints/step-{SAVE_EVERY}").exists() and log.read_bytes().count(b"\n") > SAVE_EVERY + SAVE_EVERY // EVAL_EVERY + 4:
            break
        time.sleep(0.005)
    over = process.poll() is not None
    process.send_signal(signal.SIGKILL)
    errors = process.communicate()[1]
    if over:
        sys.exit(f"deeplora train ended before it was killed: exit code {process.returncode}\n{errors}")


def check(a):
    from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

    run = Path(a.run) if a.run else Path(a.work) / "run"
    reader = lambda: EventAccumulator(str(run / "tensorboard"), size_guidance={SCALARS: 0})
    if not a.run:
        shutil.rmtree(run, ignore_errors=True)
        killed(a, run)
        before = reader()
        before.Reload()
        reached = max(step for step, _ in shown(before)["loss"])
        subprocess.run(train(a, run, "--resume"), check=True, stdout=subprocess.DEVNULL)
        assert reached > SAVE_EVERY, f"killed at step {reached}: not after a checkpoint"
        print(f"killed after step {reached}, gone on from a checkpoint; {len(list((run / 'tensorboard').iterdir()))} files")
        before.Reload()
        compare("a reader that was there before", shown(before), logged(run))
    fresh = reader()
    fresh.Reload()
    compare("a new reader", shown(fresh), logged(run))
    compare("the records", recorded(run / "tensorboard"), logged(run))


def main():
    a = arguments()
    if a.inside:
        return check(a)
    python = environment(a, PACKAGES, "check_tensorboard")
    if python is None:
        sys.exit(0 if a.optional else 3)
    os.execv(python, [str(python), __file__, "--inside", *sys.argv[1:]])


if __name__ == "__main__":
    main()
