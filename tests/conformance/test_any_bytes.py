"""Whatever bytes arrive, readers answer with a value or with our own error, and never say a word of what was sent."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cds_service.cdshooks.card_text import SUMMARY_MAX, check_detail, check_summary, shorten
from cds_service.cdshooks.feedback import read_feedback
from cds_service.cdshooks.hook_specs import HOOKS
from cds_service.cdshooks.wire import read_request
from cds_service.errors import BadRequest, TooLarge
from cds_service.texts import plain
from tests.conformance.conftest import call, chart

RECEIVED = datetime(2026, 6, 1, tzinfo=UTC)
FEEDBACK = {
    "feedback": [
        {
            "card": "7c1c9a52-3a61-4d0c-8f1b-0d5b6f1f3a10",
            "outcome": "accepted",
            "acceptedSuggestions": [{"id": "e1a2b0f4-52cf-4f0e-b9d6-1a4f0f1c2d33"}],
            "overrideReason": {"reason": {"system": "s", "code": "c"}, "userComment": "x"},
            "outcomeTimestamp": "2026-01-20T01:05:31.250Z",
        }
    ]
}
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=True) | st.text(max_size=20) | st.just("zq marker"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=8,
)


def places(value: object, path: tuple = ()):
    """Every path into a JSON value."""
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield from places(inner, (*path, key))


def replaced(value: object, path: tuple, new: object) -> object:
    if not path:
        return new
    key, *rest = path
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[key] = replaced(value[key], tuple(rest), new)
    return copy


REQUEST = json.loads(
    json.dumps(
        call(
            chart(),
            fhirServer="https://f.example/r4",
            fhirAuthorization={
                "access_token": "t",
                "token_type": "Bearer",
                "expires_in": 1,
                "scope": "s",
                "subject": "u",
            },
        )
    )
)


def in_peace(read, *arguments) -> None:
    error = None
    try:
        read(*arguments)
    except (BadRequest, TooLarge) as caught:
        error = caught
    assert error is None or error.faults
    assert "zq marker" not in str(error)


@pytest.mark.ch("CH-074", "CH-164")
@pytest.mark.fault("F33", "F34")
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(path=st.sampled_from(list(places(REQUEST))), new=VALUES, hook=st.sampled_from([None, *HOOKS]))
def test_any_value_anywhere_in_a_request(path, new, hook):
    body = replaced(REQUEST, path, new)
    if hook is not None and isinstance(body, dict):
        body["hook"] = hook
    in_peace(read_request, json.dumps(body).encode())


@pytest.mark.ch("CH-074")
@pytest.mark.fault("F34")
@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes(body):
    in_peace(read_request, body)
    in_peace(read_feedback, body, RECEIVED)


@pytest.mark.ch("CH-251", "CH-264")
@settings(max_examples=200, deadline=None)
@given(path=st.sampled_from(list(places(FEEDBACK))), new=VALUES)
def test_any_value_anywhere_in_feedback(path, new):
    in_peace(read_feedback, json.dumps(replaced(FEEDBACK, path, new)).encode(), RECEIVED)


@pytest.mark.ch("CH-074")
@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_request_cut_or_spoiled_anywhere(data):
    whole = json.dumps(REQUEST).encode()
    place = data.draw(st.integers(0, len(whole) - 1))
    in_peace(read_request, whole[:place])
    in_peace(read_request, whole[:place] + bytes([data.draw(st.integers(0, 255))]) + whole[place + 1 :])


@pytest.mark.ch("CH-170")
@settings(max_examples=150, deadline=None)
@given(st.text(st.characters(categories=("L", "N", "P", "Zs")), min_size=1, max_size=400).filter(str.strip))
def test_any_summary_is_short_enough_after_the_rule(text):
    short = shorten(text)
    assert len(short) <= SUMMARY_MAX
    assert short == text or (short.endswith("…") and text.startswith(short[:-1]))
    check_summary(short)


@pytest.mark.ch("CH-174")
@settings(max_examples=150, deadline=None)
@given(st.text(min_size=1, max_size=100).filter(str.strip))
def test_any_text_may_stand_in_a_detail_once_escaped(text):
    check_detail(f"x {plain(text)}")
