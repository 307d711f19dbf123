"""The one thread that writes: it takes what is queued, commits it together, and only then lets anybody be told.

Group commit without waiting: an idle store commits one event at once, a busy one many with one fsync. One SQL
statement is one transaction (``BEGIN`` … ``COMMIT`` only for very large appends), so that the thread gives up the
interpreter lock once a batch; appends that use a token take three. A failed commit acknowledges nothing, and the connection is opened afresh.
"""

import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final

from cds_service.errors import Fault, StoreUnavailable, TokenUsed
from cds_service.events.database import disk_fault
from cds_service.events.faults import faultpoint
from cds_service.events.forgetting import leave_out_rows
from cds_service.events.table import FORMAT, Row, insert
from cds_service.events.used_tokens import UsedToken, forget_ended, keep_unused

__all__ = ["Append", "Writer"]

BATCH_ROWS: Final = 128
"""Rows of one commit; more wait for the next. At 64 waiting callers a commit takes all of them."""
QUEUED_APPENDS_MAX: Final = 4096
"""Beyond it the store says so at once: memory does not grow while the disk stands still (F10)."""
IDLE_S: Final = 0.25
"""So long without work, and what the journal holds is moved into the database file."""
PROBE_S: Final = 1.0
"""So often a store that failed tries again by itself."""
SWEEP_S: Final = 60.0
"""So often tokens that have ended are removed."""
JOURNAL_PAGES_MAX: Final = 4_096
"""16 MiB of 4 KiB pages: then the journal is moved even under load; overwriting a small one is cheaper than growing."""
_PAGES_A_COMMIT: Final = 4
"""Index and sequence pages that a commit rewrites, beside about one page a row."""


@dataclass(slots=True)
class Append:
    """Rows that go in together or not at all, and where their numbers are awaited."""

    rows: Sequence[Row]
    future: Any
    """An ``asyncio.Future`` or a ``concurrent.futures.Future``."""
    loop: Any = None
    """The asyncio loop of the future; None for the other kind."""
    token: UsedToken | None = None
    """What may be used once only: the rows go in with it, or not at all."""
    seqs: tuple[int, ...] = ()
    error: StoreUnavailable | TokenUsed | None = None
    is_settled: bool = False
    """Its caller is told, or on the way to be."""

    def settle(self) -> None:
        """Give the waiting caller its numbers or its error, unless it went away."""
        if self.future.done():
            return
        if self.error is None:
            self.future.set_result(self.seqs)
        else:
            self.future.set_exception(self.error)


class Writer:
    """Owns the writing connection.

    Args:
        path: The database file.
        connect: Opens a writing connection; raises ``sqlite3.Error`` or ``OSError``.
    """

    def __init__(self, path: Path, connect: Callable[[], sqlite3.Connection]) -> None:
        self._path = path
        self._connect = connect
        self._inode = path.stat().st_ino
        self._connection: sqlite3.Connection | None = None
        self._queue: queue.SimpleQueue[Append | None] = queue.SimpleQueue()
        self._name = str(path)
        self._batch: list[Append] = []
        self._unmoved_pages = 0
        self._sweep_at = 0.0
        self._closed = False
        self._gate = threading.Lock()
        """What is queued behind it is written or refused, never forgotten."""
        self.failed = False
        """The last commit failed: the store is not ready until one succeeds."""
        self._thread = threading.Thread(target=self._run, name="event-writer", daemon=True)
        self._thread.start()

    def put(self, append: Append) -> None:
        """Queue an append.

        Raises:
            StoreUnavailable: The store is closed, or too much is waiting already.
        """
        if self._queue.qsize() >= QUEUED_APPENDS_MAX:
            raise StoreUnavailable(
                Fault(str(self._path), "too many events wait to be written", "Look at the disk and ask again")
            )
        with self._gate:
            if not self._closed:
                self._queue.put(append)
                return
        raise StoreUnavailable(Fault(str(self._path), "the event store is closed", "Start the service again"))

    def close(self, timeout_s: float = 10.0) -> None:
        """Write what is queued, move the journal into the file, stop."""
        with self._gate:
            self._closed = True
            self._queue.put(None)
        self._thread.join(timeout_s)

    def _run(self) -> None:
        try:
            self._work()
        finally:  # also when a fault of our own ends the thread: then everybody is told, and nobody waits for ever
            with self._gate:
                self._closed = self.failed = True
            self._drop_connection()
            self._refuse_the_rest()

    def _work(self) -> None:
        closing = False
        while not closing:
            closing = self._take()
            if self._batch:
                self._write(self._batch)
                faultpoint("before_answer")
                _tell(self._batch)
                if self._unmoved_pages < JOURNAL_PAGES_MAX:
                    continue
            elif self.failed:
                self._probe()
            self._move_journal()

    def _take(self) -> bool:
        """Wait for work and take what is there into the batch; leave it empty when the store counts as idle.

        Returns:
            Whether the store is closing.
        """
        self._batch = []
        rows = 0
        wait_s = PROBE_S if self.failed else IDLE_S if self._unmoved_pages else None
        try:
            append = self._queue.get(timeout=wait_s)
            while append is not None:
                self._batch.append(append)
                rows += len(append.rows) or 1
                if rows >= BATCH_ROWS:
                    return False
                append = self._queue.get_nowait()
        except queue.Empty:
            return False
        return True

    def _refuse_the_rest(self) -> None:
        rest = [append for append in self._batch if not append.is_settled]
        while not self._queue.empty():
            append = self._queue.get_nowait()
            if append is not None:
                rest.append(append)
        for append in rest:
            append.error = StoreUnavailable(
                Fault(str(self._path), "the event store stopped", "Start the service again")
            )
        _tell(rest)

    def _probe(self) -> None:
        """Try a write that changes nothing: after a fault the store is ready again without a call or a person (I6)."""
        try:
            self._connected().execute(f"PRAGMA user_version = {FORMAT}")
        except (sqlite3.Error, OSError):
            self._drop_connection()
        else:
            self.failed = False

    def _write(self, batch: list[Append]) -> None:
        try:
            self._commit(batch)
        except (sqlite3.Error, OSError) as failure:
            self.failed = True
            self._drop_connection()
            fault = disk_fault(self._path, failure, "write")
            for append in batch:
                append.seqs, append.error = (), StoreUnavailable(fault)
        else:
            self.failed = False

    def _commit(self, batch: list[Append]) -> None:
        connection = self._connected()
        faultpoint("before_write")
        tokens = [append.token for append in batch if append.token is not None]
        try:
            seqs = self._keep(connection, batch, tokens)
        except sqlite3.IntegrityError:  # the one constraint that a row of ours can meet: a patient who is left out
            connection.rollback()
            seqs = self._keep(connection, batch, tokens, leaves_out=True)
        faultpoint("after_commit")
        self._unmoved_pages += _PAGES_A_COMMIT + len(seqs) + len(tokens)
        first = 0
        for append in batch:
            if append.error is None:
                append.seqs = tuple(seqs[first : first + len(append.rows)])
                first += len(append.rows)

    def _keep(
        self,
        connection: sqlite3.Connection,
        batch: list[Append],
        tokens: Sequence[UsedToken],
        *,
        leaves_out: bool = False,
    ) -> list[int]:
        rows = [row for append in batch for row in append.rows]
        if not tokens and not leaves_out and len(rows) <= 2 * BATCH_ROWS:
            return _insert(connection, rows)
        connection.execute("BEGIN IMMEDIATE")
        if tokens:
            _refuse_used(connection, batch, tokens)
        rows = [row for append in batch if append.error is None for row in append.rows]
        if leaves_out:
            rows = leave_out_rows(connection, rows)
        seqs: list[int] = []
        for first in range(0, len(rows), BATCH_ROWS):
            seqs += _insert(connection, rows[first : first + BATCH_ROWS])
        if tokens and time.monotonic() >= self._sweep_at:
            self._sweep_at = time.monotonic() + SWEEP_S
            forget_ended(connection, tokens[-1].at)
        connection.execute("COMMIT")
        return seqs

    def _connected(self) -> sqlite3.Connection:
        """The connection, to the very file that was checked at start."""
        if os.stat(self._name).st_ino != self._inode:  # noqa: PTH116 - on the path of every event; Path.stat takes twice as long
            raise OSError("the database file was replaced under the running service")
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _move_journal(self) -> None:
        if self._unmoved_pages == 0 or self._connection is None:
            return
        self._unmoved_pages = 0
        try:
            self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error:
            self._drop_connection()  # nothing is lost, the journal still holds it; the next commit meets the fault

    def _drop_connection(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


def _insert(connection: sqlite3.Connection, rows: list[Row]) -> list[int]:
    """Add rows in one statement; a row whose id is there already keeps the number it has."""
    cursor = connection.execute(insert(len(rows)), list(chain.from_iterable(rows)))
    last = cursor.lastrowid or 0
    if cursor.rowcount == len(rows):
        return list(range(last - len(rows) + 1, last + 1))
    marks = ", ".join("?" * len(rows))
    statement = f"SELECT id, seq FROM event WHERE id IN ({marks})"  # noqa: S608 - no value in it
    known = dict(connection.execute(statement, [row[0] for row in rows]).fetchall())
    return [known[row[0]] for row in rows]


def _refuse_used(connection: sqlite3.Connection, batch: list[Append], tokens: Sequence[UsedToken]) -> None:
    """Inside the transaction: mark the appends whose token was used before; their rows are left out."""
    unused = iter(keep_unused(connection, tokens))
    for append in batch:
        if append.token is not None and not next(unused):
            append.error = TokenUsed(Fault("Authorization", "the token was used before", "Send a new one"))


def _tell(batch: list[Append]) -> None:
    """Settle every append of a batch: on its own loop, with one wake-up for each loop."""
    by_loop: dict[Any, list[Append]] = {}
    for append in batch:
        append.is_settled = True
        if append.loop is None:
            append.settle()
        else:
            by_loop.setdefault(append.loop, []).append(append)
    for loop, appends in by_loop.items():
        try:
            loop.call_soon_threadsafe(_settle, appends)
        except RuntimeError:
            continue  # the loop is closed: what was asked for is durable, and nobody is left to be told


def _settle(appends: list[Append]) -> None:
    for append in appends:
        append.settle()
