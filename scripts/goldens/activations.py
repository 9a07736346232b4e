"""Makes model/testdata/activations.json: every activation a BERT config may name, and its derivative.

    pip install torch==2.15.0 transformers==5.23.0
    python scripts/goldens/activations.py > model/testdata/activations.json

Values are of Transformers' own table of activations, ACT2FN, in float64 on the CPU; derivatives are autograd's.
"""

import json

import torch
import transformers
from transformers.activations import ACT2FN

NAMES = ["gelu", "gelu_fast", "gelu_new", "gelu_python", "gelu_pytorch_tanh", "quick_gelu", "relu", "silu", "swish", "tanh"]


def main():
    grid = [i / 4 for i in range(-32, 33) if i != 0]  # not 0, where relu has no derivative
    x = torch.tensor([-100.0, -30.0, -12.5, *grid, 1e-7, -1e-7, 12.5, 30.0, 100.0], dtype=torch.float64)
    result = {
        "maker": f"scripts/goldens/activations.py, torch {torch.__version__.split('+')[0]}, transformers {transformers.__version__}",
        "x": x.tolist(),
        "activations": {},
    }
    for name in NAMES:
        at = x.clone().requires_grad_()
        y = ACT2FN[name](at)
        y.sum().backward()
        result["activations"][name] = {"y": y.tolist(), "dy": at.grad.tolist()}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
