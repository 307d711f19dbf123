"""Feedback on the running application: section O, choices W-08 to W-12, and what is on disk afterwards."""

import json
from datetime import timedelta
from uuid import uuid4

import pytest

from tests.conformance.conftest import NOW, SERVICE, STRICT, call, card_of, outcome_of

AT = "2026-06-01T00:00:00Z"
OURS = {"system": "https://cds.example.org/override-reasons", "code": "not_this_visit"}


def overridden(card: str, at: str = AT, **more: object) -> dict:
    return {"card": card, "outcome": "overridden", "outcomeTimestamp": at, **more}


def accepted(card: dict, at: str = AT) -> dict:
    ids = [{"id": suggestion["uuid"]} for suggestion in card["suggestions"]]
    return {"card": card["uuid"], "outcome": "accepted", "acceptedSuggestions": ids, "outcomeTimestamp": at}


def told(app):
    return app.events("CardAccepted", "CardOverridden")


@pytest.fixture
def card(fresh):
    return card_of(fresh.call(call()))


@pytest.mark.ch("CH-250", "CH-251", "CH-252", "CH-254", "W-11")
def test_accepted_is_stored_and_answered_with_an_empty_object(fresh, card):
    answer = fresh.feedback(accepted(card))
    assert (answer.status_code, answer.json()) == (200, {})
    (event,) = told(fresh)
    assert (event.card, event.suggestions, event.matched) == (card["uuid"], (card["suggestions"][0]["uuid"],), True)


@pytest.mark.parametrize(
    ("reason", "code", "had_comment"),
    [
        pytest.param(..., None, False, id="no reason"),
        pytest.param({}, None, False, id="an empty reason"),
        pytest.param({"reason": OURS}, "not_this_visit", False, id="one of ours without display"),
        pytest.param({"reason": OURS, "userComment": "zq comment"}, "not_this_visit", True, id="with a comment"),
        pytest.param({"userComment": "zq comment"}, None, True, id="a comment alone"),
    ],
)  # fmt: skip
@pytest.mark.ch("CH-253", "CH-255", "CH-261")
def test_overridden_with_what_was_said(fresh, card, reason, code, had_comment):
    item = overridden(card["uuid"]) if reason is ... else overridden(card["uuid"], overrideReason=reason)
    assert fresh.feedback(item).status_code == 200
    (event,) = told(fresh)
    assert (event.reason and event.reason.code, event.had_comment) == (code, had_comment)
    assert "zq" not in repr(event)


@pytest.mark.ch("CH-222")
def test_a_reason_of_the_clients_own_is_accepted_and_told_from_others(fresh, card):
    for code in ("Z-1", "Z-2", "Z-1"):
        at = f"2026-05-31T00:00:0{len(told(fresh))}Z"
        item = overridden(card["uuid"], at, overrideReason={"reason": {"system": "urn:site", "code": code}})
        assert fresh.feedback(item).status_code == 200
    codes = [event.reason.code for event in told(fresh)]
    assert all(code.startswith("other") for code in codes)
    assert codes[0] == codes[2] != codes[1]


@pytest.mark.ch("CH-257")
def test_a_batch_of_several_cards_and_invocations(fresh, card):
    other = card_of(fresh.call(call(patient="pat-8")))
    answer = fresh.feedback(accepted(card), overridden(other["uuid"]), overridden(str(uuid4())))
    assert answer.status_code == 200
    assert [event.matched for event in told(fresh)] == [True, True, False]


@pytest.mark.ch("CH-258")
def test_accepted_then_overridden_are_two_events_of_one_card(fresh, card):
    fresh.feedback(accepted(card))
    fresh.feedback(overridden(card["uuid"], "2026-06-01T00:01:00Z"))
    assert {event.card for event in told(fresh)} == {card["uuid"]}
    assert len(told(fresh)) == 2
    (shown,) = fresh.parts.store.history(
        "development", SERVICE, fresh.events("RuleFired")[0].patient, NOW - timedelta(1)
    )
    assert shown.outcome == "overridden"


@pytest.mark.ch("CH-258")
def test_the_order_of_arrival_does_not_decide(fresh, card):
    fresh.feedback(overridden(card["uuid"], "2026-06-01T00:01:00Z"))
    fresh.feedback(accepted(card))
    (shown,) = fresh.parts.store.history(
        "development", SERVICE, fresh.events("RuleFired")[0].patient, NOW - timedelta(1)
    )
    assert shown.outcome == "overridden"


@pytest.mark.ch("CH-259")
def test_an_exact_repeat_inserts_nothing(fresh, card):
    for _ in range(3):
        assert fresh.feedback(accepted(card)).status_code == 200
    assert fresh.feedback(accepted(card), accepted(card)).status_code == 200
    assert len(told(fresh)) == 1


@pytest.mark.ch("CH-263", "W-12")
def test_an_unknown_card_is_kept_as_unmatched(fresh):
    assert fresh.feedback(overridden(str(uuid4()))).status_code == 200
    assert [event.matched for event in told(fresh)] == [False]


@pytest.mark.ch("CH-263")
def test_a_card_of_another_service_is_unmatched_too(fresh, card):
    assert fresh.feedback(overridden(card["uuid"]), service=STRICT).status_code == 200
    assert [event.matched for event in told(fresh)] == [False]


@pytest.mark.fault("F43")
@pytest.mark.ch("CH-264", "W-08")
@pytest.mark.parametrize("bad", [0, 1, 2])
def test_the_good_items_of_a_batch_are_stored_and_the_bad_one_is_named(fresh, card, bad):
    items = [overridden(card["uuid"], f"2026-06-01T00:0{minute}:00Z") for minute in range(3)]
    items[bad] = {**items[bad], "outcome": "ignored"}
    answer = fresh.feedback(*items)
    assert (answer.status_code, outcome_of(answer)) == (400, [f"feedback[{bad}].outcome"])
    assert len(told(fresh)) == 2
    fresh.feedback(*items)
    assert len(told(fresh)) == 2


@pytest.mark.ch("CH-256", "W-09")
@pytest.mark.parametrize(
    ("at", "status", "stored", "flags"),
    [
        pytest.param("2026-06-01T00:00:00Z", 200, "2026-06-01T00:00:00+00:00", (), id="UTC"),
        pytest.param("2026-06-01T00:00:00.120Z", 200, "2026-06-01T00:00:00.120000+00:00", (), id="a fraction"),
        pytest.param("2026-06-01T09:00:00+09:00", 200, "2026-06-01T00:00:00+00:00", (), id="an offset"),
        pytest.param("2026-06-01", 200, "2026-06-01T00:00:00+00:00", ("date_only",), id="a date"),
        pytest.param("2026-06-01T02:00:00Z", 200, "2026-06-01T02:00:00+00:00", ("clock_ahead",), id="a clock that runs ahead"),
        pytest.param("2026-06-01T00:00:00", 400, None, None, id="no zone"),
        pytest.param("2026-06-01T00:00:00Z UTC", 400, None, None, id="trailing words"),
        pytest.param(1780272300000, 400, None, None, id="an epoch number"),
    ],
)  # fmt: skip
def test_timestamps_are_stored_beside_the_time_of_receipt(fresh, card, at, status, stored, flags):
    answer = fresh.feedback(overridden(card["uuid"], at))
    assert answer.status_code == status
    if status == 400:
        assert outcome_of(answer) == ["feedback[0].outcomeTimestamp"]
        assert told(fresh) == []
    else:
        (event,) = told(fresh)
        assert (event.outcome_at.isoformat(), event.at, event.flags) == (stored, NOW, flags)


@pytest.mark.ch("W-09", "CH-251")
@pytest.mark.parametrize(
    ("body", "status", "flags"),
    [
        pytest.param(overridden(str(uuid4())), 200, [("bare_feedback",)], id="one bare item, as HAPI's tests send it"),
        pytest.param([overridden(str(uuid4()))], 400, [], id="a bare list"),
        pytest.param({"feedback": []}, 400, [], id="an empty list"),
        pytest.param({}, 400, [], id="an empty object"),
        pytest.param({"feedback": "x"}, 400, [], id="no list"),
    ],
)
def test_bodies(fresh, body, status, flags):
    answer = fresh.http.post(f"/cds-services/{SERVICE}/feedback", json=body)
    assert answer.status_code == status
    assert [event.flags for event in told(fresh)] == flags
    if status == 400:
        assert outcome_of(answer) == ["feedback"]


@pytest.mark.ch("CH-254")
def test_items_that_do_not_belong_to_their_outcome_are_stored_without(fresh, card):
    both = {**overridden(card["uuid"]), "acceptedSuggestions": [{"id": card["suggestions"][0]["uuid"]}]}
    assert fresh.feedback(both).status_code == 200
    assert [event.flags for event in told(fresh)] == [("suggestions_ignored",)]


@pytest.mark.ch("CH-261")
@pytest.mark.sec("SEC-087")
def test_a_comment_is_neither_stored_nor_given_back(fresh, card, tmp_path):
    item = overridden(card["uuid"], overrideReason={"userComment": "zq Yamada, 1 Chome"})
    bad = {**item, "outcome": "zq Yamada"}
    answer = fresh.feedback(item, bad)
    assert answer.status_code == 400
    assert "zq" not in answer.text
    fresh.parts.store.close()
    for file in (tmp_path / "state").rglob("*"):
        assert file.is_dir() or b"zq Yamada" not in file.read_bytes()


@pytest.mark.ch("CH-074")
def test_feedback_is_json_too(app):
    path = f"/cds-services/{SERVICE}/feedback"
    for content, media_type, status in (
        (b'{"feedback": [', "application/json", 400),
        (b"\xef\xbb\xbf{}", "application/json", 400),
        (json.dumps({"feedback": [overridden(str(uuid4()))]}).encode(), "text/plain", 415),
    ):
        answer = app.http.post(path, content=content, headers={"Content-Type": media_type})
        assert answer.status_code == status
    assert app.http.get(path).status_code == 405
