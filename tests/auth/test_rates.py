"""How often a client may ask, and an address be refused: 429 for it alone, and nothing that grows."""

import pytest

from cds_service.cdshooks.client import read_clients
from cds_service.errors import SettingsError
from cds_service.web.rates import FAILURES_A_SECOND, Failures, Rates
from tests.auth import tokens
from tests.auth.tokens import token

ISSUER_B = "https://ehr-b.example.org"


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.mark.sec("SEC-051")
@pytest.mark.parametrize("rate", [0.5, 1, 5, 50])
def test_a_bucket_gives_two_seconds_at_once_and_then_its_rate(rate):
    clock = Clock()
    rates = Rates(clock)
    burst = max(1, int(2 * rate))
    assert [rates.take("a", rate) for _ in range(burst + 3)] == [True] * burst + [False] * 3
    clock.now += 10
    given = 0
    for _ in range(1000):
        clock.now += 0.01
        given += rates.take("a", rate)
    assert given <= burst + 10 * rate + 1
    assert given >= 10 * rate - 1


@pytest.mark.sec("SEC-051")
def test_buckets_of_two_names_do_not_meet():
    rates = Rates(Clock())
    while rates.take("a", 5):
        pass
    assert rates.take("b", 5)


@pytest.mark.sec("SEC-051")
def test_a_clock_that_stands_gives_nothing_back_and_one_that_jumps_gives_no_more_than_a_burst():
    clock = Clock()
    rates = Rates(clock)
    while rates.take("a", 5):
        pass
    assert not rates.take("a", 5)
    clock.now += 10**9
    assert sum(rates.take("a", 5) for _ in range(100)) == 10


@pytest.mark.sec("SEC-051")
def test_an_address_waits_after_twenty_refusals_and_memory_stays():
    clock = Clock()
    failures = Failures(clock)
    for _ in range(20):
        assert not failures.too_many("10.0.0.1")
        failures.add("10.0.0.1")
    assert failures.too_many("10.0.0.1")
    assert not failures.too_many("10.0.0.2")
    clock.now += 2 / FAILURES_A_SECOND
    assert not failures.too_many("10.0.0.1")
    for number in range(20_000):
        failures.add(f"2001:db8::{number:x}")
    assert len(failures) == 4096


@pytest.fixture
def two(started, tmp_path):
    """Two EHRs: ``ehr`` may ask twice at once, ``other`` as usual."""
    tokens.write_clients(tmp_path, "rate_per_s = 1")
    file = tokens.write_clients(tmp_path, name="other", issuer=ISSUER_B, jku=False)
    return started(file)


@pytest.mark.sec("SEC-051")
@pytest.mark.fault("F39")
@pytest.mark.ch("CH-164")
def test_one_client_beyond_its_rate_is_told_so_alone(two):
    answers = [two.call(token()) for _ in range(50)]
    limited = [answer for answer in answers if answer.status_code == 429]
    assert len(limited) >= 45
    assert {answer.status_code for answer in answers} == {200, 429}
    assert all(answer.headers["retry-after"] for answer in limited)
    assert limited[0].json()["resourceType"] == "OperationOutcome"
    others = [two.call(token(iss=ISSUER_B)) for _ in range(10)]
    assert [answer.status_code for answer in others] == [200] * 10


@pytest.mark.sec("SEC-051")
def test_a_token_that_met_the_rate_is_not_used_up(two, monkeypatch):
    while two.call(token()).status_code == 200:
        pass
    again = token()
    assert two.call(again).status_code == 429
    monkeypatch.setattr(two.parts.trust.authenticate, "_rates", Rates())  # full again, as after a while
    assert two.call(again).status_code == 200


@pytest.mark.sec("SEC-051")
def test_an_address_that_only_guesses_has_to_wait(two, monkeypatch):
    monkeypatch.setattr(two.parts.trust.authenticate, "_sees_callers", True)
    statuses = [two.call(token(aud="https://elsewhere.example")).status_code for _ in range(40)]
    assert statuses[:20] == [401] * 20
    assert set(statuses[22:]) == {429}


@pytest.mark.sec("SEC-051")
def test_behind_a_gateway_nobody_pays_for_what_others_guessed(two, monkeypatch):
    monkeypatch.setattr(two.parts.trust.authenticate, "_sees_callers", False)
    assert {two.call(token(aud="https://elsewhere.example")).status_code for _ in range(40)} == {401}
    assert two.call(token(iss=ISSUER_B)).status_code == 200


@pytest.mark.sec("SEC-051")
@pytest.mark.parametrize("rate", ["0", "-1", '"fast"', "true", "1e9"])
def test_a_rate_that_is_none_is_refused(rate, tmp_path):
    with pytest.raises(SettingsError, match="rate_per_s"):
        read_clients(tokens.write_clients(tmp_path, f"rate_per_s = {rate}"))
