"""clients.toml: one table a client, safe where it says nothing, refused where it is wrong."""

from zoneinfo import ZoneInfo

import pytest

from cds_service.cdshooks.client import OrderCode, read_client
from cds_service.errors import SettingsError

WHOLE = {
    "name": "ehr-a",
    "tenant": "hospital-a",
    "language": "ja",
    "zone": "Asia/Tokyo",
    "cds_hooks_1": True,
    "is_silent": False,
    "orders": {"hba1c": {"system": "urn:x", "code": "1"}},
    "prevalence": {"s": {"ge65": 0.04, "source": "audit", "from": "2026-04-01"}},
    "quirks": {"patient_prefix": True},
}


def test_a_whole_table():
    client = read_client(WHOLE, where="clients.toml")
    assert (client.name, client.tenant, client.language, client.zone) == (
        "ehr-a",
        "hospital-a",
        "ja",
        ZoneInfo("Asia/Tokyo"),
    )
    assert (client.cds_hooks_1, client.is_silent, client.patient_prefix) == (True, False, True)
    assert client.orders == {"hba1c": OrderCode("urn:x", "1")}
    assert client.prevalence["s"].by_output == {"ge65": 0.04}


def test_what_is_not_said_is_safe():
    client = read_client({"name": "ehr-a"}, where="clients.toml")
    assert (client.tenant, client.is_silent, client.zone) == ("ehr-a", True, None)
    assert (client.orders, client.prevalence, client.patient_prefix) == ({}, {}, False)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        pytest.param({"nmae": "x"}, "c.nmae", id="a mistyped key"),
        pytest.param({"name": None}, "c.name", id="no name"),
        pytest.param({"zone": "Tokyo"}, "c.zone", id="no time zone"),
        pytest.param({"zone": "../etc/passwd"}, "c.zone", id="a path for a zone"),
        pytest.param({"orders": {"hba1c": {"code": "1"}}}, "c.orders.hba1c", id="an order code without its system"),
        pytest.param({"prevalence": {"s": {"ge65": 0.04}}}, "c.prevalence.s", id="a prevalence that nobody measured"),
        pytest.param({"prevalence": {"s": {"ge65": 4, "source": "x", "from": "y"}}}, "c.prevalence.s.ge65", id="a prevalence in per cent"),
        pytest.param({"prevalence": {"s": {"ge65": 0.0, "source": "x", "from": "y"}}}, "c.prevalence.s.ge65", id="of nothing"),
        pytest.param({"prevalence": {"s": {"ge65": True, "source": "x", "from": "y"}}}, "c.prevalence.s.ge65", id="that is no number"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(change, where):
    with pytest.raises(SettingsError) as caught:
        read_client({**WHOLE, **change}, where="c")
    assert where in [fault.where for fault in caught.value.faults]


def test_all_that_is_wrong_is_named_at_once():
    with pytest.raises(SettingsError) as caught:
        read_client({"x": 1, "y": 2, "zone": "nowhere"}, where="c")
    assert [fault.where for fault in caught.value.faults] == ["c.x", "c.y", "c.name", "c.zone"]
