"""One connection to the store's SQLite file, what its failures mean, and whether the file is sound."""

import errno
import sqlite3
from pathlib import Path
from typing import Final

from cds_service.errors import Fault
from cds_service.events.table import READ, is_whole

__all__ = ["BUSY_MS", "RESTORE", "connect", "disk_fault", "is_sound"]

BUSY_MS: Final = 2_000
"""So long a commit waits for another writer (a backup, a second worker) before it gives up with 503 (F14)."""
RESTORE: Final = "Stop the service, keep this file, and restore the last backup"
_REMEDIES: Final = {
    "FULL": ("the disk is full", "Free space on this disk; the store goes on by itself"),
    "BUSY": ("it is locked", "Ask again in a moment; another program holds the store"),
    "LOCKED": ("it is locked", "Ask again in a moment; another program holds the store"),
    "CORRUPT": ("it is damaged", RESTORE),
    "NOTADB": ("it is not a database", RESTORE),
    "READONLY": ("it is read-only", "Give the service's user write access to the folder and the file"),
    "CANTOPEN": ("it can't be opened", "Give the service's user write access to the folder and the file"),
    "IOERR": (
        "the disk failed",
        "Look at the disk and the system's log; the store goes on by itself when the disk works",
    ),
}
"""What SQLite's result codes (sqlite.org/rescode.html) mean here, by the first word of their name."""


def disk_fault(path: Path, failure: Exception, verb: str) -> Fault:
    """Say what the disk said, and what to do; never in SQLite's own words, which may quote a row."""
    if isinstance(failure, OSError):
        what = failure.strerror or str(failure)
        do = {
            errno.ENOENT: "Put the database file back and restart the service",
            errno.ENOSPC: _REMEDIES["FULL"][1],
            errno.EROFS: _REMEDIES["READONLY"][1],
            errno.EACCES: _REMEDIES["READONLY"][1],
            None: "Restart the service, so that it checks the new file",
        }.get(failure.errno, _REMEDIES["IOERR"][1])
    else:
        name = getattr(failure, "sqlite_errorname", "SQLITE_CORRUPT" if "decode" in str(failure) else "SQLITE_IOERR")
        what, do = _REMEDIES.get(name.split("_")[1], (name, _REMEDIES["IOERR"][1]))
    return Fault(str(path), f"the event store can't {verb} ({what})", do)


def connect(path: Path, *, busy_ms: int = BUSY_MS, read_only: bool = False) -> sqlite3.Connection:
    """Open one connection with the settings that make an acknowledged event durable (SEC-115).

    Raises:
        sqlite3.Error: The file is missing, locked for longer than *busy_ms*, or damaged.
    """
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, check_same_thread=False,
        timeout=busy_ms / 1000, cached_statements=256,
    )  # fmt: skip
    try:
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA wal_autocheckpoint = 0")
        connection.execute("PRAGMA cache_size = -16384")
        if read_only:
            connection.execute("PRAGMA query_only = ON")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def is_sound(connection: sqlite3.Connection, *, every_row: bool) -> bool:
    """Whether the database is undamaged: its structure, and with *every_row* its indexes and each row's checksum."""
    kind = "integrity_check" if every_row else "quick_check"
    if connection.execute(f"PRAGMA {kind}(1)").fetchone()[0] != "ok":
        return False
    return not every_row or all(is_whole(stored) for _, *stored in connection.execute(READ, (0, -1)))
