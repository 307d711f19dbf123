"""A graph is hostile input until it was looked at: what it may contain is read from its bytes before ONNX Runtime sees them.

Reads the few fields of ``onnx.proto`` (ModelProto, GraphProto, NodeProto, AttributeProto, TensorProto) that decide it;
the onnx package itself is not in the serving install. SEC-122.
"""

from collections.abc import Iterator

__all__ = ["ALLOWED_OPERATORS", "graph_faults"]

ALLOWED_OPERATORS = frozenset(
    (
        "Add", "Cast", "Clip", "Concat", "Conv", "DequantizeLinear", "Div", "Exp", "Flatten", "Gemm", "GlobalAveragePool",
        "Identity", "Log", "MatMul", "Max", "Min", "Mul", "Neg", "QuantizeLinear", "Relu", "Reshape", "Sigmoid", "Softmax", "Sub", "Tanh", "Transpose", "Unsqueeze",
    )
)  # fmt: skip
"""Of the default domain. No control flow, no operator that makes a large tensor from a small one."""

_MODEL_GRAPH, _MODEL_TRAINING, _MODEL_FUNCTIONS = 7, 20, 25
_GRAPH_NODE, _GRAPH_INITIALIZER, _GRAPH_SPARSE = 1, 5, 15
_NODE_OPERATOR, _NODE_ATTRIBUTE, _NODE_DOMAIN = 4, 5, 7
_ATTRIBUTE_TENSOR, _ATTRIBUTE_GRAPH, _ATTRIBUTE_TENSORS, _ATTRIBUTE_GRAPHS = 5, 6, 10, 11
_TENSOR_EXTERNAL, _TENSOR_LOCATION = 13, 14


def graph_faults(model: bytes) -> list[str]:
    """Say what in a serialised ONNX model is not allowed.

    Args:
        model: The bytes that would be loaded.

    Returns:
        One sentence a fault, none if the model may be loaded. Bytes that are no model are a fault.
    """
    try:
        return sorted(set(_of_model(memoryview(model))))
    except ValueError as fault:
        return [f"it is no ONNX model ({fault})"]


def _of_model(data: memoryview) -> Iterator[str]:
    graphs = 0
    for number, part in _fields(data):
        if number == _MODEL_GRAPH:
            graphs += 1
            yield from _of_graph(_message(part))
        elif number in {_MODEL_TRAINING, _MODEL_FUNCTIONS}:
            yield "it carries training information or functions of its own"
    if graphs != 1:
        raise ValueError("it holds no graph" if not graphs else "it holds several graphs")


def _of_graph(data: memoryview) -> Iterator[str]:
    for number, part in _fields(data):
        if number == _GRAPH_NODE:
            yield from _of_node(_message(part))
        elif number == _GRAPH_INITIALIZER:
            yield from _of_tensor(_message(part))
        elif number == _GRAPH_SPARSE:
            yield "it holds sparse tensors"


def _of_node(data: memoryview) -> Iterator[str]:
    operator, domain = "", ""
    for number, part in _fields(data):
        if number == _NODE_OPERATOR:
            operator = _text(part)
        elif number == _NODE_DOMAIN:
            domain = _text(part)
        elif number == _NODE_ATTRIBUTE:
            yield from _of_attribute(_message(part))
    if domain not in {"", "ai.onnx"}:
        yield "an operator of a domain of its own is not on the list"
    elif operator not in ALLOWED_OPERATORS:
        yield f"operator {operator if operator.isascii() and operator.isidentifier() else '?'} is not on the list"


def _of_attribute(data: memoryview) -> Iterator[str]:
    for number, part in _fields(data):
        if number in {_ATTRIBUTE_GRAPH, _ATTRIBUTE_GRAPHS}:
            yield "an operator carries a graph of its own (control flow)"
        elif number in {_ATTRIBUTE_TENSOR, _ATTRIBUTE_TENSORS}:
            yield from _of_tensor(_message(part))


def _of_tensor(data: memoryview) -> Iterator[str]:
    for number, part in _fields(data):
        if number == _TENSOR_EXTERNAL or (number == _TENSOR_LOCATION and part != 0):
            yield "a tensor lies in another file"


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Walk one protobuf message: (field number, value), a length-delimited value as its bytes."""
    place = 0
    while place < len(data):
        key, place = _varint(data, place)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, place = _varint(data, place)
            yield number, value
            continue
        if kind == 2:
            size, place = _varint(data, place)
        elif kind in {1, 5}:
            size = 8 if kind == 1 else 4
        else:
            raise ValueError("a field of unknown kind")
        if size > len(data) - place:
            raise ValueError("a field reaches beyond its end")
        yield number, data[place : place + size]
        place += size


def _varint(data: memoryview, place: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 64, 7):
        if place >= len(data):
            raise ValueError("it ends in the middle of a number")
        byte = data[place]
        place += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, place
    raise ValueError("a number is too long")


def _message(part: int | memoryview) -> memoryview:
    if isinstance(part, int):
        raise ValueError("a number where a message belongs")  # noqa: TRY004 - a fault of the bytes, not of the caller
    return part


def _text(part: int | memoryview) -> str:
    return bytes(_message(part)).decode()
