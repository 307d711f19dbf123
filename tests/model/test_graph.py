"""What a graph may contain (SEC-122): read from its bytes before ONNX Runtime sees them."""

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from cds_service.model.graph import ALLOWED_OPERATORS, graph_faults

RELEASED = (Path(__file__).parents[2] / "model_assets" / "dysglycaemia" / "1.0.0" / "model.onnx").read_bytes()


def graph(*nodes, initializers=(), sparse=()):
    return helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])],
        list(initializers),
        sparse_initializer=list(sparse),
    )


def model(*nodes, functions=(), **parts):
    made = helper.make_model(
        graph(*nodes, **parts), opset_imports=[helper.make_opsetid("", 17)], functions=list(functions)
    )
    return made.SerializeToString()


def external():
    tensor = numpy_helper.from_array(np.zeros(2, dtype=np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "../../etc/passwd"
    return tensor


def loop():
    body = graph(helper.make_node("Identity", ["x"], ["y"]))
    return helper.make_node("Loop", ["", "", "x"], ["y"], body=body)


def constant_of_external():
    return helper.make_node("Identity", ["x"], ["y"], value=external())


def function():
    return helper.make_function(
        "own", "F", ["x"], ["y"], [helper.make_node("Relu", ["x"], ["y"])], [helper.make_opsetid("", 17)]
    )


def sparse():
    values = helper.make_tensor("v", TensorProto.FLOAT, [1], [1.0])
    return helper.make_sparse_tensor(values, helper.make_tensor("i", TensorProto.INT64, [1], [0]), [2])


NODE = helper.make_node("Relu", ["x"], ["y"])
HOSTILE = [
    pytest.param(model(loop()), ["control flow", "operator Loop"], id="a loop"),
    pytest.param(model(helper.make_node("ConstantOfShape", ["x"], ["y"])), ["operator ConstantOfShape"], id="a huge tensor"),
    pytest.param(model(helper.make_node("Relu", ["x"], ["y"], domain="evil")), ["domain of its own"], id="a custom operator"),
    pytest.param(model(helper.make_node("os.system", ["x"], ["y"])), ["operator ?"], id="a name that is none"),
    pytest.param(model(NODE, initializers=[external()]), ["another file"], id="weights in another file"),
    pytest.param(model(constant_of_external()), ["another file"], id="an attribute in another file"),
    pytest.param(model(NODE, functions=[function()]), ["functions of its own"], id="functions"),
    pytest.param(model(NODE, sparse=[sparse()]), ["sparse"], id="sparse tensors"),
    pytest.param(b"", ["no ONNX model"], id="nothing"),
    pytest.param(RELEASED[: len(RELEASED) // 2], ["no ONNX model"], id="truncated"),
    pytest.param(b"\xff" * 12, ["no ONNX model"], id="a number without end"),
    pytest.param(b"\x38\x01", ["no ONNX model"], id="a number where a message belongs"),
]  # fmt: skip


@pytest.mark.sec("SEC-122")
@pytest.mark.parametrize(("data", "words"), HOSTILE)
def test_what_is_not_allowed_is_named(data, words):
    faults = graph_faults(data)
    assert all(any(word in fault for fault in faults) for word in words), faults


@pytest.mark.sec("SEC-122")
def test_the_released_graph_passes():
    assert graph_faults(RELEASED) == []
    assert {node.op_type for node in onnx.load_from_string(RELEASED).graph.node} <= ALLOWED_OPERATORS


@pytest.mark.sec("SEC-122")
@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.integers(0, len(RELEASED) - 1))
def test_no_bytes_make_it_raise(data, place):
    graph_faults(data)
    damaged = bytearray(RELEASED)
    damaged[place : place + len(data)] = data
    graph_faults(bytes(damaged))
