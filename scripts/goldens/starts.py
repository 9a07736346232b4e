"""Makes lora/testdata/starts.safetensors: how LoRA's factors start from a gradient or from the kernel.

    pip install torch==2.15.0 transformers==5.24.0 peft==0.21.2 safetensors==0.8.0
    python scripts/goldens/starts.py lora/testdata/starts.safetensors

Kernels and gradients are [in, out], as deeplora has them; A [r, in] and B [out, r] are PEFT's. A case has

    K, G                     the kernel and its gradient
    ga.A, ga.B               LoRA-GA as its authors have it (2407.05000), in float64
    peft_ga.A, .B, .base     PEFT's lora_ga, whose B has the singular values too and whose A is not scaled
    one.A, one.B             LoRA-One (2502.01235), in float64
    sb.left, sb.R, sb.right  LoRA-SB (2411.19557): left R rightᵀ is the leading part of -RATE·sign(G)
    pissa.A, .B, .base       PEFT's PiSSA, and
    trained.A, trained.B     what another training made of it, with
    converted.A, .B          PEFT's own conversion of that to an adapter for the unchanged kernel

Singular vectors have the signs that the library gave them.
"""

import sys
import tempfile
import warnings
from pathlib import Path

import peft
import torch
from peft import LoraConfig, LoraGAConfig, get_peft_model
from safetensors.torch import load_file, save_file

RANK, ALPHA, RATE = 2, 6, 1e-3
GAMMA_GA, GAMMA_ONE = 16, 128
CASES = {"wide": (6, 9), "tall": (9, 6), "square": (8, 8), "large": (72, 66)}  # in, out; the last is decomposed approximately


class Layer(torch.nn.Module):
    def __init__(self, kernel):
        super().__init__()
        self.k = torch.nn.Linear(*kernel.shape, bias=False)
        self.k.weight.data = kernel.T.contiguous().clone()

    def forward(self, x):
        return self.k(x)


def drawn(rows, cols):
    """A matrix whose singular values fall by half each."""
    u, _ = torch.linalg.qr(torch.randn(rows, rows, dtype=torch.float64))
    v, _ = torch.linalg.qr(torch.randn(cols, cols, dtype=torch.float64))
    n = min(rows, cols)
    return (u[:, :n] * 2.0 ** -torch.arange(n) @ v[:, :n].T).float()


def adapted(kernel, gradient=None, **fields):
    layer = Layer(kernel)
    if gradient is not None:
        layer.k._peft_loraga_grad = gradient.T.contiguous().clone()
    model = get_peft_model(layer, LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules=["k"], **fields))
    return model, model.base_model.model.k


def factors(layer):
    return layer.lora_A["default"].weight.data.clone(), layer.lora_B["default"].weight.data.clone()


def lora_ga(kernel, gradient):
    u, s, vh = torch.linalg.svd(gradient.double().T, full_matrices=False)  # of [out, in]
    size = kernel.shape[1] ** 0.25 / GAMMA_GA ** 0.5
    a, b = vh[:RANK] * size, u[:, RANK:2 * RANK] * size
    _, layer = adapted(kernel, gradient, init_lora_weights="lora_ga", lora_ga_config=LoraGAConfig())
    peft_a, peft_b = factors(layer)
    for ours, theirs in ((a / size, peft_a), (b * s[RANK:2 * RANK], peft_b)):  # PEFT's, but for signs
        assert torch.allclose(ours.abs(), theirs.double().abs(), atol=1e-4), (ours, theirs)
    return {"ga.A": a, "ga.B": b, "peft_ga.A": peft_a, "peft_ga.B": peft_b, "peft_ga.base": layer.base_layer.weight.data.T}


def lora_one(gradient):
    u, s, vh = torch.linalg.svd(-gradient.double().T, full_matrices=False)
    roots = torch.sqrt(s[:RANK]) / torch.sqrt(s[0]) / GAMMA_ONE ** 0.5
    return {"one.A": roots[:, None] * vh[:RANK], "one.B": u[:, :RANK] * roots}


def lora_sb(gradient):
    u, s, vh = torch.linalg.svd(-RATE * torch.sign(gradient.double()), full_matrices=False)
    return {"sb.left": u[:, :RANK], "sb.R": torch.diag(s[:RANK]), "sb.right": vh[:RANK].T}


def pissa(kernel):
    model, layer = adapted(kernel, init_lora_weights="pissa")
    start = factors(layer)
    tensors = {"pissa.A": start[0], "pissa.B": start[1], "pissa.base": layer.base_layer.weight.data.T.clone()}
    with tempfile.TemporaryDirectory() as folder:
        config = model.peft_config["default"]
        config.init_lora_weights = True  # as PEFT's documents say, so that reading it back does not decompose anew
        model.save_pretrained(f"{folder}/start")
        config.init_lora_weights = "pissa"
        for f, w in zip(start, (layer.lora_A, layer.lora_B)):
            w["default"].weight.data = f + 0.1 * torch.randn_like(f)
        tensors |= dict(zip(("trained.A", "trained.B"), factors(layer)))
        model.save_pretrained(f"{folder}/end", path_initial_model_for_weight_conversion=f"{folder}/start")
        end = load_file(f"{folder}/end/adapter_model.safetensors")
    tensors |= {"converted.A": end["base_model.model.k.lora_A.weight"], "converted.B": end["base_model.model.k.lora_B.weight"]}
    return tensors


def main(out):
    torch.set_num_threads(1)
    torch.manual_seed(20)
    warnings.simplefilter("ignore")
    tensors = {}
    for name, shape in CASES.items():
        kernel, gradient = drawn(*shape), 1e-3 * drawn(*shape)
        case = {"K": kernel, "G": gradient, **lora_ga(kernel, gradient), **lora_one(gradient), **lora_sb(gradient), **pissa(kernel)}
        tensors |= {f"{name}.{k}": v.contiguous().clone() for k, v in case.items()}
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out, {"maker": f"scripts/goldens/starts.py, torch {torch.__version__.split('+')[0]}, peft {peft.__version__}"})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
