"""Holds what `train --tensorboard` writes against metrics.jsonl, with TensorBoard's own reader.

    python scripts/check_tensorboard.py                        # a run of the embedded encoder, killed and gone on with
    python scripts/check_tensorboard.py --run DIR              # a run of yours instead
    python scripts/check_tensorboard.py --python VENV          # a virtual environment that has tensorboard

The environment is made as check_peft.py makes its own. A run is trained with evaluations and checkpoints, killed between
two checkpoints and gone on with. Its event files are read three times: by a reader that was there before the run was
killed, as TensorBoard's page has it; by a new one; and record by record. Exits with 1 if any finds other steps or other
numbers than metrics.jsonl has, rounded to float32, or any of them twice.
"""

import json
import shutil
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

from check_peft import go_inside, parser

PACKAGES = {"tensorboard": "2.21.0"}
STEPS, EVAL_EVERY, SAVE_EVERY = 200, 15, 40
PATIENCE = 240  # seconds


def arguments():
    p = parser(__doc__, "check_tensorboard", "the environment and the run")
    p.add_argument("--run", help="run directory to look at instead of training one")
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
    go_inside(a, __file__, PACKAGES, "check_tensorboard")
    check(a)


if __name__ == "__main__":
    main()
