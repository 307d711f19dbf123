"""Names of events: in time order, unique, and for feedback the same for the same words."""

import threading
from datetime import UTC, datetime, timedelta, timezone

import pytest

from cds_service.events.ids import card_name, feedback_id, new_id

NOW = datetime(2026, 6, 1, tzinfo=UTC)
CARD = "7c1c9a52-3f4b-4a51-9d2e-000000000001"
SAID = {
    "tenant": "hospital-a",
    "service": "case-labs",
    "card": CARD,
    "outcome": "accepted",
    "outcome_at": NOW,
    "suggestions": ("a", "b"),
}


@pytest.mark.parametrize(
    "moments",
    [
        pytest.param([NOW] * 1000, id="within one millisecond"),
        pytest.param([NOW + timedelta(milliseconds=n) for n in range(1000)], id="as time goes on"),
        pytest.param([NOW - timedelta(hours=n) for n in range(1000)], id="when the clock steps back"),
    ],
)
def test_later_names_sort_after_earlier_ones(moments):
    ids = [new_id(moment) for moment in moments]
    assert ids == sorted(set(ids))
    assert {len(name) for name in ids} == {26}


def test_the_name_tells_its_time():
    later = NOW + timedelta(days=30_000)  # after every other test's clock, so that nothing is counted up
    digits = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
    milliseconds = 0
    for letter in new_id(later)[:10]:
        milliseconds = milliseconds * 32 + digits.index(letter)
    assert milliseconds == later.timestamp() * 1000


def test_threads_never_share_a_name():
    ids: list[str] = []
    threads = [threading.Thread(target=lambda: ids.extend(new_id(NOW) for _ in range(2000))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(ids)) == 8000


@pytest.mark.ch("CH-259")
@pytest.mark.fault("F40")
@pytest.mark.parametrize(
    ("change", "is_same"),
    [
        pytest.param({}, True, id="the same words are the same feedback"),
        pytest.param({"suggestions": ("b", "a", "a")}, True, id="the order of suggestions says nothing"),
        pytest.param(
            {"outcome_at": NOW.astimezone(timezone(timedelta(hours=9)))}, True, id="the instant counts, not its zone"
        ),
        pytest.param({"outcome_at": NOW + timedelta(microseconds=1)}, False, id="another instant"),
        pytest.param({"outcome": "overridden"}, False, id="another outcome"),
        pytest.param({"suggestions": ("a",)}, False, id="another choice"),
        pytest.param({"tenant": "hospital-b"}, False, id="another hospital"),
        pytest.param({"service": "case-labs-2"}, False, id="another service"),
        pytest.param({"card": "7c1c9a52-3f4b-4a51-9d2e-000000000002"}, False, id="another card"),
    ],
)
def test_feedback_is_named_by_what_it_says(change, is_same):
    assert (feedback_id(**SAID) == feedback_id(**SAID | change)) is is_same


@pytest.mark.sec("SEC-080")
@pytest.mark.parametrize(
    ("text", "name"),
    [
        pytest.param(CARD, CARD, id="a uuid is kept"),
        pytest.param(CARD.upper(), CARD, id="in lower case"),
        pytest.param("Yamada Hanako 1980-01-01", None, id="a text is hashed"),
        pytest.param(f"{CARD}\n", None, id="so is a uuid with something more"),
        pytest.param("\ud800", None, id="and what is no Unicode"),
        pytest.param("", None, id="and nothing"),
    ],
)
def test_a_foreign_card_is_named_without_its_words(text, name):
    found = card_name(text)
    assert found == name or (name is None and found.startswith("sha256:") and len(found) == 39)
