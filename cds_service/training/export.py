"""The student leaves torch: an ONNX graph, the reference of its training data, and golden rows that pin its answers."""

import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from cds_service.clinical.feature_spec import FeatureSet
from cds_service.model.bundle import GoldenRow, InputReference, Reference, ScoreReference
from cds_service.model.runtime import open_session
from cds_service.training.nets import ChainNet

__all__ = ["as_int8", "as_onnx", "ask_onnx", "golden_features", "golden_row", "make_reference"]

Float32 = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]

_OPSET, _IR_VERSION = 17, 8
_RANGE_ROWS = 1_000
_DECILES = np.linspace(0.1, 0.9, 9)


def as_onnx(net: ChainNet, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> bytes:
    """Write the net as a graph: ``values`` and ``present`` [N, n] in declared units → ``logits`` [N, outputs].

    Scaling is inside the graph, so that no second definition of it exists. The same weights give the same bytes.
    """
    weights: list[TensorProto] = []

    def constant(name: str, array: npt.NDArray[np.floating]) -> str:
        weights.append(numpy_helper.from_array(np.ascontiguousarray(array, dtype=np.float32), name))
        return name

    nodes = [
        helper.make_node("Sub", ["values", constant("mean", _array(net.mean))], ["centred"]),
        helper.make_node("Mul", ["centred", constant("scale", _array(net.scale))], ["scaled"]),
        helper.make_node("Mul", ["scaled", "present"], ["plain"]),
        helper.make_node("Relu", ["values"], ["positive"]),
        helper.make_node("Add", ["positive", constant("one", np.ones(1))], ["one_more"]),
        helper.make_node("Log", ["one_more"], ["logs"]),
        helper.make_node("Sub", ["logs", constant("log_mean", _array(net.log_mean))], ["log_centred"]),
        helper.make_node("Mul", ["log_centred", constant("log_scale", _array(net.log_scale))], ["log_scaled"]),
        helper.make_node("Mul", ["log_scaled", "present"], ["log_plain"]),
        helper.make_node("Concat", ["plain", "log_plain", "present"], ["deep_0"], axis=1),
    ]
    deep = "deep_0"
    for number, layer in enumerate(net.layers, start=1):
        weight, bias = (
            constant(f"weight_{number}", _array(layer.weight)),
            constant(f"bias_{number}", _array(layer.bias)),
        )
        nodes.append(helper.make_node("Gemm", [deep, weight, bias], [f"linear_{number}"], transB=1))
        nodes.append(helper.make_node("Sigmoid", [f"linear_{number}"], [f"gate_{number}"]))
        deep = f"deep_{number}"
        nodes.append(helper.make_node("Mul", [f"linear_{number}", f"gate_{number}"], [deep]))
    head, bias = constant("weight_out", _array(net.head.weight)), constant("bias_out", _array(net.head.bias))
    nodes.append(helper.make_node("Gemm", [deep, head, bias], ["logits"], transB=1))
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", len(inputs)]) for name in ("values", "present")],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", len(outputs)])],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], producer_name="cds-service")
    model.ir_version = _IR_VERSION
    helper.set_model_props(model, {"inputs": ",".join(inputs), "outputs": ",".join(outputs)})
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def as_int8(graph: bytes, values: Float32, present: Float32) -> bytes:
    """Quantize the matrix products of a graph: static QDQ, U8 activations × S8 weights by channel, reduced range.

    Args:
        graph: As :func:`as_onnx` wrote it.
        values: Training rows that set the ranges, shape (rows, inputs); a thousand of them are used.
        present: The same.
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        def __init__(self) -> None:
            self.left = iter([{"values": values[:_RANGE_ROWS], "present": present[:_RANGE_ROWS]}])

        def get_next(self) -> dict[str, Float32] | None:
            return next(self.left, None)

    with tempfile.TemporaryDirectory(prefix="cds-int8-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # onnxruntime's quantizer warns of its own internals
        before, ready, after = (Path(folder) / name for name in ("fp32.onnx", "ready.onnx", "int8.onnx"))
        before.write_bytes(graph)
        quant_pre_process(str(before), str(ready), skip_symbolic_shape=True)
        quantize_static(
            ready, after, Reader(), quant_format=QuantFormat.QDQ, activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8, per_channel=True, reduce_range=True, op_types_to_quantize=["Gemm"],
        )  # fmt: skip
        model = onnx.load(after)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def ask_onnx(graph: bytes, values: Float32, present: Float32) -> Floats:
    """Give the step logits of many rows as ONNX Runtime computes them, shape (rows, outputs)."""
    session = open_session(graph, "a graph just made", 1)
    return np.asarray(session.run(["logits"], {"values": values, "present": present})[0], dtype=np.float64)


def make_reference(
    features: FeatureSet, values: Float32, present: Float32, probability: Mapping[str, Floats]
) -> Reference:
    """Describe the training data: ranges for the out-of-distribution check, deciles and missing shares for drift."""
    inputs = {}
    for place, spec in enumerate(features.inputs):
        there = values[present[:, place] > 0, place].astype(np.float64)
        inputs[spec.name] = InputReference(
            low=float(np.floor(there.min() * 10) / 10),
            high=float(np.ceil(there.max() * 10) / 10),
            deciles=_deciles(there),
            missing_share=round(1 - len(there) / len(values), 6),
        )
    return Reference(len(values), inputs, {output: ScoreReference(_deciles(p)) for output, p in probability.items()})


def golden_features(reference: Reference) -> list[tuple[str, dict[str, float | None]]]:
    """Make rows that belong to no person: low, middle and high deciles, each input missing in turn, both range ends."""
    names = list(reference.inputs)
    deciles = {name: one.deciles for name, one in reference.inputs.items()}
    rows: list[tuple[str, dict[str, float | None]]] = [
        (f"decile {place + 1}", {name: deciles[name][place] for name in names}) for place in range(9)
    ]
    rows += [
        ("lowest of range", {name: one.low for name, one in reference.inputs.items()}),
        ("highest of range", {name: one.high for name, one in reference.inputs.items()}),
    ]
    for at, label in ((4, "median"), (7, "eighth decile")):
        for gone in names[1:]:  # age is never missing: without it the model abstains
            rows.append((f"{label} without {gone}", {n: None if n == gone else deciles[n][at] for n in names}))
    few = ("age_years", "glucose", "hdl")
    if set(few) <= set(names):
        rows.append(("age and two laboratory values", {n: deciles[n][6] if n in few else None for n in names}))
    return rows


def golden_row(label: str, features: dict[str, float | None], probabilities: Mapping[str, float]) -> GoldenRow:
    """Pin what a row gave at the release."""
    return GoldenRow(label, features, {output: round(value, 8) for output, value in probabilities.items()})


def _array(weight: object) -> Float32:
    array: Float32 = weight.detach().numpy()  # type: ignore[attr-defined]  # a torch tensor; torch is not imported here
    return array


def _deciles(values: Floats) -> tuple[float, ...]:
    return tuple(round(float(number), 4) for number in np.quantile(values, _DECILES))
