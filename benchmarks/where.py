"""Where the time of a chart open goes: each step of the real application, timed inside real calls in this process.

The whole application is called as uvicorn calls it, without a socket, and the functions that are its steps note the CPU
time of their thread. A step in a loop of its own would find its code and data in the caches and tell half of the truth.
What the writer thread uses is what the process used beyond this thread; what the wire shows beyond all of it is HTTP,
the server and the socket.
"""

import gc
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from itertools import count
from pathlib import Path
from statistics import median
from time import process_time_ns, thread_time_ns

import structlog
import uvloop
from bundles import one_call
from peers.floor import app as nothing_but_reading
from servers import SERVICE, ours

from cds_service import answer
from cds_service.api import hooks
from cds_service.cdshooks import cards, eligibility, note
from cds_service.events import store
from cds_service.logs import configure_logging
from cds_service.service_app import create_app, open_parts
from cds_service.settings import read_settings
from cds_service.web import asgi
from cds_service.web.memory import keep_freed_memory

__all__ = ["where_the_time_goes"]

_ROUNDS = 5
_CALLS = {50: 400, 1000: 60}
_STEPS = {
    "body's JSON, with the chart": ((hooks, "read_request"),),
    "prefetch keys": ((answer, "read_prefetch"), (answer, "unordered_features")),
    "facts": ((answer, "read_facts"),),
    "features": ((answer, "build_features"),),
    "may a card appear": tuple(
        (eligibility, name)
        for name in ("absence_window_months", "why_excluded", "why_unknown", "is_repeated", "fired_rule")
    ),
    "look-ups in the store": ((store.EventStore, "history"), (store.EventStore, "opens_and_cards")),
    "prediction": ((answer, "predict"),),
    "card": ((cards.CardWriter, "prediction"),),
    "answer's JSON": ((hooks, "write_response"),),
    "event, checked and encoded": ((note.Note, "made"), (store, "_rows")),
    "log line and metrics": ((asgi.Door, "_note"),),
}
_WRITER = "durable commit, on its thread"
_REST = "door, router, event loop, hand-over, freeing the chart"


def where_the_time_goes(templates: dict[int, Path], costs: list[dict], folder: Path) -> dict:
    """Microseconds of CPU by step, for each size.

    Args:
        templates: Size → file of the body with marks.
        costs: The medians of the run; our service at one connection gives the measured total.
        folder: Where a store may be made.
    """
    found = {}
    for cost in costs:
        resources = cost["resources"]
        if (cost["server"], cost["connections"]) != ("ours", 1) or cost["cpu_ms"] is None:
            continue
        template = templates[resources].read_text(encoding="utf-8")
        steps = uvloop.run(_steps(template, folder / str(resources), _CALLS[resources]))
        found[resources] = {**steps, "HTTP, server and socket": 1000 * cost["cpu_ms"] - sum(steps.values())}
    return found


async def _steps(template: str, folder: Path, calls: int) -> dict[str, float]:
    folder.mkdir(parents=True)
    command = ours(0, folder).command
    settings = read_settings(
        environment={},
        auth="off-for-development",
        state=folder / "var",
        assets=Path(command[-1]),
        hooks=Path(command[-3]),
    )
    spent: dict[str, int] = defaultdict(int)
    with (folder / "log").open("wb") as log, _timed_steps(spent):
        configure_logging(log)
        parts = open_parts(settings)
        try:
            app = create_app(parts)
            gc.collect()
            gc.freeze()
            gc.set_threshold(50_000, 50, 50)
            keep_freed_memory()
            numbers = count(1)
            await _round(app, template, numbers, calls, spent)
            rounds = [await _round(app, template, numbers, calls, spent) for _ in range(_ROUNDS)]
        finally:
            parts.store.close()
            structlog.reset_defaults()
    return {name: median(one[name] for one in rounds) for name in rounds[0]}


async def _round(app, template: str, numbers: Iterator[int], calls: int, spent: dict[str, int]) -> dict[str, float]:
    """Microseconds a call, by step; what reading the body alone costs is taken off."""
    spent.clear()
    whole, own = await _cost(app, template, numbers, calls)
    steps = {name: spent[name] / calls / 1000 for name in _STEPS}
    _, reading = await _cost(nothing_but_reading, template, numbers, calls)
    return {**steps, _WRITER: whole - own, _REST: own - reading - sum(steps.values())}


async def _cost(app, template: str, numbers: Iterator[int], calls: int) -> tuple[float, float]:
    """Microseconds of CPU of one call, (of all threads, of this thread)."""
    process, thread = process_time_ns(), thread_time_ns()
    for _ in range(calls):
        await _call(app, template, numbers)
    return (process_time_ns() - process) / calls / 1000, (thread_time_ns() - thread) / calls / 1000


@contextmanager
def _timed_steps(spent: dict[str, int]) -> Iterator[None]:
    """Let the functions that are steps note what they use; as they were when the block ends."""
    places = [(name, holder, attribute) for name, ones in _STEPS.items() for holder, attribute in ones]
    before = [getattr(holder, attribute) for _, holder, attribute in places]
    for (name, holder, attribute), function in zip(places, before, strict=True):
        setattr(holder, attribute, _noting(function, name, spent))
    try:
        yield
    finally:
        for (_, holder, attribute), function in zip(places, before, strict=True):
            setattr(holder, attribute, function)


def _noting(function: Callable, name: str, spent: dict[str, int]) -> Callable:
    @wraps(function)
    def noting(*given, **named):
        began = thread_time_ns()
        try:
            return function(*given, **named)
        finally:
            spent[name] += thread_time_ns() - began

    return noting


async def _call(app, template: str, numbers) -> None:
    """One call as uvicorn makes it; the body comes in pieces of 64 KiB at most, as from a socket."""
    body = one_call(template, next(numbers))
    pieces = [body[at : at + 65_536] for at in range(0, len(body), 65_536)]
    messages = iter([{"type": "http.request", "body": piece, "more_body": piece is not pieces[-1]} for piece in pieces])
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.3"}, "http_version": "1.1", "method": "POST",
        "scheme": "http", "path": f"/cds-services/{SERVICE}", "raw_path": b"", "query_string": b"", "root_path": "",
        "headers": [(b"host", b"127.0.0.1:18600"), (b"content-type", b"application/json"),
                    (b"content-length", str(len(body)).encode())],
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 2), "state": {},
    }  # fmt: skip
    statuses = []

    async def receive():
        return next(messages)

    async def send(message):
        if message["type"] == "http.response.start":
            statuses.append(message["status"])
        elif b'"summary"' not in message.get("body", b""):
            raise RuntimeError("the application answered without a card")

    await app(scope, receive, send)
    if statuses != [200]:
        raise RuntimeError(f"the application answered {statuses}")
