"""Each card once, by the last thing said about it: B-087, F41, F42, CH-253, CH-258, CH-263."""

import itertools
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cds_service.events.feedback_counts import Acceptance, Key, count_acceptance, read_acceptance
from cds_service.events.ids import new_id
from cds_service.events.schema import decode
from cds_service.events.store import open_store
from tests.events.feedback_items import card_feedback

GOLDEN = [decode(line) for line in (Path(__file__).parent / "golden_events.jsonl").read_bytes().splitlines()]
MADE, WITHHELD, RULE = GOLDEN[0], GOLDEN[2], GOLDEN[3]
NOW = datetime(2026, 6, 1, tzinfo=UTC)
SERVICE = MADE.service
MODEL, RULES, ABSTAINED, NOBODY = (Key("hospital-a", SERVICE, who) for who in ("model", "rule", "abstention", "nobody"))


def uuid(kind: int, number: int) -> str:
    return f"0f6d1a7c-{kind:04d}-4a51-9d2e-{number:012d}"


def made(number: int, template=MADE, **fields):
    fields = {"card": uuid(1, number), "suggestions": (uuid(2, number),)} | fields
    return msgspec.structs.replace(template, id=new_id(NOW), **fields)


def said(
    number: int, outcome: str, *, minutes: float, received: float | None = None, suggestion: int | None = None, tenant="hospital-a",
    service=SERVICE,
):  # fmt: skip
    return card_feedback(
        tenant=tenant, service=service, card=uuid(1, number), outcome=outcome, at=NOW + timedelta(minutes=minutes),
        received=NOW + timedelta(minutes=minutes + 1 if received is None else received),
        suggestions=[uuid(2, number if suggestion is None else suggestion)] if outcome == "accepted" else [],
    )  # fmt: skip


CASES = [
    pytest.param([made(1)], {MODEL: Acceptance(cards=1)}, id="shown, and no response"),
    pytest.param(
        [made(1), said(1, "overridden", minutes=5), said(1, "overridden", minutes=5), said(1, "accepted", minutes=7),
         said(9, "overridden", minutes=5)],
        {MODEL: Acceptance(cards=1, accepted=1, changed=1), NOBODY: Acceptance(orphans=1)},
        id="B-087: the same feedback twice, and a change of mind",
    ),
    pytest.param([made(1), said(1, "accepted", minutes=5), said(1, "overridden", minutes=7)],
                 {MODEL: Acceptance(cards=1, overridden=1, changed=1)}, id="accepted, then dismissed"),
    pytest.param([made(1), said(1, "overridden", minutes=5), said(1, "overridden", minutes=7)],
                 {MODEL: Acceptance(cards=1, overridden=1)}, id="dismissed twice is no change"),
    pytest.param([made(1), said(1, "overridden", minutes=5), said(1, "accepted", minutes=5)],
                 {MODEL: Acceptance(cards=1, overridden=1, changed=1)}, id="two words at one instant count as dismissed"),
    pytest.param([made(1), said(1, "accepted", minutes=90 * 24 * 60)],
                 {MODEL: Acceptance(cards=1, accepted=1)}, id="90 days late"),
    pytest.param([made(1), said(1, "accepted", minutes=-5)],
                 {MODEL: Acceptance(cards=1, accepted=1)}, id="accepted before it was shown, by the client's clock"),
    pytest.param([made(1), said(1, "accepted", minutes=600, received=5), said(1, "overridden", minutes=6)],
                 {MODEL: Acceptance(cards=1, overridden=1, changed=1)}, id="a clock that runs ahead: the time of receipt counts"),
    pytest.param([made(1), said(1, "accepted", minutes=5, suggestion=3)],
                 {MODEL: Acceptance(cards=1), NOBODY: Acceptance(orphans=1)}, id="a suggestion that is not of this card"),
    pytest.param([made(1, tenant="hospital-b"), said(1, "accepted", minutes=5)],
                 {Key("hospital-b", SERVICE, "model"): Acceptance(cards=1), NOBODY: Acceptance(orphans=1)},
                 id="another hospital's card"),
    pytest.param([made(1), said(1, "accepted", minutes=5, service="other")],
                 {MODEL: Acceptance(cards=1), Key("hospital-a", "other", "nobody"): Acceptance(orphans=1)}, id="another service's address"),
    pytest.param([made(1), made(2, RULE), made(3, WITHHELD), said(2, "accepted", minutes=1), said(3, "overridden", minutes=1)],
                 {MODEL: Acceptance(cards=1), RULES: Acceptance(cards=1, accepted=1), ABSTAINED: Acceptance(cards=1, overridden=1)},
                 id="model, rule and abstention are counted apart"),
    pytest.param([made(1, card=None), GOLDEN[1], GOLDEN[6]], {}, id="what made no card"),
    pytest.param([made(1, RULE), made(1), said(1, "accepted", minutes=1)], {MODEL: Acceptance(cards=1, accepted=1)},
                 id="a card made twice is one card, the later one"),
    pytest.param([made(1, service=None, hook="predict"), said(1, "accepted", minutes=1)], {NOBODY: Acceptance(orphans=1)},
                 id="a plain window makes no cards"),
]  # fmt: skip


@pytest.mark.ch("CH-258", "CH-259", "CH-263", "CH-253")
@pytest.mark.fault("F40", "F41", "F42")
@pytest.mark.parametrize(("events", "counts"), CASES)
def test_acceptance(tmp_path, events, counts):
    """By the pure function and by the database, with everything sent once or five times, in any order."""
    store = open_store(tmp_path / "events" / "events.db")
    orders = list(itertools.islice(itertools.permutations(events), 24))
    for order in orders:
        assert count_acceptance(order) == counts
    for event in random.Random(1).choice(orders) * 5:
        store.append_and_wait([event])
    assert read_acceptance(store) == counts
    assert count_acceptance(stored.event for stored in store.read_all()) == counts
    store.close()


def test_sums_of_counts_are_sums_of_cards():
    total = sum((Acceptance(3, 1, 1, 1, 0), Acceptance(2, 1, 0, 0, 4)), Acceptance())
    assert total == Acceptance(5, 2, 1, 1, 4)
    assert total.without_response == 2


items = st.one_of(
    st.builds(made, st.integers(0, 3), st.sampled_from([MADE, RULE, WITHHELD])),
    st.builds(
        said, st.integers(0, 4), st.sampled_from(["accepted", "overridden"]), minutes=st.integers(0, 3),
        received=st.sampled_from([-20, 0, 5]), suggestion=st.sampled_from([None, 1]),
        tenant=st.sampled_from([None, "hospital-a", "hospital-b"]),
    ),
)  # fmt: skip


@settings(deadline=None, max_examples=60)
@given(events=st.lists(items, max_size=12), order=st.randoms())
def test_the_database_counts_like_the_pure_function_and_order_says_nothing(tmp_path_factory, events, order):
    unique = list({event.id: event for event in events}.values())
    shuffled = order.sample(unique, len(unique))
    store = open_store(tmp_path_factory.mktemp("counts") / "events" / "events.db")
    if shuffled:
        store.append_and_wait(shuffled)
    counted = read_acceptance(store)
    store.close()
    assert counted == count_acceptance(unique) == count_acceptance(shuffled)
