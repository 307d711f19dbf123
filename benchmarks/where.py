"""Where the time of a chart open goes: each step of the real application timed in this process on the same bodies.

The whole application is called as uvicorn calls it, without a socket; then its steps one by one, each on what the step
before it gave. What the steps leave of the whole is the door, the router, the event loop, and that a step in a loop of
its own finds its code and data in the caches. HTTP and the socket cost what they cost the floor. Served over a socket
everything costs more by some factor, since between two calls the caches are cold; the steps are stretched by it, so
that the shares add up to what was measured.
"""

import asyncio
import gc
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from statistics import median
from time import process_time

import structlog
import uvloop
from bundles import one_call
from peers.floor import app as nothing_but_reading
from servers import SERVICE, ours

from cds_service.answer import answer
from cds_service.cdshooks import eligibility
from cds_service.cdshooks.cards import Chart
from cds_service.cdshooks.cards_wire import write_response
from cds_service.cdshooks.note import Note
from cds_service.cdshooks.prefetch import read_prefetch
from cds_service.cdshooks.wire import read_request
from cds_service.clinical.building import build_features
from cds_service.clinical.reading import read_facts
from cds_service.events.check import hold_to_schema
from cds_service.events.table import row
from cds_service.logs import configure_logging
from cds_service.model.predict import predict
from cds_service.service_app import create_app, open_parts
from cds_service.settings import read_settings
from cds_service.web.memory import keep_freed_memory

__all__ = ["where_the_time_goes"]

_REPEATS = 5
_ROUND_S = 0.15


def where_the_time_goes(templates: dict[int, Path], costs: list[dict], folder: Path) -> dict:
    """Microseconds of CPU by step, for each size.

    Args:
        templates: Size → file of the body with marks.
        costs: The medians of the run; our service at one connection gives the measured total.
        folder: Where a store may be made.
    """
    found = {}
    measured = {(c["server"], c["resources"]): 1000 * (c["cpu_ms"] or 0) for c in costs if c["connections"] == 1}
    for resources, template in templates.items():
        wire = measured.get(("floor", resources))
        if wire and measured.get(("ours", resources)):
            steps = uvloop.run(_steps(template.read_text(encoding="utf-8"), folder / str(resources)))
            inside = steps.pop("the whole application")
            rest = inside - sum(steps.values())
            steps["door, router, log line, metrics, event loop"] = rest
            stretch = (measured["ours", resources] - wire) / inside
            shares = {name: cost * stretch for name, cost in steps.items()}
            found[resources] = {"stretch": stretch, "steps": {"HTTP, server and socket (the floor)": wire, **shares}}
    return found


async def _steps(template: str, folder: Path) -> dict[str, float]:
    folder.mkdir(parents=True)
    command = ours(0, folder).command
    settings = read_settings(
        environment={},
        auth="off-for-development",
        state=folder / "var",
        assets=Path(command[-1]),
        hooks=Path(command[-3]),
    )
    with (folder / "log").open("wb") as log:
        configure_logging(log)
        parts = open_parts(settings)
        try:
            gc.collect()
            gc.freeze()
            gc.set_threshold(50_000, 50, 50)
            keep_freed_memory()
            return await _timed(template, parts)
        finally:
            parts.store.close()
            structlog.reset_defaults()


async def _timed(template: str, parts) -> dict[str, float]:
    desk = parts.desks[SERVICE, "patient-view"]
    service, model, client, store = desk.service, desk.model, parts.client, parts.store
    numbers = count(1)
    body = one_call(template, next(numbers))
    now = datetime.now(UTC)
    request = read_request(body, hooks=("patient-view",))
    patient = request.context.patient_id
    pseudonym = parts.pseudonymise(patient, parts.client.tenant)
    prefetch = read_prefetch(service, request.prefetch, patient=patient)
    reading = partial(
        read_facts, prefetch.contents, patient=patient, index=desk.index, fhir_server=request.fhir_server,
        zone=client.zone, unanswered=prefetch.unanswered(desk.brought), expected=desk.expected,
    )  # fmt: skip
    facts = reading()
    features = build_features(model.features, facts, now)
    months = eligibility.absence_window_months(service, facts, model.features, now)
    chart = Chart(patient, request.context.user_id, request.context.encounter_id, facts, features, months, now, None)
    prediction = predict(model, features)
    language = service.languages[0]
    note = Note(request, service.id, model, client, language, pseudonym, now, prefetch, facts, features, lambda: 1.0)
    card = desk.writer.prediction(prediction, chart, client, language)
    event = note.made(prediction, card)
    app = create_app(parts)

    def may_appear() -> None:
        eligibility.absence_window_months(service, facts, model.features, now)
        eligibility.why_excluded(service, facts, model.features, now, months=months)
        shown = store.history(client.tenant, service.id, pseudonym, now - timedelta(days=366))
        eligibility.is_repeated(service.repeat, shown, now)
        eligibility.fired_rule(service, features, model.features)
        eligibility.why_unknown(service, prefetch, facts, features, model.features, now, months=months)
        store.opens_and_cards(client.tenant, service.id, 1000)

    def write_event() -> None:
        made = note.made(prediction, card)
        hold_to_schema(made)
        row(made)

    async def whole_answer() -> None:
        await answer(
            request,
            desk,
            client=client,
            language=language,
            history=store,
            pseudonym=pseudonym,
            now=now,
            took_ms=lambda: 1.0,
        )

    async def commit() -> None:
        await store.append([note.made(prediction, card)])

    steps = {
        "body's JSON, with the chart": await _cost(lambda: read_request(body, hooks=("patient-view",))),
        "prefetch keys": await _cost(lambda: read_prefetch(service, request.prefetch, patient=patient)),
        "facts": await _cost(reading),
        "features": await _cost(lambda: build_features(model.features, facts, now)),
        "may a card appear, with look-ups": await _cost(may_appear),
        "prediction": await _cost(lambda: predict(model, features)),
        "card": await _cost(lambda: desk.writer.prediction(prediction, chart, client, language)),
        "answer's JSON": await _cost(lambda: write_response([card])),
        "pseudonym": await _cost(lambda: parts.pseudonymise(patient, parts.client.tenant)),
        "event, checked and encoded": await _cost(write_event),
    }
    steps["durable commit (thread, SQLite, fsync)"] = await _cost(commit) - steps["event, checked and encoded"]
    calling = await _cost(partial(_call, nothing_but_reading, template, numbers))
    steps["the whole application"] = await _cost(partial(_call, app, template, numbers)) - calling
    assert event.card == card.uuid
    assert (await answer(
        request, desk, client=client, language=language, history=store, pseudonym=pseudonym, now=now, took_ms=lambda: 1.0
    )).cards  # fmt: skip
    return steps


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


async def _cost(step: Callable) -> float:
    """Microseconds of CPU of one call, every thread of the process counted: the median of a few rounds."""
    is_async = asyncio.iscoroutine(probe := step())
    if is_async:
        await probe

    async def go(times: int) -> float:
        began = process_time()
        if is_async:
            for _ in range(times):
                await step()
        else:
            for _ in range(times):
                step()
        return process_time() - began

    times = 1
    while (took := await go(times)) < _ROUND_S / 4:
        times *= 2
    times = max(1, int(times * _ROUND_S / took))
    return median([1e6 * await go(times) / times for _ in range(_REPEATS)])
