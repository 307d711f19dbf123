"""How a command works on the store beside a running service, or alone."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cds_service.errors import Fault, StoreUnavailable
from cds_service.events.database import connect, disk_fault
from cds_service.events.opening import open_file

__all__ = ["maintained"]

PATIENCE_MS: Final = 20_000
"""So long a command waits for a place between two commits of the running service."""


@contextmanager
def maintained(path: Path, verb: str) -> Iterator[sqlite3.Connection]:
    """A connection that overwrites what it deletes, on a file that was checked and that others may have open too.

    Args:
        path: The database file. A command never makes one.
        verb: What the command is about, for the error: *forget*, *expire*.

    Raises:
        SettingsError: The folder is not the service's own.
        StoreUnavailable: There is no store here, or SQLite fails in the block.
    """
    if not path.exists() and not path.with_name(f"{path.name}.lock").exists():
        raise StoreUnavailable(Fault(str(path), "there is no event store here", "Name the service's state folder"))
    lock = open_file(path)
    try:
        connection = connect(path, busy_ms=PATIENCE_MS)
        try:
            connection.execute("PRAGMA secure_delete = ON").fetchall()
            yield connection
        finally:
            connection.close()
    except (sqlite3.Error, OSError) as failure:
        raise StoreUnavailable(disk_fault(path, failure, verb)) from None
    finally:
        lock.close()
