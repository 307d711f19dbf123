"""Walks what a service sent: nulls, emptiness, and the invariants of cards (sections A, H to N and R)."""

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from cds_service.cdshooks.wire_fields import REFERENCE
from cds_service.contract.probe import Answer
from cds_service.contract.results import Results
from cds_service.contract.synthetic import PATIENT

__all__ = ["check_answers", "emptiness"]

_HTML = re.compile(r"<[A-Za-z!/?]")
_UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_ANSWER_KEYS = {"cards", "systemActions", "extension"}
_CARD_KEYS = {
    "uuid", "summary", "detail", "indicator", "source", "suggestions", "selectionBehavior", "overrideReasons", "links",
    "extension",
}  # fmt: skip


def emptiness(value: object, *, allowed_empty: Collection[str] = (), path: str = "") -> tuple[list[str], list[str]]:
    """Find every null and everything empty.

    Returns:
        Paths of nulls and paths of ``""``, ``[]`` and ``{}``. Embedded FHIR is left to FHIR's own rules.
    """
    nulls: list[str] = []
    empties: list[str] = []
    if value is None:
        nulls.append(path or "the top")
    elif value in ("", [], {}) and path not in allowed_empty:
        empties.append(path or "the top")
    elif isinstance(value, dict) and "resourceType" not in value:
        for key, inner in value.items():
            found = emptiness(inner, allowed_empty=allowed_empty, path=f"{path}.{key}" if path else str(key))
            nulls += found[0]
            empties += found[1]
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            found = emptiness(inner, allowed_empty=allowed_empty, path=f"{path}[{index}]")
            nulls += found[0]
            empties += found[1]
    return nulls, empties


def check_answers(answers: list[Answer], results: Results) -> list[dict[str, Any]]:
    """Check all 200 answers of one service together; give the cards."""
    good = [answer for answer in answers if answer.is_success]
    wrong = [f"{answer.said} instead of 200" for answer in good if answer.status != 200]
    results.claim_all("CH-160 CH-161", "SHALL", "success is 200, also when there is nothing to say", wrong, len(good))
    wrong = [
        f"Content-Type {answer.headers.get('content-type', 'missing')[:60]}"
        for answer in good
        if answer.status == 200 and not answer.is_json_type
    ]
    results.claim_all("CH-001", "SHALL", "answers are sent as JSON", wrong, len(good))
    bodies = [answer.json for answer in good]
    wrong = [
        "no object with an array cards" for body in bodies if not (isinstance(body, dict) and _is_list(body, "cards"))
    ]
    results.claim_all("CH-160", "SHALL", "an answer is an object with an array cards", wrong, len(bodies))
    objects = [body for body in bodies if isinstance(body, dict)]
    found = [emptiness(body, allowed_empty={"cards"}) for body in objects]
    nulls = [f"null at {path}" for nulls, _ in found for path in nulls]
    empties = [f"empty at {path}" for _, empties in found for path in empties]
    results.claim_all("CH-002", "SHALL", "no null in an answer", nulls, len(objects))
    results.claim_all("CH-003 CH-004", "SHALL", "nothing empty in an answer but cards", empties, len(objects))
    unknown = ["a key of its own beside cards" for body in objects if set(body) - _ANSWER_KEYS]
    cards = [card for body in objects for card in _objects(body.get("cards"))]
    unknown += ["a key of its own in a card" for card in cards if set(card) - _CARD_KEYS]
    results.claim_all("CH-292", "SHALL", "custom fields stand under extension only", unknown, len(objects))
    extensions = [holder["extension"] for holder in [*objects, *cards] if "extension" in holder]
    wrong = ["not an object" for extension in extensions if not isinstance(extension, dict)]
    results.claim_all("CH-290", "SHALL", "extension is an object", wrong, len(extensions))
    _check_cards(cards, results)
    _check_uuids(objects, results)
    system_actions = [action for body in objects for action in _objects(body.get("systemActions"))]
    _check_actions([("system action", action) for action in system_actions], results, ids="CH-240 CH-242")
    return cards


def _check_cards(cards: list[dict[str, Any]], results: Results) -> None:
    places = [("card", card) for card in cards]
    results.each("CH-170", "SHALL", "summary is a text of fewer than 140 characters", places, _summary)
    wrong = {"info", "warning", "critical"}
    results.each("CH-171", "SHALL", "indicator is info, warning or critical", places,
        lambda card: None if card.get("indicator") in wrong else "another value",
    )  # fmt: skip
    sources = [("source", card["source"]) for card in cards if isinstance(card.get("source"), dict)]
    results.each("CH-172 CH-190", "SHALL", "source has a label", places,
        lambda card: None if isinstance(card.get("source"), dict) and _text(card["source"], "label") else "without",
    )  # fmt: skip
    results.each("CH-191", "SHALL", "source.url is absolute", _having(sources, "url"), _absolute("url"))
    results.each("CH-193", "SHALL", "source.icon is absolute", _having(sources, "icon"), _absolute("icon"))
    topics = [("source.topic", source["topic"]) for _, source in sources if isinstance(source.get("topic"), dict)]
    results.each("CH-194 CH-195", "SHALL", "source.topic has code and system", topics, _coding)
    details = _having(places, "detail")
    results.each(
        "CH-173",
        "SHALL",
        "detail is a text",
        details,
        lambda card: None if _text(card, "detail") else "no text",
    )
    results.each("CH-174", "SHOULD", "detail holds no HTML", details,
        lambda card: "HTML" if isinstance(card["detail"], str) and _HTML.search(card["detail"]) else None,
    )  # fmt: skip
    _check_suggestions(cards, results)
    reasons = [("override reason", reason) for card in cards for reason in _objects(card.get("overrideReasons"))]
    results.each("CH-179 CH-221", "SHALL", "override reasons have code, system and display", reasons,
        lambda reason: _coding(reason) or (None if _text(reason, "display") else "no display"),
    )  # fmt: skip
    links = [("link", link) for card in cards for link in _objects(card.get("links"))]
    results.each(
        "CH-230",
        "SHALL",
        "links have a label",
        links,
        lambda link: None if _text(link, "label") else "without",
    )
    results.each("CH-231", "SHALL", "links are absolute URLs", links, _absolute("url"))
    types = {"absolute", "smart"}
    results.each("CH-232", "SHALL", "links are absolute or smart", links,
        lambda link: None if link.get("type") in types else "another type",
    )  # fmt: skip
    results.each("CH-234", "SHALL", "appContext stands on smart links only", links,
        lambda link: "on another link" if "appContext" in link and link.get("type") != "smart" else None,
    )  # fmt: skip


def _check_suggestions(cards: list[dict[str, Any]], results: Results) -> None:
    offering = [("card", card) for card in cards if "suggestions" in card]
    results.each("CH-177", "SHALL", "selectionBehavior is present whenever suggestions is", offering,
        lambda card: None if "selectionBehavior" in card else "without",
    )  # fmt: skip
    choosing = _having([("card", card) for card in cards], "selectionBehavior")
    values = {"any", "at-most-one"}
    results.each("CH-178", "SHALL", "selectionBehavior is any or at-most-one", choosing,
        lambda card: None if card["selectionBehavior"] in values else "another value",
    )  # fmt: skip
    results.each("CH-203", "SHALL", "several are recommended only under any", offering,
        lambda card: "several"
        if card.get("selectionBehavior") != "any"
        and sum(suggestion.get("isRecommended") is True for suggestion in _objects(card["suggestions"])) > 1
        else None,
    )  # fmt: skip
    suggestions = [("suggestion", suggestion) for card in cards for suggestion in _objects(card.get("suggestions"))]
    results.each("CH-200", "SHALL", "suggestions have a label", suggestions,
        lambda suggestion: None if _text(suggestion, "label") else "without",
    )  # fmt: skip
    actions = [("action", action) for _, suggestion in suggestions for action in _objects(suggestion.get("actions"))]
    _check_actions(actions, results, ids="")


def _check_actions(actions: list[tuple[str, dict[str, Any]]], results: Results, *, ids: str) -> None:
    if ids and not actions:
        return
    types = {"create", "update", "delete"}
    results.each(f"{ids} CH-207".strip(), "SHALL", "actions create, update or delete", actions,
        lambda action: None if action.get("type") in types else "another type",
    )  # fmt: skip
    results.each(f"{ids} CH-208".strip(), "SHALL", "actions have a description", actions,
        lambda action: None if _text(action, "description") else "without",
    )  # fmt: skip
    writing = [(place, action) for place, action in actions if action.get("type") in {"create", "update"}]
    results.each("CH-209 CH-210", "SHALL", "create and update hold a FHIR resource", writing, _resource)
    results.each("CH-212", "SHALL", "the resource is about the patient of the call", writing, _about_patient)
    deleting = [(place, action) for place, action in actions if action.get("type") == "delete"]
    results.each("CH-211", "SHOULD", "delete names Type/id in resourceId", deleting,
        lambda action: None if REFERENCE.fullmatch(str(action.get("resourceId", ""))) else "without",
    )  # fmt: skip


def _check_uuids(answers: list[dict[str, Any]], results: Results) -> None:
    seen = list(_uuids(answers))
    twice = ["one stands twice" for value in set(seen) if seen.count(value) > 1]
    results.claim_all(
        "CH-175 CH-201", "SHALL", "each card and suggestion has its own uuid in each answer", twice, len(seen)
    )
    odd = ["one is no UUID" for value in seen if _UUID.fullmatch(value) is None]
    results.claim_all("CH-175", "SHOULD", "uuids are UUIDs", odd, len(seen))


def _uuids(answers: list[dict[str, Any]]) -> Iterator[str]:
    for body in answers:
        for card in _objects(body.get("cards")):
            for holder in [card, *_objects(card.get("suggestions"))]:
                if isinstance(holder.get("uuid"), str):
                    yield holder["uuid"]


def _summary(card: Mapping[str, Any]) -> str | None:
    summary = card.get("summary")
    if not isinstance(summary, str) or not summary.strip():
        return "no text"
    return None if len(summary) < 140 else f"{len(summary)} characters"


def _coding(coding: Mapping[str, Any]) -> str | None:
    return None if _text(coding, "code") and _text(coding, "system") else "code or system is missing"


def _resource(action: Mapping[str, Any]) -> str | None:
    resource = action.get("resource")
    return None if isinstance(resource, dict) and _text(resource, "resourceType") else "no resource"


def _about_patient(action: Mapping[str, Any]) -> str | None:
    resource = action.get("resource")
    subject = resource.get("subject", resource.get("patient")) if isinstance(resource, dict) else None
    reference = subject.get("reference") if isinstance(subject, dict) else None
    if not isinstance(reference, str):
        return None
    return None if reference.split("/")[-1] == PATIENT or not reference.startswith("Patient/") else "another patient"


def _absolute(key: str) -> Callable[[Mapping[str, Any]], str | None]:
    def wrong(holder: Mapping[str, Any]) -> str | None:
        value = holder.get(key)
        if not isinstance(value, str):
            return "no URL"
        try:
            parts = urlsplit(value)
        except ValueError:
            return "no URL"
        return None if parts.scheme and parts.netloc else "not absolute"

    return wrong


def _having(places: list[tuple[str, dict[str, Any]]], key: str) -> list[tuple[str, dict[str, Any]]]:
    return [(place, holder) for place, holder in places if key in holder]


def _objects(value: object) -> list[dict[str, Any]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _is_list(body: Mapping[str, Any], key: str) -> bool:
    return isinstance(body.get(key), list)


def _text(holder: Mapping[str, Any], key: str) -> bool:
    value = holder.get(key)
    return isinstance(value, str) and bool(value.strip())
