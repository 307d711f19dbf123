"""A tiny but real bundle on disk for any features.toml: what a test service needs instead of a trained model."""

import json
import math
import tomllib
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from cds_service.clinical.feature_spec import read_feature_set
from cds_service.model.bundle import seal

DOCUMENTS = ("MODEL_CARD.md", "PACKAGE_INSERT.ja.md", "metrics.json")


def tiny_graph(names: list[str], outputs: int, offset: float) -> bytes:
    """Logits = offset + 0 × inputs: every input arrives and none matters, so a test chooses the probability."""
    nodes = [
        helper.make_node("Mul", ["values", "present"], ["seen"]),
        helper.make_node("MatMul", ["seen", "weights"], ["raw"]),
        helper.make_node("Add", ["raw", "offset"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", len(names)]) for name in ("values", "present")],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", outputs])],
        [
            numpy_helper.from_array(np.zeros((len(names), outputs), dtype=np.float32), "weights"),
            numpy_helper.from_array(np.full(outputs, offset, dtype=np.float32), "offset"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.helper.set_model_props(model, {"inputs": ",".join(names)})
    return model.SerializeToString()


def write_tiny_bundle(
    assets: Path,
    model: str,
    features: Path,
    *,
    outputs: tuple[str, ...] = ("risk",),
    offset: float = 2.0,
    point: str = "any",
    threshold: float = 0.0,
) -> Path:
    """Write ``assets/<model>/1.0.0`` and its channel file; every probability is sigmoid(offset)."""
    folder = assets / model / "1.0.0"
    folder.mkdir(parents=True)
    declared = features.read_bytes()
    specs = read_feature_set(tomllib.loads(declared.decode())).inputs
    names = [spec.name for spec in specs]

    def seen(spec) -> dict:
        low, high = spec.clip or spec.plausible or (0.0, 1.0)
        return {
            "low": low,
            "high": high,
            "deciles": [low + (high - low) * tenth / 10 for tenth in range(1, 10)],
            "missing_share": 0.5,
        }

    one_bin = [{"low": 0.0, "high": 1.0, "cases": 1000, "predicted": 0.5, "observed": 0.5}]
    prevalence = {output: 0.3 / (place + 1) for place, output in enumerate(outputs)}
    spoken = 1 / (1 + math.exp(-offset))
    golden = {
        "id": "one input",
        "features": dict.fromkeys(names) | {names[0]: seen(specs[0])["deciles"][4]},
        "expected": {output: spoken ** (place + 1) for place, output in enumerate(outputs)},
    }
    contents = {
        "model.onnx": tiny_graph(names, len(outputs), offset),
        "features.toml": declared,
        "calibration.json": json.dumps(
            {
                "method": "none, for tests",
                "steps": [{"output": output, "intercept": 0.0, "slope": 1.0} for output in outputs],
                "minimum_cases": 20,
                "bins": dict.fromkeys(outputs, one_bin),
            }
        ).encode(),
        "operating_points.toml": (
            f'[{point}]\noutput = "{outputs[-1]}"\nthreshold = {threshold}\ncards_per_100 = [1.0, 1.0, 1.0]\n'
            'ppv_score = [0.5, 0.4, 0.6]\nminimum_ppv_score = 0.1\neligible = "all"\ncases = 100\n'
        ).encode(),
        "reference.json": json.dumps(
            {
                "rows": 100,
                "inputs": {spec.name: seen(spec) for spec in specs},
                "scores": {output: {"deciles": [tenth / 10 for tenth in range(1, 10)]} for output in outputs},
            }
        ).encode(),
        "golden.json": json.dumps({"tolerance": 1e-6, "rows": [golden]}).encode(),
        **dict.fromkeys(DOCUMENTS, b"{}"),
    }
    files = "\n".join(
        f'"{name}" = {{ sha256 = "{one.sha256}", bytes = {one.bytes} }}' for name, one in seal(contents).items()
    )
    shares = ", ".join(f"{output} = {share:.4f}" for output, share in prevalence.items())
    labels = ", ".join(f'{output} = "{output}"' for output in outputs)
    contents["bundle.toml"] = (
        f'format = 1\nmodel = "{model}"\nversion = "1.0.0"\nmade_by = "tests"\ncommit = "0"\nparent = ""\n'
        f'minimum_inputs = 1\ndata = []\npopulation = {{ en = "nobody", ja = "なし" }}\n'
        f"prevalence = {{ {shares} }}\noutputs = {{ {labels} }}\n[files]\n{files}\n"
    ).encode()
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    (assets / model / "channels.toml").write_text('champion = "1.0.0"\n')
    return folder
