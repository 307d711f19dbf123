"""Open Inference Protocol, version 2 (REST): one optional tensor for each input, absent means missing.

Source: github.com/kserve/open-inference-protocol, specification/protocol/inference_rest.md. Values come in the units
that the model's metadata tell, or in the one that a tensor's own ``parameters.unit`` names. A row for which the model
abstains has ``null`` as its probabilities and the reason in the output ``abstained``.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from time import perf_counter
from typing import Final, TypeVar

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cds_service import __version__
from cds_service.api.inference_tensors import (
    infer_answer,
    model_metadata,
    read_infer,
    read_rows,
    rows_of,
    wanted_outputs,
)
from cds_service.api.predict import Window, event_of
from cds_service.errors import CdsServiceError, Fault, NotAllowed, UnknownService
from cds_service.events.schema import AnyEvent
from cds_service.model.predict import Abstention, Prediction, predict_many
from cds_service.model.runtime import Model
from cds_service.web.body import read_body
from cds_service.web.limits import MIB
from cds_service.web.problems import status_of

__all__ = ["inference_routes"]

_LARGEST: Final = MIB
_ROWS_INLINE: Final = 16
_FAULTS_TOLD: Final = 20

T = TypeVar("T")
_Handler = Callable[[Request], Awaitable[Response]]


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
        return _json(model_metadata(_model(window, request)))

    async def model_ready(request: Request, window: Window) -> Response:
        return _json({"name": _model(window, request).name, "ready": True})

    async def infer(request: Request, window: Window) -> Response:
        started = perf_counter()
        try:
            model = _model(window, request)
            asked = read_infer(await read_body(request.scope, request.receive, limits))
            now = window.clock()
            rows = await _off_loop(rows_of(asked), lambda: read_rows(asked, model, now))
            names = wanted_outputs(asked, model)
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
        return _json(infer_answer(asked, model, results, names))

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


async def _off_loop(rows: int, work: Callable[[], T]) -> T:
    """Do a few rows at once, many on a thread: the event loop is never held for more than about 5 ms (SEC-052)."""
    return work() if rows <= _ROWS_INLINE else await asyncio.to_thread(work)
