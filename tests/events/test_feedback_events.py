"""An item of feedback becomes an event: what it fits, and what is kept of words from outside. F42, F44."""

import json
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest

from cds_service.api.hooks import _feedback_event
from cds_service.cdshooks.feedback import read_feedback
from cds_service.events.check import hold_to_schema
from cds_service.events.schema import encode
from cds_service.events.store import CardKnown

NOW = datetime(2026, 6, 1, 0, 10, tzinfo=UTC)
CARD, SUGGESTION = "0f6d1a7c-1111-4a51-9d2e-000000000001", "0f6d1a7c-2222-4a51-9d2e-000000000001"
SYSTEM = "https://cds.example.org/override-reasons"
DISMISSED = {"card": CARD, "outcome": "overridden", "outcomeTimestamp": "2026-06-01T00:05:00Z"}
TAKEN = DISMISSED | {"outcome": "accepted", "acceptedSuggestions": [{"id": SUGGESTION}]}
OFFERED = SimpleNamespace(code="measured_elsewhere", system=SYSTEM)
SERVICE = SimpleNamespace(id="case-labs", card=SimpleNamespace(override_reasons=(OFFERED,)))


def event_of(item: dict[str, object], *, tenant: str = "hospital-a"):
    """The event that the feedback address would store; only hospital-a was shown the card."""
    shown = {("hospital-a", "case-labs", CARD): CardKnown(NOW, frozenset({SUGGESTION}))}
    client = SimpleNamespace(tenant=tenant, name="ehr-a")
    door = SimpleNamespace(store=SimpleNamespace(find_card=lambda *key: shown.get(key)))
    batch = read_feedback(json.dumps({"feedback": [item]}).encode(), NOW)
    event = _feedback_event(door, client, SERVICE, batch.items[0], batch.quirks, NOW)
    hold_to_schema(event)
    return event


@pytest.mark.fault("F42")
@pytest.mark.ch("CH-263")
@pytest.mark.parametrize(
    ("item", "tenant", "matched", "flags"),
    [
        pytest.param(TAKEN, "hospital-a", True, (), id="a card that was shown here"),
        pytest.param(TAKEN, "hospital-b", False, (), id="another hospital's card is like an unknown one"),
        pytest.param(TAKEN | {"card": CARD.replace("1111", "9999")}, "hospital-a", False, (), id="an unknown card"),
        pytest.param(TAKEN | {"acceptedSuggestions": [{"id": CARD}]}, "hospital-a", False, ("foreign_suggestion",),
                     id="a suggestion that is not of this card"),
        pytest.param(DISMISSED, "hospital-a", True, (), id="dismissed"),
    ],
)  # fmt: skip
def test_what_it_fits(item, tenant, matched, flags):
    event = event_of(item, tenant=tenant)
    assert (event.matched, event.flags, event.at, event.tenant) == (matched, flags, NOW, tenant)


@pytest.mark.ch("CH-222", "CH-255", "CH-261")
@pytest.mark.fault("F44")
@pytest.mark.sec("SEC-080", "SEC-087")
@pytest.mark.parametrize(
    ("given", "code", "system"),
    [
        pytest.param(
            {"reason": {"code": "measured_elsewhere", "system": SYSTEM}},
            "measured_elsewhere",
            SYSTEM,
            id="ours is kept",
        ),
        pytest.param(
            {"reason": {"code": "Yamada-Hanako", "system": SYSTEM}},
            "other-",
            None,
            id="a foreign code only as its hash",
        ),
        pytest.param(
            {"reason": {"code": "measured_elsewhere", "system": "urn:Yamada"}},
            "other-",
            None,
            id="so is a foreign system",
        ),
        pytest.param({"userComment": "Yamada Hanako, 1 Chome"}, None, None, id="a comment is not kept"),
        pytest.param({}, None, None, id="none given is none, not an empty text"),
    ],
)
def test_what_is_kept_of_a_reason(given, code, system):
    event = event_of(DISMISSED | ({"overrideReason": given} if given else {}))
    assert (event.reason is None) is (code is None)
    assert event.reason is None or (event.reason.code.startswith(code) and event.reason.system == system)
    assert event.had_comment is ("userComment" in given)
    assert b"Yamada" not in encode(event)
