"""Checks of ``POST {base}/cds-services/{id}/feedback``: section O."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from cds_service.contract.probe import Probe
from cds_service.contract.report import Level
from cds_service.contract.results import Results
from cds_service.contract.synthetic import MARKER, Subject

__all__ = ["check_feedback"]

_REASON = {"system": "http://terminology.hl7.org/CodeSystem/non-adherence-reason-codes", "code": "cds-not-applicable"}
_NOT_OFFERED = {404, 405, 501}
_Form = tuple[str, Level, str, object]
"""Ids, level, title and what is sent."""


def check_feedback(probe: Probe, subject: Subject, cards: list[dict[str, Any]], results: Results) -> None:
    """Check the feedback endpoint of one service, where it has one.

    Args:
        probe: Sends.
        subject: The service.
        cards: Cards that it showed in this run; their uuids are reported back.
        results: Takes the findings.
    """
    path = f"{subject.path}/feedback"
    card, suggestion = _known(cards)
    first = probe.post(path, {"feedback": [_overridden(card)]})
    title = "the service has a feedback endpoint"
    if first.status in _NOT_OFFERED:
        if any("uuid" in shown for shown in cards):
            results.claim("CH-250", "MAY", title, False, f"{first.said}, though its cards carry uuids")
        else:
            results.skip("CH-250", "MAY", title, f"{first.said}, and no card with a uuid was seen")
        return
    results.claim("CH-250 CH-251", "SHALL", title, first.is_success, first.said)
    if first.body and first.is_success:
        readable = first.json is not None and first.is_json_type
        results.claim("CH-001", "SHALL", "what feedback answers is JSON", readable, "another type, or not parseable")
    _check_good(probe, path, card, suggestion, results)
    _check_bad(probe, path, card, results)
    nobody = probe.post("/contract-no-such-service/feedback", {"feedback": [_overridden(card)]})
    results.claim("CH-061", "SHALL", "feedback for an unknown service is 404", nobody.status == 404, nobody.said)


def _check_good(probe: Probe, path: str, card: str, suggestion: str, results: Results) -> None:
    now = _now()
    accepted = {
        "card": card,
        "outcome": "accepted",
        "acceptedSuggestions": [{"id": suggestion}],
        "outcomeTimestamp": now,
    }
    overridden = _overridden(card, now)
    forms: tuple[_Form, ...] = (
        ("CH-254", "SHALL", "accepted, with its suggestion", [accepted]),
        ("CH-255", "SHALL", "overridden with a reason that has no display", [_reasoned(card, {"reason": _REASON})]),
        ("CH-255", "SHALL", "overridden with a comment only", [_reasoned(card, {"userComment": MARKER})]),
        ("CH-255", "SHOULD", "overridden with an empty overrideReason", [_reasoned(card, {})]),
        (
            "CH-222",
            "SHALL",
            "a reason of the client's own",
            [_reasoned(card, {"reason": {"system": "urn:x", "code": "y"}})],
        ),
        ("CH-256", "SHALL", "a timestamp with a fraction", [_overridden(card, "2026-01-20T01:05:31.250Z")]),
        ("CH-257", "SHALL", "several cards in one batch", [_overridden(str(uuid4())), accepted]),
        ("CH-258", "SHALL", "one card accepted, then overridden", [accepted, overridden]),
        ("CH-259", "SHALL", "the same item again", [overridden]),
        ("CH-259", "SHALL", "the same item twice in a batch", [overridden, overridden]),
        ("CH-263", "SHOULD", "a card that is not known here", [_overridden(str(uuid4()))]),
    )
    for ids, level, title, items in forms:
        answer = probe.post(path, {"feedback": items})
        results.claim(ids, level, f"feedback: {title}", answer.is_success, f"{answer.said} instead of 200")


def _check_bad(probe: Probe, path: str, card: str, results: Results) -> None:
    good = _overridden(card)
    forms: tuple[_Form, ...] = (
        ("CH-251", "SHALL", "without the array feedback", {}),
        ("CH-251", "SHALL", "feedback is no array", {"feedback": "x"}),
        ("CH-251", "SHALL", "an empty array", {"feedback": []}),
        ("CH-251", "SHALL", "a bare array", [good]),
        ("CH-252", "SHALL", "without card", {"feedback": [_without(good, "card")]}),
        ("CH-253", "SHALL", "without outcome", {"feedback": [_without(good, "outcome")]}),
        ("CH-253", "SHALL", "another outcome", {"feedback": [{**good, "outcome": "ignored"}]}),
        ("CH-254", "SHALL", "accepted without suggestions", {"feedback": [{**good, "outcome": "accepted"}]}),
        (
            "CH-254", "SHALL", "accepted with an empty array of suggestions",
            {"feedback": [{**good, "outcome": "accepted", "acceptedSuggestions": []}]},
        ),
        ("CH-256", "SHALL", "without outcomeTimestamp", {"feedback": [_without(good, "outcomeTimestamp")]}),
        ("CH-256", "SHALL", "a timestamp that is a number", {"feedback": [{**good, "outcomeTimestamp": 1780272300000}]}),
        ("CH-256", "SHOULD", "a timestamp without zone", {"feedback": [{**good, "outcomeTimestamp": "2026-01-20T01:05:31"}]}),
    )  # fmt: skip
    for ids, level, title, body in forms:
        answer = probe.post(path, body)
        results.claim(ids, level, f"feedback refused: {title}", answer.is_client_error, f"{answer.said} instead of 400")
    broken = probe.post_bytes(path, b'{"feedback": [' + MARKER.encode(), {"Content-Type": "application/json"})
    results.claim(
        "CH-074", "SHALL", "feedback refused: not JSON", broken.is_client_error, f"{broken.said} instead of 400"
    )
    comment = {**good, "outcome": MARKER, "overrideReason": {"userComment": MARKER}}
    answer = probe.post(path, {"feedback": [comment]})
    echoed = [item.said for item in (broken, answer) if MARKER.encode() in item.body]
    results.claim_all("CH-261", "SHALL", "feedback's errors do not echo what was sent", echoed, 2)


def _known(cards: list[dict[str, Any]]) -> tuple[str, str]:
    """The uuids of a card and a suggestion that this service showed, else made-up ones."""
    for card in cards:
        for suggestion in card.get("suggestions") or ():
            if (
                isinstance(card.get("uuid"), str)
                and isinstance(suggestion, dict)
                and isinstance(suggestion.get("uuid"), str)
            ):
                return card["uuid"], suggestion["uuid"]
    shown = [card["uuid"] for card in cards if isinstance(card.get("uuid"), str)]
    return (shown or [str(uuid4())])[0], str(uuid4())


def _overridden(card: str, at: str | None = None) -> dict[str, Any]:
    return {"card": card, "outcome": "overridden", "outcomeTimestamp": at or _now()}


def _reasoned(card: str, reason: dict[str, Any]) -> dict[str, Any]:
    return {**_overridden(card), "overrideReason": reason}


def _without(item: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name != key}


def _now() -> str:
    return datetime.now(UTC).replace(microsecond=0).isoformat().replace("+00:00", "Z")
