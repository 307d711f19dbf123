"""The sandbox's routes: the page, its patients, the R4 server, and a view of the event log for developers."""

import hashlib
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from cds_service.errors import DeclarationError
from cds_service.sandbox.charts import read_charts
from cds_service.sandbox.examples import read_examples
from cds_service.sandbox.memory import Memory
from cds_service.sandbox.people import list_patients
from cds_service.sandbox.r4_server import fhir_routes

__all__ = ["PAGE_HEADERS", "ReadEvents", "sandbox_routes"]

ReadEvents = Callable[[int, int], Sequence[Mapping[str, Any]]]
"""``read_events(after, limit)``: the events after a sequence number, oldest first, as JSON-ready mappings with ``seq``."""

EVENTS_MAX = 500

PAGE_HEADERS: Mapping[str, str] = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; "
        "trusted-types 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""SEC-062, and Trusted Types on top: no string ever becomes markup or script on this page. The door adds the rest."""

_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".png": "image/png",
    ".svg": "image/svg+xml",
}


def sandbox_routes(*, folder: Path, today: date, read_events: ReadEvents, hooks: Path | None = None) -> list[BaseRoute]:
    """Serve the sandbox: page at ``/``, its files under ``/sandbox/``, R4 server under ``/fhir``.

    Args:
        folder: The top-level ``sandbox`` folder (page, scripts, ``patients``), from the checkout or the wheel.
        today: The day that the patients' dates are shifted towards.
        read_events: Reads the event store; called in a worker thread.
        hooks: The service folders, whose examples become patients too.

    Raises:
        DeclarationError: The folder has no page, or a patient file is not a FHIR Bundle.
    """
    files = {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.suffix in _MEDIA_TYPES}
    if "index.html" not in files:
        raise DeclarationError.of(
            "no index.html", where=str(folder.name), do="Point to the sandbox folder of a checkout"
        )
    examples = read_examples(hooks, today) if hooks else ()
    memory = Memory((*examples, *read_charts(folder / "patients", today)))
    api = _Api(memory, today, read_events)
    return [
        Route("/", _file("index.html", files["index.html"]), methods=["GET"]),
        *(Route(f"/sandbox/{name}", _file(name, content), methods=["GET"]) for name, content in files.items()),
        *(
            [Route("/icon.png", _file("icon.png", files["icon.png"], shared=True), methods=["GET"])]
            if "icon.png" in files
            else []
        ),
        Route("/favicon.ico", _file("icon.png", files.get("icon.png", b"")), methods=["GET"]),
        Route("/sandbox/api/patients", api.patients, methods=["GET"]),
        Route("/sandbox/api/events", api.events, methods=["GET"]),
        *fhir_routes(memory),
    ]


def _file(name: str, content: bytes, *, shared: bool = False) -> Callable[[Request], Awaitable[Response]]:
    """Answer with one file, read once at the start: no path from a request ever reaches the disk."""
    tag = f'"{hashlib.sha256(content).hexdigest()[:20]}"'
    headers = {**PAGE_HEADERS, "ETag": tag, "Cache-Control": "no-cache"}
    if shared:  # the card's icon: an EHR on another origin shows it too (CH-193)
        headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    media_type = _MEDIA_TYPES[Path(name).suffix]

    async def answer(request: Request) -> Response:
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers, media_type=media_type)

    return answer


class _Api:
    def __init__(self, memory: Memory, today: date, read_events: ReadEvents) -> None:
        self._memory, self._today, self._read_events = memory, today, read_events

    async def patients(self, _: Request) -> Response:
        return _json({"today": self._today.isoformat(), "patients": list_patients(self._memory, self._today)})

    async def events(self, request: Request) -> Response:
        """Events after a sequence number; ``?last=N`` instead: the newest N, however long the log is."""
        after, last = (_whole(request.query_params.get(name)) for name in ("after", "last"))
        if last is not None:
            return _json({"events": await run_in_threadpool(self._newest, min(last, EVENTS_MAX))})
        return _json({"events": list(await run_in_threadpool(self._read_events, after or 0, EVENTS_MAX))})

    def _newest(self, count: int) -> list[Mapping[str, Any]]:
        events: list[Mapping[str, Any]] = []
        after = 0
        while page := self._read_events(after, EVENTS_MAX):
            events = [*events, *page][-count:] if count else []
            after = page[-1]["seq"]
        return events


def _whole(text: str | None) -> int | None:
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 16 else None


def _json(document: Mapping[str, Any]) -> Response:
    return Response(msgspec.json.encode(document), headers={"Cache-Control": "no-store"}, media_type="application/json")
