"""The list of who is left out, as a file beside the backups: an older backup is restored with the list of today (F81).

One name a line, ``patient v1:…`` or ``card …``: pseudonyms and random names only. The file only grows.
"""

import fcntl
import os
import re
import tempfile
from pathlib import Path
from typing import Final

from cds_service.errors import Fault, StoreUnavailable
from cds_service.events.forgetting import Tombstones

__all__ = ["LIST", "add_to_list", "read_list"]

LIST: Final = "forgotten.txt"
_LINE: Final = re.compile(r"(patient) (v[0-9]{1,4}:[a-z2-7]{26})|(card) ([0-9a-f:sh-]{36,40})")


def read_list(path: Path) -> Tombstones:
    """Read a list.

    Raises:
        StoreUnavailable: It can't be read, or a line is no name: a list that is read in part would bring somebody back.
    """
    names: dict[str, set[str]] = {"patient": set(), "card": set()}
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as failure:
        raise StoreUnavailable(
            Fault(str(path), f"the list can't be read ({type(failure).__name__})", "Take it from another copy")
        ) from None
    for number, line in enumerate(lines, start=1):
        found = _LINE.fullmatch(line)
        if found is None:
            raise StoreUnavailable(Fault(f"{path}:{number}", "no name of the list", "Take it from another copy"))
        kind, _, name = line.partition(" ")
        names[kind].add(name)
    return Tombstones(frozenset(names["patient"]), frozenset(names["card"]))


def add_to_list(folder: Path, tombstones: Tombstones) -> None:
    """Add names to the list in a folder, which is in place whole and on disk when this returns.

    Raises:
        StoreUnavailable: The list that is there can't be read, or the folder can't be written.
    """
    path = folder / LIST
    try:
        lock = os.open(folder / f".{LIST}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)  # a backup and a command that forgets lose none of each other's names
            _replace(path, tombstones)
        finally:
            os.close(lock)
    except OSError as failure:
        raise StoreUnavailable(
            Fault(str(path), f"the list can't be written ({failure.strerror})", "Mount the folder, then ask again")
        ) from None


def _replace(path: Path, tombstones: Tombstones) -> None:
    known = read_list(path) if path.exists() else Tombstones(frozenset(), frozenset())
    patients, cards = known.patients | tombstones.patients, known.cards | tombstones.cards
    lines = [*(f"patient {name}\n" for name in sorted(patients)), *(f"card {name}\n" for name in sorted(cards))]
    handle, fresh = tempfile.mkstemp(dir=path.parent, prefix=f".{LIST}.")
    with os.fdopen(handle, "w", encoding="ascii") as file:
        file.writelines(lines)
        file.flush()
        os.fsync(file.fileno())
    Path(fresh).replace(path)
    opened = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
