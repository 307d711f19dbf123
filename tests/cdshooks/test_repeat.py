"""How often one patient's chart may show the topic again."""

from datetime import timedelta

import pytest

from cds_service.cdshooks.declaration import Repeat
from cds_service.cdshooks.eligibility import is_repeated
from cds_service.events.store import ShownCard
from tests.clinical.charts import NOW

SHIPPED = Repeat(after_override_days=180, after_accept_days=90, at_most_per_patient_year=3, cards_per_100_opens_max=8)


def shown(days, outcome=None, answered=None):
    """A card so many days ago and, where it was answered, so many days ago its answer."""
    at = NOW - timedelta(days=days)
    told = NOW - timedelta(days=days if answered is None else answered) if outcome else None
    return ShownCard("c", at, "prediction_made", outcome, told)


@pytest.mark.parametrize(
    ("cards", "repeated"),
    [
        pytest.param([], False, id="never shown"),
        pytest.param([shown(0)], False, id="shown this morning, not answered: it is found again"),
        pytest.param([shown(0)] * 9, False, id="however often that day"),
        pytest.param([shown(0, "overridden")], True, id="dismissed this morning"),
        pytest.param([shown(0, "accepted")], True, id="accepted this morning"),
        pytest.param([shown(179.9, "overridden")], True, id="dismissed 179 days ago"),
        pytest.param([shown(180, "overridden")], False, id="dismissed 180 days ago"),
        pytest.param([shown(89.9, "accepted")], True, id="accepted 89 days ago"),
        pytest.param([shown(90, "accepted")], False, id="accepted 90 days ago"),
        pytest.param([shown(200, "overridden", answered=100)], True, id="the days count from the answer"),
        pytest.param([shown(10, "overridden", answered=4000)], True, id="which is never before the card, whatever a client's clock says"),
        pytest.param([shown(10, "overridden", answered=-5)], True, id="or how far ahead it runs"),
        pytest.param([shown(10), shown(20)], False, id="shown on two days this year"),
        pytest.param([shown(10), shown(20), shown(30)], True, id="on three"),
        pytest.param([shown(10), shown(20), shown(366)], False, id="the year is the last 365 days"),
        pytest.param([shown(0), shown(10), shown(20)], False, id="today is not yet over"),
        pytest.param([shown(10), shown(10), shown(10), shown(20)], False, id="three times on one day is one day"),
    ],
)  # fmt: skip
def test_the_shipped_limits(cards, repeated):
    assert is_repeated(SHIPPED, cards, NOW) is repeated


def test_nothing_declared_limits_nothing():
    assert (
        is_repeated(Repeat(), [shown(0, "overridden"), shown(1, "accepted"), *[shown(n) for n in range(50)]], NOW)
        is False
    )
