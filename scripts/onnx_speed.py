"""Times predictions of `deeplora predict` beside those of onnxruntime with the export of the same run.

    python scripts/onnx_speed.py                               # the embedded encoder, 1,000 pairs of STS-B's embedded rows
    python scripts/onnx_speed.py --model DIR --text STS-B.tsv  # a checkpoint of yours too, other pairs
    python scripts/onnx_speed.py --python VENV                 # a virtual environment that has check_onnx.py's packages

Both have the same pairs, batch sizes and threads, batches of pairs of like lengths, and turn text into tokens themselves.
onnxruntime's are padded to the longest of a batch. Each program is one process, which predicts all pairs once before it
is timed: starting, compiling and loading do not count. They take turns, --repeat times; printed are the medians, how far
the times are from them, and the largest difference of logits, without which the times would say nothing.

The environment is check_onnx.py's. The machine should have nothing else to do.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import check_peft
from check_onnx import PACKAGES, rows_of
from check_peft import deeplora


def arguments():
    p = check_peft.parser(__doc__, "check_peft", "the environment, which is check_onnx.py's, and the runs")
    p.add_argument("--model", action="append", default=[], help="checkpoint directory (repeatable), beside the embedded encoder")
    p.add_argument("--text", default=str(check_peft.ROOT / "internal/builtin/STS-B/train.tsv"), help="STS-B TSV with the pairs, taken again from its beginning where it has too few")
    p.add_argument("--precision", action="append", choices=["f32", "f16", "int8"], help="of the export (repeatable; default f32 and int8)")
    p.add_argument("--pairs", type=int, default=1000, help="sentence pairs")
    p.add_argument("--batch", type=int, default=32, help="pairs a batch")
    p.add_argument("--threads", type=int, default=2, help="of each program")
    p.add_argument("--repeat", type=int, default=5, help="processes of each program")
    p.add_argument("--peer", help=argparse.SUPPRESS)
    p.add_argument("--longest", type=int, default=128, help="longest input, in tokens")
    return p.parse_args()


def ours(a, run, pairs):
    """Seconds of one process, and the logits: all pairs are answered once, then once more with the input's end behind them."""
    lines = "".join(json.dumps({"text": first, "pair": second}) + "\n" for first, second in pairs).encode()
    command = [a.bin, "predict", "--quiet", "--backend", a.backend, "--threads", str(a.threads), "--run", run, "--eval-batch", str(a.batch), "--max-length", str(a.longest)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as program:
        for last in (False, True):
            begin = time.perf_counter()
            sender = threading.Thread(target=send, args=(program.stdin, lines, last))
            sender.start()  # it may have answers to write before it has read everything
            answers = [program.stdout.readline() for _ in pairs]
            seconds = time.perf_counter() - begin
            sender.join()
    if program.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit code {program.returncode}")
    return seconds, [json.loads(line)["logits"] for line in answers]


def send(stream, lines, last):
    stream.write(lines)
    stream.flush()
    if last:
        stream.close()


def theirs(a, folder):
    """The same of onnxruntime, whose process is this script again."""
    command = [sys.executable, __file__, *sys.argv[1:], "--peer", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "RAYON_NUM_THREADS": str(a.threads), "TOKENIZERS_PARALLELISM": "true"})
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


def peer(a, pairs):
    """Predicts twice in onnxruntime, prints the seconds of the second time and the logits."""
    import numpy
    import onnxruntime
    import transformers

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = a.threads
    session = onnxruntime.InferenceSession(str(Path(a.peer) / "model.onnx"), options)
    tokenizer = transformers.AutoTokenizer.from_pretrained(a.peer)
    names = [i.name for i in session.get_inputs()]
    first, second = map(list, zip(*pairs))

    def predict():
        tokens = tokenizer(first, second, truncation=True, max_length=a.longest, return_attention_mask=True)
        order = sorted(range(len(pairs)), key=lambda i: len(tokens["input_ids"][i]))
        logits = [None] * len(pairs)
        for at in range(0, len(order), a.batch):
            rows = order[at : at + a.batch]
            padded = {name: numpy.zeros((len(rows), len(tokens["input_ids"][rows[-1]])), "int64") for name in names}
            padded["input_ids"][:] = tokenizer.pad_token_id
            for name in names:
                for row, i in enumerate(rows):
                    padded[name][row, : len(tokens[name][i])] = tokens[name][i]
            for i, found in zip(rows, session.run(["logits"], padded)[0].tolist()):
                logits[i] = found
        return logits

    predict()
    begin = time.perf_counter()
    logits = predict()
    print(json.dumps([time.perf_counter() - begin, logits]))


def compare(a, reference, pairs, work):
    """Trains a short run, exports it, and times both. Yields the rows of the table."""
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    run = str(work / "run")
    deeplora(a, "train", "--quiet", "--backend", a.backend, "--model", reference, "--task", "stsb", "--shots", "32", "--batch", "8", "--steps", "4", "--scope", "all-dense", "--out", run)
    folders = {}
    for precision in a.precision or ["f32", "int8"]:
        folders[precision] = work / precision
        deeplora(a, "export", "--backend", a.backend, "--run", run, "--format", "onnx", "--precision", precision, "--out", str(folders[precision]))
    seconds, logits = {}, {}
    for _ in range(a.repeat):
        for name in ["deeplora", *folders]:
            took, logits[name] = ours(a, run, pairs) if name == "deeplora" else theirs(a, folders[name])
            seconds.setdefault(name, []).append(took)
    for name, times in seconds.items():
        middle = statistics.median(times)
        away = max(abs(t - middle) for t in times) / middle
        far = check_peft.furthest(logits[name], logits["deeplora"])
        program = "deeplora predict" if name == "deeplora" else f"onnxruntime, {name}"
        yield [Path(reference).name, program, f"{middle:.2f}", f"±{100 * away:.0f} %", f"{len(pairs) / middle:,.0f}", f"{far:.1e}"]


def main():
    a = arguments()
    check_peft.go_inside(a, __file__, PACKAGES, "onnx_speed")
    rows = [r[:2] for r in rows_of(a.text)]
    pairs = (rows * (a.pairs // len(rows) + 1))[: a.pairs]
    if a.peer:
        return peer(a, pairs)

    import onnxruntime

    print(f"onnxruntime {onnxruntime.__version__}, {len(pairs)} pairs, {a.threads} threads, batches of {a.batch}, medians of {a.repeat} processes\n")
    print("| encoder | program | seconds | spread | pairs a second | difference of logits |\n| --- | --- | --- | --- | --- | --- |")
    for reference in ["builtin:tiny", *a.model]:
        for row in compare(a, reference, pairs, Path(a.work) / "speed" / Path(reference).name):
            print("| " + " | ".join(row) + " |", flush=True)


if __name__ == "__main__":
    main()
