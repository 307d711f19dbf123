"""What is kept for how long: whole days of events and whole years of the audit log go when their time is over (SEC-092).

The clock decides over data here, so it is not believed alone: a run that would remove more than a month of days, or that
comes after the clock was set forward by more than a day, is refused until somebody has looked (``catch_up``).
"""

import sqlite3
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import Final

from cds_service.errors import Fault, SettingsError
from cds_service.events.audit import AuditLog
from cds_service.events.audit_entry import Line, decode_entry, read_lines, segments
from cds_service.events.ids import microseconds
from cds_service.events.maintaining import maintained

__all__ = ["Expired", "expire_audit", "expire_events", "refuse_set_clock"]

DAYS_AT_ONCE: Final = 31
"""A run each night removes one day; after a month without one somebody is to look at the clock first."""
_DAY_US: Final = 86_400_000_000
_LOOK_ROWS: Final = 20_000
"""Sequence numbers that one read looks through."""
_DELETE_ROWS: Final = 500
"""Sequence numbers that one transaction deletes from: a chart open waits for milliseconds."""
_STEP_DAYS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Expired:
    """What a run removed."""

    parts: int
    """Days of events, years of the audit log."""
    rows: int


def expire_events(
    path: Path, *, now: datetime, keep_days: int, catch_up: bool = False, exported_to: int | None = None
) -> Expired:
    """Remove the events of days that are over, beside a running service; nothing of a day that still counts.

    Args:
        path: The database file of an existing store.
        now: The moment now.
        keep_days: Whole days, UTC, that an event is kept.
        catch_up: Remove more than :data:`DAYS_AT_ONCE` days.
        exported_to: Where events are exported, the last sequence number that was: later ones stay. None: nothing is
            exported.

    Raises:
        SettingsError: More days would go than one run may remove.
        StoreUnavailable: It can't be read or written; days may then be removed in part, and the next run goes on.
    """
    first_kept = microseconds(datetime.combine((now - timedelta(days=keep_days)).date(), time(), UTC))
    with maintained(path, "expire") as connection:
        start, last = _old_range(connection, first_kept)
        last = last if exported_to is None else min(last, exported_to)
        days = _days(connection, first_kept, start, last)
        if len(days) > DAYS_AT_ONCE and not catch_up:
            raise SettingsError(
                Fault(
                    str(path),
                    f"{len(days)} days would be removed, a run removes {DAYS_AT_ONCE} at most",
                    "Compare the machine's clock with another, then give --catch-up",
                )
            )
        rows = 0
        for first in range(start, last, _DELETE_ROWS):
            rows += connection.execute(
                "DELETE FROM event WHERE seq > ? AND seq <= ? AND at < ?",
                (first, min(first + _DELETE_ROWS, last), first_kept),
            ).rowcount
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return Expired(len(days), rows)


def expire_audit(audit: AuditLog, *, now: datetime, keep_days: int, catch_up: bool = False) -> Expired:
    """Remove the files of years whose last entry is over; before they go, the chain says where it begins from then on.

    Args:
        audit: The chain; its newest file always stays.
        now: The moment now.
        keep_days: Days that an entry is kept.
        catch_up: Remove more than one file.

    Raises:
        SettingsError: More than one year would go, or the clock was set forward lately.
        StoreUnavailable: The chain can't be read or written; nothing is removed.
    """
    before = now - timedelta(days=keep_days)
    over: list[tuple[Path, list[Line]]] = []
    for path in segments(audit.folder)[:-1]:
        lines = [line for line in read_lines(path.read_bytes()) if line is not None]
        if not lines or decode_entry(lines[-1].entry).at >= before:
            break
        over.append((path, lines))
    if not over:
        return Expired(0, 0)
    if len(over) > 1 and not catch_up:
        raise SettingsError(
            Fault(
                str(audit.folder),
                f"{len(over)} years of the audit log would be removed",
                "Compare the machine's clock with another, then give --catch-up",
            )
        )
    entries = sum(len(lines) for _, lines in over)
    newest = over[-1][1][-1]
    audit.write(
        "audit_expired", before=newest.hash, counts={"entries": entries, "last": decode_entry(newest.entry).seq}
    )
    for path, _ in over:
        path.unlink()
    return Expired(len(over), entries)


def refuse_set_clock(audit: AuditLog, now: datetime) -> None:
    """Refuse to let a clock decide that was set forward by more than a day within the last month.

    Raises:
        SettingsError: It was.
    """
    step = audit.last("clock_stepped")
    if step is None or step.step_s is None:
        return
    days = step.step_s / 86_400
    if days > _STEP_DAYS and abs(now - step.at) < timedelta(days=DAYS_AT_ONCE):
        raise SettingsError(
            Fault(
                "clock",
                f"it was set forward by {days:.0f} days on {step.at.date()}",
                "Compare the machine's clock with another, then give --catch-up",
            )
        )


def _old_range(connection: sqlite3.Connection, first_kept: int) -> tuple[int, int]:
    """Between which numbers to look: numbers and times grow together, but for a clock that was set."""
    start, newest = connection.execute("SELECT coalesce(min(seq), 1) - 1, coalesce(max(seq), 0) FROM event").fetchone()
    found = 0
    for first in range(start, newest, _LOOK_ROWS):
        last = connection.execute(
            "SELECT max(seq) FROM event WHERE seq > ? AND seq <= ? AND at < ?", (first, first + _LOOK_ROWS, first_kept)
        ).fetchone()[0]
        if last is None:
            break
        found = last
    return int(start), int(found)


def _days(connection: sqlite3.Connection, first_kept: int, start: int, last: int) -> set[int]:
    days: set[int] = set()
    for first in range(start, last, _LOOK_ROWS):
        found = connection.execute(
            f"SELECT DISTINCT at / {_DAY_US} FROM event WHERE seq > ? AND seq <= ? AND at < ?",  # noqa: S608
            (first, min(first + _LOOK_ROWS, last), first_kept),
        )
        days |= {day for (day,) in found}
    return days
