"""Feedback, item by item: section O and choices W-08 to W-12 as a table."""

import json
from datetime import UTC, datetime

import pytest

from cds_service.cdshooks.feedback import OTHER_REASON, Reason, read_feedback
from cds_service.errors import TooLarge, WireError

RECEIVED = datetime(2026, 6, 1, 0, 6, tzinfo=UTC)
CARD = "7c1c9a52-3a61-4d0c-8f1b-0d5b6f1f3a10"
SUGGESTION = "e1a2b0f4-52cf-4f0e-b9d6-1a4f0f1c2d33"
OVERRIDDEN = {"card": CARD, "outcome": "overridden", "outcomeTimestamp": "2026-06-01T00:05:00Z"}
ACCEPTED = {**OVERRIDDEN, "outcome": "accepted", "acceptedSuggestions": [{"id": SUGGESTION}]}
SYSTEM = "http://terminology.hl7.org/CodeSystem/non-adherence-reason-codes"


def read(*items: object):
    return read_feedback(json.dumps({"feedback": items}).encode(), RECEIVED)


def ch(*ids: str):
    return pytest.mark.ch(*ids)


@pytest.mark.ch("CH-251", "CH-252", "CH-253", "CH-254")
def test_accepted_with_its_suggestions():
    twice = {**ACCEPTED, "acceptedSuggestions": [{"id": SUGGESTION}, {"id": CARD}, {"id": SUGGESTION.upper()}]}
    (item,) = read(twice).items
    assert (item.card, item.outcome, item.suggestions) == (CARD, "accepted", (CARD, SUGGESTION))


@pytest.mark.parametrize(
    ("reason", "kept", "flags"),
    [
        pytest.param(None, None, (), id="no overrideReason"),
        pytest.param({}, None, (), id="an empty overrideReason is no reason"),
        pytest.param({"reason": None}, None, (), id="a null reason is no reason"),
        pytest.param({"reason": {}}, None, (), id="an empty reason is no reason"),
        pytest.param({"reason": {"system": SYSTEM, "code": "cds-not-applicable", "display": "x"}}, Reason(SYSTEM, "cds-not-applicable"), (), id="one of ours"),
        pytest.param({"reason": {"system": SYSTEM, "code": "cds-not-applicable"}}, Reason(SYSTEM, "cds-not-applicable"), (), id="without display, as the public sandbox sends it"),
        pytest.param({"reason": {"system": "urn:site", "code": "Z-9"}}, Reason("urn:site", "Z-9"), (), marks=ch("CH-222"), id="one of the client's own"),
        pytest.param({"reason": {"code": "Z-9"}}, Reason(None, "Z-9"), (), marks=ch("CH-222"), id="a code without system"),
        pytest.param({"reason": {"system": SYSTEM, "code": "Yamada said no"}}, OTHER_REASON, ("reason_not_kept",), marks=ch("CH-222", "CH-261"), id="free text in the code is not kept"),
        pytest.param({"reason": {"system": SYSTEM, "code": "患者"}}, OTHER_REASON, ("reason_not_kept",), marks=ch("CH-222"), id="another script is not kept"),
        pytest.param({"reason": {"system": SYSTEM, "code": "x" * 65}}, OTHER_REASON, ("reason_not_kept",), marks=ch("CH-222"), id="a long code is not kept"),
    ],
)  # fmt: skip
@pytest.mark.ch("CH-255")
def test_override_reasons(reason, kept, flags):
    (item,) = read({**OVERRIDDEN, "overrideReason": reason}).items
    assert (item.reason, item.flags) == (kept, flags)


@pytest.mark.parametrize(
    ("comment", "had_comment", "length"),
    [
        (None, False, None),
        ("", False, None),
        ("  \n", False, None),
        ("x" * 50, True, "short"),
        ("x" * 51, True, "medium"),
        ("x" * 500, True, "medium"),
        ("x" * 501, True, "long"),
    ],
)
@pytest.mark.ch("CH-255", "CH-261")
@pytest.mark.sec("SEC-087")
def test_a_comment_leaves_as_a_length_class_only(comment, had_comment, length):
    batch = read({**OVERRIDDEN, "overrideReason": {"userComment": comment}})
    (item,) = batch.items
    assert (item.had_comment, item.comment_length) == (had_comment, length)
    assert comment in (None, "", "  \n") or comment not in repr(batch)


@pytest.mark.parametrize(
    ("timestamp", "at", "flags"),
    [
        pytest.param("2026-06-01T00:05:00Z", "2026-06-01T00:05:00+00:00", (), id="UTC"),
        pytest.param("2026-06-01T00:05:00.120Z", "2026-06-01T00:05:00.120000+00:00", (), id="a fraction"),
        pytest.param("2026-06-01T00:05:00.123456789Z", "2026-06-01T00:05:00.123456+00:00", (), id="nanoseconds"),
        pytest.param("2026-06-01t00:05:00z", "2026-06-01T00:05:00+00:00", (), id="lower case, as RFC 3339 allows"),
        pytest.param("2026-06-01T09:05:00+09:00", "2026-06-01T00:05:00+00:00", (), id="an offset becomes UTC"),
        pytest.param("2016-12-31T23:59:60Z", "2016-12-31T23:59:59.999999+00:00", (), id="a leap second"),
        pytest.param("2026-06-01T00:11:00Z", "2026-06-01T00:11:00+00:00", (), id="five minutes ahead"),
        pytest.param("2026-06-01T00:11:01Z", "2026-06-01T00:11:01+00:00", ("clock_ahead",), id="more than five minutes ahead"),
        pytest.param("2026-06-01", "2026-06-01T00:00:00+00:00", ("date_only",), marks=ch("W-09"), id="a date"),
        pytest.param("0001-01-01", "0001-01-01T00:00:00+00:00", ("date_only",), marks=ch("W-09"), id="the first date there is"),
        pytest.param("2026-06-02", "2026-06-02T00:00:00+00:00", ("date_only", "clock_ahead"), marks=ch("W-09"), id="tomorrow's date"),
    ],
)  # fmt: skip
@pytest.mark.ch("CH-256")
def test_timestamps(timestamp, at, flags):
    (item,) = read({**OVERRIDDEN, "outcomeTimestamp": timestamp}).items
    assert (item.at.isoformat(), item.flags) == (at, flags)
    assert item.precision == ("date" if "date_only" in flags else "instant")


@pytest.mark.ch("W-09")
def test_today_where_the_clinician_is_may_be_tomorrow_in_utc():
    evening = datetime(2026, 6, 1, 23, 0, tzinfo=UTC)
    body = json.dumps({"feedback": [{**OVERRIDDEN, "outcomeTimestamp": "2026-06-02"}]}).encode()
    assert read_feedback(body, evening).items[0].flags == ("date_only",)


@pytest.mark.parametrize(
    ("change", "at"),
    [
        pytest.param({"card": None}, ".card", marks=ch("CH-252"), id="no card"),
        pytest.param({"card": "7"}, ".card", marks=ch("CH-252"), id="a card that is no UUID"),
        pytest.param({"card": 7}, ".card", marks=ch("CH-252"), id="a card that is a number"),
        pytest.param({"outcome": None}, ".outcome", marks=ch("CH-253"), id="no outcome"),
        pytest.param({"outcome": "ignored"}, ".outcome", marks=ch("CH-253"), id="ignored is no outcome"),
        pytest.param({"outcome": "accepted"}, ".acceptedSuggestions", marks=ch("CH-254"), id="accepted without suggestions"),
        pytest.param({"outcome": "accepted", "acceptedSuggestions": []}, ".acceptedSuggestions", marks=ch("CH-254"), id="accepted with none"),
        pytest.param({"outcome": "accepted", "acceptedSuggestions": [SUGGESTION]}, ".acceptedSuggestions[0]", marks=ch("CH-254"), id="a suggestion that is no object"),
        pytest.param({"outcome": "accepted", "acceptedSuggestions": [{"id": "x"}]}, ".acceptedSuggestions[0].id", marks=ch("CH-254"), id="a suggestion that is no UUID"),
        pytest.param({"overrideReason": "x"}, ".overrideReason", marks=ch("CH-255"), id="overrideReason is a string"),
        pytest.param({"overrideReason": {"reason": "x"}}, ".overrideReason.reason", marks=ch("CH-255"), id="reason is a string"),
        pytest.param({"overrideReason": {"reason": {"system": "s"}}}, ".overrideReason.reason.code", marks=ch("CH-255"), id="reason without code"),
        pytest.param({"overrideReason": {"reason": {"code": "c", "system": 1}}}, ".overrideReason.reason.system", marks=ch("CH-255"), id="system is a number"),
        pytest.param({"overrideReason": {"userComment": ["x"]}}, ".overrideReason.userComment", marks=ch("CH-255"), id="userComment is a list"),
        pytest.param({"outcomeTimestamp": None}, ".outcomeTimestamp", marks=ch("CH-256"), id="no timestamp"),
        pytest.param({"outcomeTimestamp": "2026-06-01T00:05:00"}, ".outcomeTimestamp", marks=ch("CH-256"), id="no zone"),
        pytest.param({"outcomeTimestamp": "2026-06-01T00:05:00Z UTC"}, ".outcomeTimestamp", marks=ch("CH-256"), id="trailing words"),
        pytest.param({"outcomeTimestamp": 1780272300000}, ".outcomeTimestamp", marks=ch("CH-256"), id="an epoch number"),
        pytest.param({"outcomeTimestamp": "2026-02-30T00:05:00Z"}, ".outcomeTimestamp", marks=ch("CH-256"), id="a day that does not exist"),
        pytest.param({"outcomeTimestamp": "0001-01-01T00:00:00+14:00"}, ".outcomeTimestamp", marks=ch("CH-256"), id="before the year 1"),
        pytest.param({"outcomeTimestamp": "2026-06-01 00:05:00Z"}, ".outcomeTimestamp", marks=ch("CH-256"), id="a space instead of T"),
    ],
)  # fmt: skip
@pytest.mark.ch("CH-264", "W-08")
def test_one_bad_item_is_named_and_the_good_ones_are_kept(change, at):
    batch = read(OVERRIDDEN, {**OVERRIDDEN, **change}, ACCEPTED)
    assert [item.index for item in batch.items] == [0, 2]
    assert [fault.where for fault in batch.faults] == [f"feedback[1]{at}"]


@pytest.mark.ch("CH-264", "W-08")
def test_all_faults_of_all_items_are_named():
    batch = read(7, {}, {**OVERRIDDEN, "card": "zq1", "outcome": "zq2", "outcomeTimestamp": "zq3"})
    assert [fault.where for fault in batch.faults] == [
        "feedback[0]",
        "feedback[1].card",
        "feedback[1].outcome",
        "feedback[1].outcomeTimestamp",
        "feedback[2].card",
        "feedback[2].outcome",
        "feedback[2].outcomeTimestamp",
    ]
    assert "zq" not in " ".join(map(str, batch.faults))


@pytest.mark.ch("CH-257", "CH-258")
def test_a_batch_may_hold_several_cards_and_the_same_card_often():
    batch = read(ACCEPTED, OVERRIDDEN, {**OVERRIDDEN, "card": SUGGESTION}, OVERRIDDEN)
    assert [(item.card, item.outcome) for item in batch.items] == [
        (CARD, "accepted"),
        (CARD, "overridden"),
        (SUGGESTION, "overridden"),
        (CARD, "overridden"),
    ]
    assert batch.faults == ()


@pytest.mark.parametrize(
    ("item", "flags"),
    [
        pytest.param({**OVERRIDDEN, "acceptedSuggestions": [{"id": SUGGESTION}]}, ("suggestions_ignored",), id="overridden, with suggestions"),
        pytest.param({**ACCEPTED, "overrideReason": {"reason": {"system": "s", "code": "c"}}}, ("reason_ignored",), id="accepted, with a reason"),
    ],
)  # fmt: skip
@pytest.mark.ch("CH-254", "CH-255")
def test_what_does_not_belong_to_the_outcome_is_left_out_and_noted(item, flags):
    (read_item,) = read(item).items
    assert (read_item.reason, read_item.flags) == (None, flags)
    assert read_item.suggestions == (() if read_item.outcome == "overridden" else (SUGGESTION,))


@pytest.mark.ch("W-09", "CH-251")
def test_one_bare_item_is_taken_and_noted():
    batch = read_feedback(json.dumps(OVERRIDDEN).encode(), RECEIVED)
    assert batch.quirks == ("bare_feedback",)
    assert [item.flags for item in batch.items] == [("bare_feedback",)]


@pytest.mark.parametrize(
    ("body", "at"),
    [
        pytest.param([OVERRIDDEN], "feedback", marks=ch("W-09"), id="a bare list"),
        pytest.param({"feedback": []}, "feedback", marks=ch("W-09"), id="an empty list"),
        pytest.param({}, "feedback", id="an empty object"),
        pytest.param({"feedback": OVERRIDDEN}, "feedback", id="feedback is an object"),
        pytest.param({"feedback": None}, "feedback", id="feedback is null"),
        pytest.param("x", "feedback", id="a string"),
    ],
)
@pytest.mark.ch("CH-251")
def test_bodies_that_are_no_batch(body, at):
    with pytest.raises(WireError) as caught:
        read_feedback(json.dumps(body).encode(), RECEIVED)
    assert [fault.where for fault in caught.value.faults] == [at]


GOOD = json.dumps(OVERRIDDEN).encode()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b'{"feedback": [', id="cut"),
        pytest.param(b'{"feedback": [], "feedback": [' + GOOD + b"]}", id="the array stands twice"),
        pytest.param(b"\xef\xbb\xbf" + GOOD, id="a byte order mark"),
        pytest.param(b'{"feedback": ["\xff"]}', id="not UTF-8"),
        pytest.param(b'{"feedback": [NaN]}', id="NaN"),
        pytest.param(b'{"feedback": [1e999]}', id="a number beyond a double"),
        pytest.param(b'{"feedback": [' + b"9" * 9999 + b"]}", id="a number of 9,999 digits"),
        pytest.param(b'{"feedback": ' + b"[" * 99_999, id="99,999 levels"),
    ],
)
@pytest.mark.ch("CH-074")
@pytest.mark.sec("SEC-045")
def test_bytes_that_are_no_feedback(body):
    with pytest.raises(WireError) as caught:
        read_feedback(body, RECEIVED)
    assert [fault.where for fault in caught.value.faults] == ["body"]


@pytest.mark.sec("SEC-045")
def test_a_key_that_stands_twice_in_an_item_spoils_that_item_only():
    twice = GOOD[:-1] + b', "outcome": "accepted"}'
    batch = read_feedback(b'{"feedback": [' + twice + b", " + GOOD + b"]}", RECEIVED)
    assert [fault.where for fault in batch.faults] == ["feedback[0]"]
    assert [item.index for item in batch.items] == [1]


@pytest.mark.sec("SEC-045")
@pytest.mark.parametrize(("items", "is_read"), [(5000, True), (5001, False)])
def test_at_most_5000_items(items, is_read):
    if is_read:
        assert len(read(*[OVERRIDDEN] * items).items) == items
    else:
        with pytest.raises(TooLarge):
            read(*[OVERRIDDEN] * items)
