"""The event store: what is appended is on disk before anybody is told; what a chart open asks is answered from indexes.

Appending goes through one writer thread (``writer.py``). Looking up happens on the caller's thread with a connection
of its own: the questions of a chart open take some ten microseconds and never wait for the writer.
"""

import asyncio
import sqlite3
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from cds_service.errors import Fault, StoreUnavailable
from cds_service.events.check import hold_to_schema
from cds_service.events.database import BUSY_MS, RESTORE, connect, disk_fault
from cds_service.events.ids import microseconds
from cds_service.events.opening import Lock, open_file
from cds_service.events.schema import AnyEvent, Outcome, decode
from cds_service.events.table import READ, Row, is_whole, row
from cds_service.events.used_tokens import UsedToken
from cds_service.events.writer import Append, Writer

__all__ = ["CardKnown", "EventStore", "ShownCard", "StoredEvent", "open_store"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_HISTORY = """
SELECT shown.card, shown.at, shown.type, said.outcome, said.outcome_at, shown.body
FROM event AS shown LEFT JOIN event AS said
  ON said.card = shown.card AND said.tenant IS shown.tenant AND said.service = shown.service AND said.outcome IS NOT NULL
WHERE shown.patient = ? AND shown.at >= ? AND shown.card IS NOT NULL AND shown.tenant IS ? AND shown.service = ?
ORDER BY shown.at, shown.seq, said.outcome_at, said.outcome
"""
_CARD = "SELECT at, body FROM event WHERE card = ? AND tenant IS ? AND service = ? AND outcome IS NULL LIMIT 1"
_OPENED = "SELECT seq, open FROM event WHERE service = ? AND tenant IS ? AND open > 0 AND seq > ? ORDER BY seq"
_LAST_OPENED = "SELECT seq, open FROM event WHERE service = ? AND tenant IS ? AND open > 0 ORDER BY seq DESC"


class ShownCard(NamedTuple):
    """A card that was made for a patient, and the last thing that was said about it."""

    card: str
    at: datetime
    type: str
    """``prediction_made``, ``prediction_withheld`` (an abstention that is told) or ``rule_fired``."""
    outcome: Outcome | None
    outcome_at: datetime | None
    """By the client's clock, by ours where theirs ran ahead."""
    invocation: str | None = None
    """``hookInstance``: the same chart open asked again is no repeat."""


class CardKnown(NamedTuple):
    """What feedback has to fit."""

    at: datetime
    suggestions: frozenset[str]


class StoredEvent(NamedTuple):
    """An event and its place in the log, the cursor for readers."""

    seq: int
    event: AnyEvent


class _CardParts(msgspec.Struct, gc=False):
    suggestions: list[str] = []
    invocation: str | None = None


_card_parts = msgspec.json.Decoder(_CardParts)


class _CardRate:
    """The last eligible opens of one service, kept up to date from the log by its sequence."""

    def __init__(self, last: int) -> None:
        self.last = last
        self.seq = 0
        self.opens = 0
        self.cards = 0
        self._kinds: deque[int] = deque()

    def add(self, seq: int, kind: int) -> None:
        self.seq = seq
        self._kinds.append(kind)
        self.opens += kind < 3
        self.cards += kind > 1
        while self.opens > self.last:
            gone = self._kinds.popleft()
            self.opens -= gone < 3
            self.cards -= gone > 1


def open_store(path: Path, *, busy_ms: int = BUSY_MS) -> "EventStore":
    """Open the store, or make it where there never was one.

    Args:
        path: The database file, such as ``var/events/events.db``; its folder is made with mode 0700.
        busy_ms: How long a commit waits for another writer before it fails.

    Raises:
        SettingsError: The folder belongs to somebody else, is open to others, or lies on a network file system.
        StoreUnavailable: The file is missing although it was here, damaged, foreign, or can't be written.
    """
    lock = open_file(path)
    reading = None
    try:
        reading = connect(path, busy_ms=busy_ms, read_only=True)
        reading.execute("SELECT seq FROM event LIMIT 1").fetchall()
        reading.execute("SELECT until FROM used_token LIMIT 1").fetchall()
        writer = Writer(path, partial(connect, path, busy_ms=busy_ms))
    except (sqlite3.Error, OSError) as failure:
        if reading is not None:
            reading.close()
        lock.close()
        raise StoreUnavailable(disk_fault(path, failure, "open")) from None
    return EventStore(path, lock, reading, writer)


class EventStore:
    """Made by :func:`open_store`."""

    def __init__(self, path: Path, lock: Lock, reading: sqlite3.Connection, writer: Writer) -> None:
        self.path = path
        self._lock = lock
        self._reading = reading
        self._writer = writer
        self._rates: dict[tuple[str | None, str], _CardRate] = {}

    @property
    def ready(self) -> bool:
        """Whether the last commit was kept; before the first one, yes."""
        return not self._writer.failed

    async def append(self, events: Sequence[AnyEvent], replay: UsedToken | None = None) -> tuple[int, ...]:
        """Keep events: all of them or none, on disk when this returns.

        Args:
            events: Any number. One that is in the store already (by its id) is not stored again.
            replay: The token by which they came, which may be used once: the events are kept together with that it
                was, in one transaction. Without events it is kept alone.

        Returns:
            Their sequence numbers; for a repeat, the number that it has.

        Raises:
            StoreUnavailable: They can't be kept now. Nothing may be acknowledged; the caller may try again.
            TokenUsed: The token was used before, here or by another process on this store; nothing is kept.
            msgspec.ValidationError: A field breaks the schema: a fault of our own code, and nothing is stored.
        """
        if not events and replay is None:
            return ()
        loop = asyncio.get_running_loop()
        append = Append(_rows(events), loop.create_future(), loop, token=replay)
        self._writer.put(append)
        seqs: tuple[int, ...] = await append.future
        return seqs

    def append_and_wait(self, events: Sequence[AnyEvent], timeout_s: float = 30.0) -> tuple[int, ...]:
        """:meth:`append` for callers without an event loop: commands and tests."""
        if not events:
            return ()
        future: Future[tuple[int, ...]] = Future()
        self._writer.put(Append(_rows(events), future))
        return future.result(timeout_s)

    def history(self, tenant: str | None, service: str, patient: str, since: datetime) -> tuple[ShownCard, ...]:
        """The cards that a service made for a patient since a moment, oldest first, each with its last outcome."""
        found = self._look_up(_HISTORY, (patient, microseconds(since), tenant, service))
        cards: dict[str, ShownCard] = {}
        for card, at, kind, outcome, outcome_at, body in found:
            said_at = None if outcome_at is None else _moment(outcome_at)
            invocation = _card_parts.decode(body).invocation
            cards[card] = ShownCard(card, _moment(at), kind, outcome, said_at, invocation)
        return tuple(cards.values())

    def find_card(self, tenant: str | None, service: str, card: str) -> CardKnown | None:
        """The card that this service made for this tenant, or None: another tenant's card is as unknown as no card."""
        found = self._look_up(_CARD, (card, tenant, service))
        if not found:
            return None
        at, body = found[0]
        return CardKnown(_moment(at), frozenset(_card_parts.decode(body).suggestions))

    def opens_and_cards(self, tenant: str | None, service: str, last: int) -> tuple[int, int]:
        """Count the newest eligible opens of a service, at most *last*, and the cards made in them, a rule's too.

        An open that was excluded by age, diagnosis and the like is no eligible one (``table.NOT_ELIGIBLE``).
        """
        rate = self._rates.get((tenant, service))
        if rate is None or rate.last != last:
            rate = self._rates[tenant, service] = _CardRate(last)
            newest = self._look_up(f"{_LAST_OPENED} LIMIT ?", (service, tenant, 2 * last))
            for seq, kind in reversed(newest):
                rate.add(seq, kind)
        else:
            for seq, kind in self._look_up(_OPENED, (service, tenant, rate.seq)):
                rate.add(seq, kind)
        return rate.opens, rate.cards

    def read(self, after_seq: int, limit: int) -> list[StoredEvent]:
        """The events after a sequence number, in sequence: the cursor of every later reader.

        Raises:
            StoreUnavailable: A row is damaged; the text names its number. It is never skipped.
        """
        return [self._whole(seq, stored) for seq, *stored in self._look_up(READ, (after_seq, limit))]

    def read_all(self, chunk: int = 1000) -> Iterator[StoredEvent]:
        """Every event in sequence, read in pieces so that no long read holds the journal back."""
        seq = 0
        while events := self.read(seq, chunk):
            yield from events
            seq = events[-1].seq

    def query(self, statement: str) -> list[Any]:
        """Ask the table something that reads it whole (``table.py`` says what is in it); for counts, not for chart opens."""
        return self._look_up(statement, ())

    def close(self) -> None:
        """Write what is queued and let go of the file; twice is once."""
        self._writer.close()
        self._reading.close()
        self._lock.close()

    def _look_up(self, statement: str, values: tuple[object, ...]) -> list[Any]:
        try:
            return self._reading.execute(statement, values).fetchall()
        except sqlite3.Error as failure:
            raise StoreUnavailable(disk_fault(self.path, failure, "read")) from None

    def _whole(self, seq: int, stored: list[Any]) -> StoredEvent:
        what = "does not match its checksum"
        if is_whole(stored):
            try:
                return StoredEvent(seq, decode(stored[-1]))
            except msgspec.DecodeError:
                what = "is no event that this version reads"
        raise StoreUnavailable(Fault(str(self.path), f"event {seq} {what}", RESTORE))


def _rows(events: Sequence[AnyEvent]) -> list[Row]:
    for event in events:
        hold_to_schema(event)
    return [row(event) for event in events]


def _moment(microseconds_: int) -> datetime:
    return _EPOCH + timedelta(microseconds=microseconds_)
