"""A server on PyTorch, Transformers and FastAPI that answers POST /predict as deeplora serve does: what it is held against.

    python scripts/load/peer.py --model MERGED --port 8081 --threads 2 [--gather] [--onnx]

MERGED is a folder that `deeplora export --format merged` wrote; with --onnx one of --format onnx, which onnxruntime computes
in PyTorch's place. Without --gather each request is computed by itself, as
most such servers do; with it, those that arrive within 5 ms are padded and computed together, 64 at most.
Needs transformers, fastapi and uvicorn, and torch or onnxruntime.
"""

import argparse
import asyncio
import os

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--port", type=int, default=8081)
parser.add_argument("--threads", type=int, default=os.cpu_count())
parser.add_argument("--gather", action="store_true")
parser.add_argument("--onnx", action="store_true")
args = parser.parse_args()

import uvicorn  # noqa: E402  after the arguments, so that --help is quick
from fastapi import FastAPI, Request  # noqa: E402
from transformers import AutoTokenizer  # noqa: E402

tokenizer = AutoTokenizer.from_pretrained(args.model)


def on_pytorch():
    import torch
    from transformers import AutoModelForSequenceClassification

    torch.set_num_threads(args.threads)
    model = AutoModelForSequenceClassification.from_pretrained(args.model, dtype=torch.float32).eval()

    def logits(encoded):
        with torch.inference_mode():
            return model(**encoded.convert_to_tensors("pt")).logits[:, 0].tolist()

    return logits


def on_onnxruntime():
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    session = onnxruntime.InferenceSession(os.path.join(args.model, "model.onnx"), options)
    names = [i.name for i in session.get_inputs()]

    def logits(encoded):
        arrays = encoded.convert_to_tensors("np")
        return session.run(None, {n: arrays[n].astype("int64") for n in names})[0][:, 0].tolist()

    return logits


logits = on_onnxruntime() if args.onnx else on_pytorch()
app = FastAPI()
one_at_a_time = asyncio.Lock()
waiting: list[tuple[list[str], asyncio.Future]] = []


def compute(batch: list[list[str]]) -> list[float]:
    pairs = [x[1] if len(x) > 1 else "" for x in batch]
    return logits(tokenizer([x[0] for x in batch], pairs, truncation=True, max_length=128, padding=True))


async def gathered(texts: list[str]) -> float:
    answer = asyncio.get_running_loop().create_future()
    waiting.append((texts, answer))
    if len(waiting) == 1:
        asyncio.create_task(work())
    return await answer


async def work() -> None:
    await asyncio.sleep(0.005)
    async with one_at_a_time:
        while waiting:
            part = waiting[:64]
            del waiting[:64]
            scores = await asyncio.to_thread(compute, [texts for texts, _ in part])
            for (_, answer), score in zip(part, scores):
                answer.set_result(score)


@app.post("/predict")
async def predict(request: Request) -> list[dict]:
    texts = (await request.json())["inputs"]
    if args.gather:
        score = await gathered(texts)
    else:
        async with one_at_a_time:  # threads of their own would only take the cores from one another
            score = (await asyncio.to_thread(compute, [texts]))[0]
    return [{"score": score, "label": "score"}]


uvicorn.run(app, host="127.0.0.1", port=args.port, log_level="warning")
