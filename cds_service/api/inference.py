"""Open Inference Protocol, version 2 (REST): one optional tensor for each input, absent means missing.

Source: github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md. Values come in the units
that the model's metadata tell, or in the one that a tensor's own ``parameters.unit`` names. A row for which the model
abstains has ``null`` as its probabilities and the reason in the output ``abstained``.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime
from time import perf_counter
from typing import Any, Final, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cds_service import __version__
from cds_service.api.predict import Window, event_of
from cds_service.api.values import read_values
from cds_service.clinical.feature_spec import FeatureSpec
from cds_service.clinical.features import Feature
from cds_service.errors import BadRequest, CdsServiceError, Fault, NotAllowed, UnknownService
from cds_service.events.schema import AnyEvent
from cds_service.model.predict import Abstention, Prediction, predict_many
from cds_service.model.runtime import Model
from cds_service.web.body import read_body
from cds_service.web.limits import MIB
from cds_service.web.problems import status_of

__all__ = ["MOST_ROWS", "inference_routes"]

MOST_ROWS: Final = 512
"""Rows of one call: each is an event on disk before the answer leaves."""
_LARGEST: Final = MIB
_ROWS_INLINE: Final = 16
_FAULTS_TOLD: Final = 20
_ID: Final = re.compile(r"[A-Za-z0-9._:-]{1,64}")

T = TypeVar("T")
_Handler = Callable[[Request], Awaitable[Response]]


class _Tensor(msgspec.Struct):
    name: str
    datatype: str
    shape: list[int]
    data: list[Any]
    parameters: dict[str, Any] = {}


class _Wanted(msgspec.Struct):
    name: str


class _InferRequest(msgspec.Struct):
    inputs: list[_Tensor]
    id: str | None = None
    outputs: list[_Wanted] | None = None


_decoder = msgspec.json.Decoder(_InferRequest)


def inference_routes(window: Window) -> list[Route]:
    """All addresses under ``/v2``."""
    limits = replace(window.limits, body_bytes=min(_LARGEST, window.limits.body_bytes))

    async def server(_: Request, __: Window) -> Response:
        return _json({"name": "cds-service", "version": __version__, "extensions": []})

    async def live(_: Request) -> Response:
        return _json({"live": True})

    async def ready(_: Request) -> Response:
        return _json({"ready": bool(window.models)}, 200 if window.models else 503)

    async def metadata(request: Request, window: Window) -> Response:
        return _json(_metadata(_model(window, request)))

    async def model_ready(request: Request, window: Window) -> Response:
        return _json({"name": _model(window, request).name, "ready": True})

    async def infer(request: Request, window: Window) -> Response:
        started = perf_counter()
        try:
            model = _model(window, request)
            asked = _decode(await read_body(request.scope, request.receive, limits))
            now = window.clock()
            rows = await _off_loop(_rows_of(asked), lambda: _read_rows(asked, model, now))
            names = _wanted(asked, model)
        except CdsServiceError as error:
            await window.note_refusal("infer", error, started)
            raise
        prevalence = window.prevalence(model.name)

        def ask() -> tuple[list[Prediction | Abstention], list[AnyEvent]]:
            results = predict_many(model, rows, site_prevalence=prevalence)
            return results, [
                event_of(window, model.features, row, result, hook="infer", now=now, started=started)
                for row, result in zip(rows, results, strict=True)
            ]

        results, events = await _off_loop(len(rows), ask)
        await window.append_events(events)
        return _json(_outcome(asked, model, results, names))

    def told(handler: _Handler) -> _Handler:
        return _told(handler, window.limits.retry_after_s)

    def guarded(handler: Callable[[Request, Window], Awaitable[Response]]) -> _Handler:
        return told(window.guard(handler))

    model_path = "/v2/models/{model}"
    version_path = model_path + "/versions/{version}"
    return [
        Route("/v2", guarded(server)),
        Route("/v2/health/live", told(live)),
        Route("/v2/health/ready", told(ready)),
        *(
            route
            for base in (model_path, version_path)
            for route in (
                Route(base, guarded(metadata)),
                Route(f"{base}/ready", guarded(model_ready)),
                Route(f"{base}/infer", guarded(infer), methods=["POST"]),
            )
        ),
    ]


def _told(handler: _Handler, retry_after_s: int) -> _Handler:
    """Tell what went wrong in the protocol's own form, ``{"error": text}``."""

    async def told(request: Request) -> Response:
        try:
            return await handler(request)
        except NotAllowed:
            raise  # one body for every 401 (SEC-017)
        except CdsServiceError as error:
            text = "\n".join(str(fault) for fault in error.faults[:_FAULTS_TOLD])
            more = len(error.faults) - _FAULTS_TOLD
            status = status_of(error)
            headers = {"retry-after": str(retry_after_s)} if status == 503 else None
            return _json({"error": text + (f"\nand {more} more" if more > 0 else "")}, status, headers)

    told.__name__ = getattr(handler, "__name__", "told")
    return told


def _json(content: object, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(msgspec.json.encode(content), status, headers, "application/json")


def _model(window: Window, request: Request) -> Model:
    model = window.model(request.path_params["model"])
    if request.path_params.get("version", model.version) != model.version:
        raise UnknownService(Fault("version", "this version is not served", "see the model's metadata"))
    return model


def _metadata(model: Model) -> dict[str, Any]:
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


def _decode(body: bytes) -> _InferRequest:
    try:
        return _decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        # msgspec's own text quotes no value but may quote a member's name, which is the caller's text.
        raise BadRequest(
            Fault("body", "it is not an inference request", "send inputs with name, datatype, shape and data")
        ) from None


def _rows_of(asked: _InferRequest) -> int:
    return max((len(tensor.data) for tensor in asked.inputs), default=0)


async def _off_loop(rows: int, work: Callable[[], T]) -> T:
    """Do a few rows at once, many on a thread: the event loop is never held for more than about 5 ms (SEC-052)."""
    return work() if rows <= _ROWS_INLINE else await asyncio.to_thread(work)


def _read_rows(asked: _InferRequest, model: Model, now: datetime) -> list[dict[str, Feature]]:
    """Tensors → one set of features for each row, by the plain window's own reader."""
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


def _wanted(asked: _InferRequest, model: Model) -> list[str]:
    known = [*model.bundle.manifest.outputs, "abstained"]
    if asked.outputs is None:
        return known
    names = [wanted.name for wanted in asked.outputs]
    if not set(names) <= set(known):
        raise BadRequest(Fault("outputs", "there is no such output", f"the outputs are {', '.join(known)}"))
    return [name for name in known if name in names]


def _outcome(
    asked: _InferRequest, model: Model, results: Sequence[Prediction | Abstention], names: Sequence[str]
) -> dict[str, Any]:
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
