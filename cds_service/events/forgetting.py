"""Forget a patient: put the pseudonyms on the list, then blank what the log holds, beside a running service (SEC-091).

The list comes first and is on disk before anything is blanked: from then on no process can add a row about the patient
(``left_out.py``). A kill in between leaves work that the same command, repeated, finishes. Blanking goes in short
transactions, so that a chart open waits for milliseconds.
"""

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from cds_service.errors import Fault, StoreUnavailable
from cds_service.events.database import RESTORE
from cds_service.events.ids import microseconds
from cds_service.events.left_out import leave_out
from cds_service.events.maintaining import maintained
from cds_service.events.schema import AnyEvent, decode
from cds_service.events.table import READ, Row, insert_at, is_whole, row

__all__ = [
    "Forgotten",
    "Tombstones",
    "forget",
    "has_tenant",
    "leave_out_rows",
    "read_tombstones",
    "tombstones_of",
    "write_tombstones",
]

_READ_ONE: Final = READ.replace("WHERE seq > ? ORDER BY seq LIMIT ?", "WHERE seq = ?")
_RANGE: Final = 20_000
"""Sequence numbers that one read looks through, so that no long read holds the journal back."""
_AT_ONCE: Final = 50
"""Rows that one transaction blanks, names that one question has."""


@dataclass(frozen=True, slots=True)
class Forgotten:
    """What forgetting did, in counts."""

    patients: int = 0
    """Pseudonyms that were not on the list before."""
    answers: int = 0
    """Events about chart opens that were blanked."""
    feedback: int = 0
    """Feedback items that were blanked."""
    journal_is_clean: bool = True
    """Whether the journal, too, holds nothing any more; else another program was reading, and a repetition cleans it."""


@dataclass(frozen=True, slots=True)
class Tombstones:
    """The list: patients who are not to be in the log, by every name that they have there, and their cards."""

    patients: frozenset[str]
    cards: frozenset[str]


def forget(path: Path, tombstones: Tombstones, now: datetime) -> Forgotten:
    """Put patients and cards on the list and blank every row about them.

    Args:
        path: The database file of an existing store; the service may be running.
        tombstones: By pseudonym. Cards that the patients' rows name are added.
        now: When it was asked for.

    Raises:
        StoreUnavailable: It can't be read or written, is held by another program, or a row is damaged. What was
            blanked until then stays so; the list is kept first.
    """
    with maintained(path, "forget") as connection:
        added = write_tombstones(connection, tombstones, now)
        counts = _blank_all(path, connection, tombstones)
        for older in path.parent.glob(f"{path.name}-wal.cut-*"):
            older.unlink()  # a journal that a power cut had left aside holds rows as they were
        is_busy = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
    return Forgotten(added, *counts, journal_is_clean=not is_busy)


def has_tenant(path: Path, tenant: str) -> bool:
    """Whether the log holds anything of a tenant."""
    with maintained(path, "read") as connection:
        return connection.execute("SELECT 1 FROM event WHERE tenant = ? LIMIT 1", (tenant,)).fetchone() is not None


def tombstones_of(path: Path) -> Tombstones:
    """The list of an existing store.

    Raises:
        StoreUnavailable: It can't be read.
    """
    with maintained(path, "read") as connection:
        return read_tombstones(connection)


def read_tombstones(connection: sqlite3.Connection) -> Tombstones:
    """The whole list of one store."""
    patients = connection.execute("SELECT patient FROM forgotten_patient").fetchall()
    cards = connection.execute("SELECT card FROM forgotten_card").fetchall()
    return Tombstones(frozenset(name for (name,) in patients), frozenset(name for (name,) in cards))


def write_tombstones(connection: sqlite3.Connection, tombstones: Tombstones, now: datetime) -> int:
    """Add to the list, on disk when this returns; how many patients were new."""
    connection.execute("BEGIN IMMEDIATE")
    added = connection.executemany(
        "INSERT INTO forgotten_patient (patient, at) VALUES (?, ?) ON CONFLICT DO NOTHING",
        [(patient, microseconds(now)) for patient in sorted(tombstones.patients)],
    ).rowcount
    _add_cards(connection, tombstones.cards)
    connection.execute("COMMIT")
    return added


def leave_out_rows(connection: sqlite3.Connection, rows: Sequence[Row]) -> list[Row]:
    """Inside a writing transaction: replace the rows about patients who are left out, and remember their cards."""
    kept: list[Row] = []
    for one in rows:
        patient, card = one[5], one[6]
        is_out = connection.execute(
            "SELECT ? IN (SELECT patient FROM forgotten_patient) OR ? IN (SELECT card FROM forgotten_card)",
            (patient, card),
        ).fetchone()[0]
        if is_out:
            _add_cards(connection, () if card is None else (card,))
        kept.append(row(leave_out(decode(one[-1]))) if is_out else one)
    return kept


def _add_cards(connection: sqlite3.Connection, cards: Iterable[str]) -> None:
    connection.executemany(
        "INSERT INTO forgotten_card (card) VALUES (?) ON CONFLICT DO NOTHING", [(card,) for card in sorted(cards)]
    )


def _blank_all(path: Path, connection: sqlite3.Connection, tombstones: Tombstones) -> tuple[int, int]:
    answers: list[int] = []
    cards = set(tombstones.cards)
    for patients in _pieces(sorted(tombstones.patients)):
        for seq, card in _of_patients(connection, patients):
            answers.append(seq)
            cards |= {card} if card is not None else set()
    connection.execute("BEGIN IMMEDIATE")
    _add_cards(connection, cards)
    connection.execute("COMMIT")
    of_cards: set[int] = set()
    for names in _pieces(sorted(cards)):
        of_cards |= {seq for (seq,) in connection.execute(f"{_OF_CARD} ({_marks(names)})", names)}
    feedback = sorted(of_cards - set(answers))
    for seqs in _pieces([*answers, *feedback]):
        connection.execute("BEGIN IMMEDIATE")
        for seq in seqs:
            _blank(path, connection, seq)
        connection.execute("COMMIT")
    return len(answers), len(feedback)


_OF_CARD = "SELECT seq FROM event WHERE card IN"
_OF_PATIENT = "SELECT seq, card FROM event WHERE seq > ? AND seq <= ? AND patient IN"


def _of_patients(connection: sqlite3.Connection, patients: Sequence[str]) -> Iterator[tuple[int, str | None]]:
    last = connection.execute("SELECT coalesce(max(seq), 0) FROM event").fetchone()[0]
    for first in range(0, last, _RANGE):
        statement = f"{_OF_PATIENT} ({_marks(patients)})"
        yield from connection.execute(statement, (first, first + _RANGE, *patients)).fetchall()


def _blank(path: Path, connection: sqlite3.Connection, seq: int) -> None:
    stored = connection.execute(_READ_ONE, (seq,)).fetchone()
    if stored is None:
        return  # expired meanwhile
    connection.execute("DELETE FROM event WHERE seq = ?", (seq,))
    connection.execute(insert_at(), (seq, *row(leave_out(_whole(path, seq, stored[1:])))))


def _whole(path: Path, seq: int, stored: Sequence[Any]) -> AnyEvent:
    if not is_whole(stored):
        raise StoreUnavailable(Fault(str(path), f"event {seq} does not match its checksum", RESTORE))
    return decode(stored[-1])


def _pieces(names: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for first in range(0, len(names), _AT_ONCE):
        yield names[first : first + _AT_ONCE]


def _marks(names: Sequence[Any]) -> str:
    return ", ".join("?" * len(names))
