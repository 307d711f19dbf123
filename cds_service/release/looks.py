"""Every look at a test set is written down: a set that was looked at often is no longer a test."""

from datetime import date
from pathlib import Path

import msgspec
from msgspec import Struct

__all__ = ["Look", "read_looks", "record_look"]


class Look(Struct, frozen=True, forbid_unknown_fields=True):
    """One graph, judged on one set."""

    set: str
    data_sha256: str
    version: str
    graph_sha256: str
    at: date
    by: str
    note: str = ""


def read_looks(ledger: Path) -> list[Look]:
    """Read the ledger, a JSON line a look; none if there is no file yet."""
    if not ledger.exists():
        return []
    return [msgspec.json.decode(line, type=Look) for line in ledger.read_bytes().splitlines() if line.strip()]


def record_look(ledger: Path, look: Look) -> int:
    """Write a look down, unless the same graph was already judged on the same data.

    Returns:
        Which look at these data it is, from 1.
    """
    at_same_data = [one for one in read_looks(ledger) if one.data_sha256 == look.data_sha256]
    for number, one in enumerate(at_same_data, start=1):
        if one.graph_sha256 == look.graph_sha256:
            return number
    ledger.parent.mkdir(parents=True, exist_ok=True)
    with ledger.open("ab") as file:
        file.write(msgspec.json.encode(look) + b"\n")
    return len(at_same_data) + 1
