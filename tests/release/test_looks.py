"""The ledger of looks: whole lines, or a refusal that names the line."""

from datetime import date

import pytest

from cds_service.errors import SettingsError
from cds_service.release.looks import Look, read_looks, record_look


def look(graph, data="d1"):
    return Look("a test set", data, "1.0.0", graph, date(2026, 11, 25), "tests")


def test_a_look_is_counted_once_and_by_its_data(tmp_path):
    ledger = tmp_path / "breast" / "looks.jsonl"
    numbers = [record_look(ledger, one) for one in (look("g1"), look("g2"), look("g1"), look("g1", "d2"))]
    assert numbers == [1, 2, 1, 1]
    assert [(one.data_sha256, one.graph_sha256) for one in read_looks(ledger)] == [
        ("d1", "g1"),
        ("d1", "g2"),
        ("d2", "g1"),
    ]


def test_half_a_line_is_named_and_never_skipped(tmp_path):
    ledger = tmp_path / "looks.jsonl"
    record_look(ledger, look("g1"))
    record_look(ledger, look("g2"))
    whole = ledger.read_bytes()
    ledger.write_bytes(whole[:-40])
    for ask in (lambda: read_looks(ledger), lambda: record_look(ledger, look("g3"))):
        with pytest.raises(SettingsError, match=r"looks\.jsonl:2: this is no look"):
            ask()
    assert ledger.read_bytes() == whole[:-40]
