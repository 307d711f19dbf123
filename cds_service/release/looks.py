"""Every look at a test set is written down: a set that was looked at often is no longer a test."""

from datetime import date
from pathlib import Path

import msgspec
from msgspec import Struct

from cds_service.errors import Fault, SettingsError
from cds_service.model.sealing import write_whole

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
    """Read the ledger, a JSON line a look; none if there is no file yet.

    Raises:
        SettingsError: A line is no look; names it.
    """
    if not ledger.exists():
        return []
    looks = []
    for number, line in enumerate(ledger.read_bytes().splitlines(), start=1):
        if not line.strip():
            continue
        try:
            looks.append(msgspec.json.decode(line, type=Look))
        except msgspec.MsgspecError as fault:
            do = "Restore the ledger: a look that is not counted makes a test set seem fresher than it is"
            raise SettingsError(Fault(f"{ledger}:{number}", f"this is no look ({fault})", do)) from None
    return looks


def record_look(ledger: Path, look: Look) -> int:
    """Write a look down, unless the same graph was already judged on the same data.

    Returns:
        Which look at these data it is, from 1.

    Raises:
        SettingsError: The ledger is damaged or can't be written; what was judged must not be released then.
    """
    at_same_data = [one for one in read_looks(ledger) if one.data_sha256 == look.data_sha256]
    for number, one in enumerate(at_same_data, start=1):
        if one.graph_sha256 == look.graph_sha256:
            return number
    before = ledger.read_bytes() if ledger.exists() else b""
    write_whole(ledger, before + msgspec.json.encode(look) + b"\n")
    return len(at_same_data) + 1
