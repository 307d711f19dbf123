"""What the Open Inference Protocol carries: a model's metadata, tensors in, tensors out.

Source: github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md.
"""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import msgspec

from cds_service.api.values import read_values
from cds_service.clinical.feature_spec import FeatureSpec
from cds_service.clinical.features import Feature
from cds_service.errors import BadRequest, Fault
from cds_service.model.predict import Abstention, Prediction
from cds_service.model.runtime import Model

__all__ = [
    "MOST_ROWS", "InferRequest", "infer_answer", "model_metadata", "read_infer", "read_rows", "rows_of", "wanted_outputs",
]  # fmt: skip

MOST_ROWS: Final = 512
"""Rows of one call: each is an event on disk before the answer leaves."""
_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}")


class _Tensor(msgspec.Struct):
    name: str
    datatype: str
    shape: list[int]
    data: list[Any]
    parameters: dict[str, Any] = {}


class _Wanted(msgspec.Struct):
    name: str


class InferRequest(msgspec.Struct):
    """A question as it came: tensors by name, not yet held against the model."""

    inputs: list[_Tensor]
    id: str | None = None
    outputs: list[_Wanted] | None = None


_decoder = msgspec.json.Decoder(InferRequest)


def model_metadata(model: Model) -> dict[str, Any]:
    """The model as the protocol describes one: its tensors, each with its unit or what it means."""

    def declared(spec: FeatureSpec) -> dict[str, Any]:
        parameters: dict[str, Any] = {"unit": spec.unit, "optional": spec.missing != "abstain"}
        if spec.origin == "patient.sex":
            parameters["values"] = "1 male, 0 female"
        elif spec.origin == "fasting_state":
            parameters["values"] = "1 fasting, 0 casual"
        return {"name": spec.name, "datatype": "FP64", "shape": [-1, 1], "parameters": parameters}

    return {
        "name": model.name,
        "versions": [model.version],
        "platform": "onnx_onnxv1",
        "inputs": [declared(spec) for spec in model.features.inputs],
        "outputs": [
            *(
                {"name": name, "datatype": "FP64", "shape": [-1], "parameters": {"means": means}}
                for name, means in model.bundle.manifest.outputs.items()
            ),
            {"name": "abstained", "datatype": "BYTES", "shape": [-1], "parameters": {"means": "reason, or empty"}},
        ],
    }


def read_infer(body: bytes) -> InferRequest:
    """Read the body of a question.

    Raises:
        BadRequest: It is not JSON of this shape.
    """
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # msgspec's own text quotes no value but may quote a member's name, which is the caller's text.
        raise BadRequest(
            Fault("body", "it is not an inference request", "send inputs with name, datatype, shape and data")
        ) from None


def rows_of(asked: InferRequest) -> int:
    """How many rows the longest tensor has, before any of them is looked at."""
    return max((len(tensor.data) for tensor in asked.inputs), default=0)


def read_rows(asked: InferRequest, model: Model, now: datetime) -> list[dict[str, Feature]]:
    """Tensors → one set of features for each row, by the plain window's own reader.

    Raises:
        BadRequest: A tensor or a value does not fit the model; every fault is named, by tensor or by row.
    """
    faults: list[Fault] = []
    columns: dict[str, tuple[FeatureSpec, str, list[Any]]] = {}
    specs = {spec.name: spec for spec in model.features.inputs}
    counts: set[int] = set()
    for place, tensor in enumerate(asked.inputs):
        where = f"inputs[{place}]"
        spec = specs.get(tensor.name)
        if spec is None or tensor.name in columns:
            faults.append(Fault(f"{where}.name", "not an input of this model, or named twice", "see the metadata"))
            continue
        column = _column(tensor, where, faults)
        if column is not None:
            unit = tensor.parameters.get("unit", spec.unit)
            columns[spec.name] = (spec, unit, column)
            counts.add(len(column))
    if len(counts) > 1:
        faults.append(Fault("inputs", "the tensors have different numbers of rows", "give all the same shape"))
    if not asked.inputs:
        faults.append(Fault("inputs", "there is no tensor", "give one for each value that is known"))
    if faults:
        raise BadRequest(*faults)
    rows: list[dict[str, Feature]] = []
    for place in range(counts.pop()):
        values = {name: _plain(spec, unit, column[place]) for name, (spec, unit, column) in columns.items()}
        try:
            rows.append(read_values(values, model.features, now, may_lack_all=True))
        except BadRequest as error:
            faults.extend(Fault(f"row {place}, {fault.where}", fault.what, fault.do) for fault in error.faults)
    if faults:
        raise BadRequest(*faults)
    return rows


def _column(tensor: _Tensor, where: str, faults: list[Fault]) -> list[Any] | None:
    """The tensor's data as a flat column; None after noting what is wrong with it."""
    if tensor.datatype not in {"FP32", "FP64"}:
        faults.append(Fault(f"{where}.datatype", "it is neither FP32 nor FP64", "send floating point numbers"))
        return None
    data = [one[0] if isinstance(one, list) and len(one) == 1 else one for one in tensor.data]
    if tensor.shape not in ([len(data)], [len(data), 1]):
        faults.append(Fault(f"{where}.shape", "it is not [N] or [N, 1] of the data's length", "send N values"))
        return None
    if not all(one is None or (isinstance(one, int | float) and not isinstance(one, bool)) for one in data):
        faults.append(
            Fault(f"{where}.data", "it holds something else than numbers", "send numbers, null where unknown")
        )
        return None
    if not 1 <= len(data) <= MOST_ROWS:
        faults.append(Fault(f"{where}.data", f"there are not 1 to {MOST_ROWS} rows", "send several calls"))
        return None
    return data


def _plain(spec: FeatureSpec, unit: object, value: float | None) -> object:
    """One number of a tensor as the plain window writes it; ``null`` stays missing."""
    if value is None:
        return None
    if spec.origin == "patient.sex":
        return {1.0: "male", 0.0: "female"}.get(value, value)
    if spec.origin == "fasting_state":
        return {1.0: True, 0.0: False}.get(value, value)
    if spec.origin == "patient.age":
        return value
    return {"value": value, "unit": unit}


def wanted_outputs(asked: InferRequest, model: Model) -> list[str]:
    """The outputs to answer with, in the model's order; all where none is asked for.

    Raises:
        BadRequest: One is asked for that the model lacks.
    """
    known = [*model.bundle.manifest.outputs, "abstained"]
    if asked.outputs is None:
        return known
    names = [wanted.name for wanted in asked.outputs]
    if not set(names) <= set(known):
        raise BadRequest(Fault("outputs", "there is no such output", f"the outputs are {', '.join(known)}"))
    return [name for name in known if name in names]


def infer_answer(
    asked: InferRequest, model: Model, results: Sequence[Prediction | Abstention], names: Sequence[str]
) -> dict[str, Any]:
    """One tensor for each output, one value for each row: ``null`` where the model abstained, with the reason beside it."""
    answer: dict[str, Any] = {"model_name": model.name, "model_version": model.version}
    if asked.id is not None and _ID.fullmatch(asked.id):
        answer["id"] = asked.id
    answer["outputs"] = [
        {
            "name": name,
            "datatype": "BYTES" if name == "abstained" else "FP64",
            "shape": [len(results)],
            "data": [_cell(name, result) for result in results],
        }
        for name in names
    ]
    return answer


def _cell(name: str, result: Prediction | Abstention) -> float | str | None:
    if name == "abstained":
        return result.reason if isinstance(result, Abstention) else ""
    return None if isinstance(result, Abstention) else result.display[name][0]
