"""An image net leaves torch: batch norms folded into convolutions, written as ONNX, and quantized to int8."""

import tempfile
import warnings
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnx
from msgspec import Struct
from onnx import TensorProto, helper, numpy_helper

from cds_service.model.image_model import ACTIVATION, UNLIKENESS
from cds_service.training.image_nets import Block, ImageNet, Unit

__all__ = ["Likeness", "as_image_onnx", "as_int8", "folded"]

Float32 = npt.NDArray[np.float32]

_OPSET, _IR_VERSION = 17, 8
_KEPT: Final = ("last", ACTIVATION, UNLIKENESS, "centred", "placed", "squared")
"""Not quantized: they cost next to nothing, and small differences of large numbers would be lost."""


class Likeness(Struct, frozen=True):
    """How unlike the training images an image is: the mean square of its embedding in a basis, from a centre."""

    centre: Float32
    """(channels,)."""
    basis: Float32
    """(channels, k): a familiar image has about 1 in each direction."""

    def of(self, embedding: Float32) -> Float32:
        """Score embeddings, shape (n, channels): about 1 for a familiar image, more for another."""
        return np.asarray((((embedding - self.centre) @ self.basis) ** 2).mean(axis=1), dtype=np.float32)


def as_image_onnx(net: ImageNet, size: int, output: str, likeness: Likeness | None = None) -> bytes:
    """Write the net as a graph. Same weights, same bytes.

    ``pixels`` float32 [N, 1, size, size] → ``logits`` [N, 1]; with a *likeness* also ``activation`` [N, 1, h, w], whose
    mean and the bias are the logit, and ``unlikeness`` [N, 1]. Batch norms are folded into the convolutions before
    them; the drawing of the lesion, dropout and the like stay behind.
    """
    writer = _Writer()
    last = writer.unit("pixels", "stem", _unit(net.stem))
    for place, block in enumerate(net.blocks):
        assert isinstance(block, Block)  # noqa: S101 - a ModuleList forgets what it holds
        before = last
        for number, unit in enumerate(block.units):
            last = writer.unit(last, f"block_{place}_{number}", _unit(unit))
        if block.adds:
            last = writer.node("Add", [before, last], f"block_{place}_sum")
    head = writer.unit(last, "head", _unit(net.head))
    last = writer.node("GlobalAveragePool", [head], "pooled")
    last = writer.node("Flatten", [last], "flat", axis=1)
    weight = writer.constant("last_weight", net.last.weight.detach().numpy())
    bias = writer.constant("last_bias", net.last.bias.detach().numpy())
    writer.nodes.append(helper.make_node("Gemm", [last, weight, bias], ["logits"], name="last", transB=1))
    gives = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 1])]
    if likeness is not None:
        gives += _beside(writer, net, head, last, likeness)
    graph = helper.make_graph(
        writer.nodes,
        "image",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["N", 1, size, size])],
        gives,
        writer.weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", _OPSET)], producer_name="cds-service")
    model.ir_version = _IR_VERSION
    helper.set_model_props(model, {"outputs": output})
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def _beside(writer: "_Writer", net: ImageNet, head: str, flat: str, likeness: Likeness) -> list[onnx.ValueInfoProto]:
    """Add where it looked and how unlike the training images the image is."""
    weight = writer.constant("activation_weight", net.last.weight.detach().numpy()[:, :, None, None])
    writer.nodes.append(helper.make_node("Conv", [head, weight], [ACTIVATION], name=ACTIVATION, kernel_shape=[1, 1]))
    centre = writer.constant("centre", likeness.centre[None])
    basis = writer.constant("basis", likeness.basis)
    share = writer.constant("share", np.full((likeness.basis.shape[1], 1), 1 / likeness.basis.shape[1]))
    placed = writer.node("MatMul", [writer.node("Sub", [flat, centre], "centred"), basis], "placed")
    squared = writer.node("Mul", [placed, placed], "squared")
    writer.nodes.append(helper.make_node("MatMul", [squared, share], [UNLIKENESS], name=UNLIKENESS))
    return [
        helper.make_tensor_value_info(ACTIVATION, TensorProto.FLOAT, ["N", 1, "height", "width"]),
        helper.make_tensor_value_info(UNLIKENESS, TensorProto.FLOAT, ["N", 1]),
    ]


def as_int8(graph: bytes, images: Float32) -> bytes:
    """Quantize a graph: static QDQ, U8 activations × S8 weights by channel, in reduced range (7 bits).

    Reduced range always: without VNNI, eight-bit products saturate in pairs and the same patient would get other
    numbers in another server room.

    Args:
        graph: As :func:`as_image_onnx` wrote it.
        images: Prepared training images that set the ranges of the activations, shape (n, 1, size, size).
    """
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        def __init__(self) -> None:
            self.left = iter(np.array_split(images, max(1, len(images) // 16)))

        def get_next(self) -> dict[str, Float32] | None:
            batch = next(self.left, None)
            return None if batch is None else {"pixels": batch}

    with tempfile.TemporaryDirectory(prefix="cds-int8-") as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # onnxruntime's quantizer warns of its own internals
        before, ready, after = (Path(folder) / name for name in ("fp32.onnx", "ready.onnx", "int8.onnx"))
        before.write_bytes(graph)
        quant_pre_process(str(before), str(ready), skip_symbolic_shape=True)
        quantize_static(
            ready,
            after,
            Reader(),
            quant_format=QuantFormat.QDQ,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            per_channel=True,
            reduce_range=True,
            nodes_to_exclude=[*_KEPT],
        )
        model = onnx.load(after)
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def folded(unit: Unit) -> tuple[Float32, Float32]:
    """Fold a unit's batch norm into its convolution: (weight, bias)."""
    norm = unit.norm
    assert norm.running_mean is not None  # noqa: S101
    assert norm.running_var is not None  # noqa: S101
    scale = (norm.weight / (norm.running_var + norm.eps).sqrt()).detach()
    weight = unit.conv.weight.detach() * scale.reshape(-1, 1, 1, 1)
    bias = norm.bias.detach() - norm.running_mean * scale
    return weight.contiguous().numpy(), bias.contiguous().numpy()


def _unit(module: object) -> Unit:
    assert isinstance(module, Unit)  # noqa: S101
    return module


class _Writer:
    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[TensorProto] = []
        six = numpy_helper.from_array(np.array(6, dtype=np.float32), "six")
        nought = numpy_helper.from_array(np.array(0, dtype=np.float32), "nought")
        self.weights += [nought, six]

    def constant(self, name: str, array: npt.NDArray[np.floating]) -> str:
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array, dtype=np.float32), name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, **attributes))
        return output

    def unit(self, before: str, name: str, unit: Unit) -> str:
        weight, bias = folded(unit)
        inputs = [before, self.constant(f"{name}_weight", weight), self.constant(f"{name}_bias", bias)]
        low, high = unit.pad
        last = self.node(
            "Conv", inputs, f"{name}_conv",
            group=unit.conv.groups, kernel_shape=list(unit.conv.kernel_size), strides=list(unit.conv.stride),
            pads=[low, low, high, high],
        )  # fmt: skip
        return self.node("Clip", [last, "nought", "six"], f"{name}_act") if unit.act else last
