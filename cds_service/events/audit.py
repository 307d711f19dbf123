"""Who did what to the service itself: appends to the chain that ``audit_entry.py`` describes (SEC-100 to SEC-104).

There is no function that changes or deletes an entry; whole years go when their time is over (``expiring.py``), and the
chain says so.
"""

import errno
import fcntl
import hashlib
import os
import pwd
import re
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec

from cds_service.errors import CdsServiceError, Fault, StoreUnavailable
from cds_service.events.audit_entry import START, Actor, Entry, Result, Verb, decode_entry, read_lines, seal, segments

__all__ = ["AuditLog", "Clocks", "Noted", "operator_actor", "service_actor"]

STEP_S: Final = 5.0
"""A clock that moved by more than this against the time since boot was set (SEC-103)."""


@dataclass(slots=True)
class Noted:
    """What a running action has to tell at its end."""

    counts: dict[str, int] = field(default_factory=dict)
    patients: tuple[str, ...] = ()


class Clocks(NamedTuple):
    """What time it is, and what no operator can set."""

    now: Callable[[], datetime]
    since_boot_s: Callable[[], float]
    boot: str
    """A hash of the machine's boot id."""


def _system_clocks() -> Clocks:
    """The machine's own; a container's boot is its host's."""
    boot_id = Path("/proc/sys/kernel/random/boot_id")
    name = boot_id.read_bytes() if boot_id.exists() else b"unknown"
    return Clocks(
        lambda: datetime.now(UTC),
        lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
        hashlib.sha256(name).hexdigest()[:16],
    )


def operator_actor() -> Actor:
    """Who runs this command: the user of the operating system, and who became it with sudo."""
    via = os.environ.get("SUDO_USER")
    return Actor(_user(), "operator", None if via is None else _label(via), _label(socket.gethostname()))


def service_actor() -> Actor:
    """The running service itself."""
    return Actor(_user(), "service", None, _label(socket.gethostname()))


def _user() -> str:
    try:
        return _label(pwd.getpwuid(os.getuid()).pw_name)
    except KeyError:
        return f"uid-{os.getuid()}"  # a container's user often has no name


def _label(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", text).strip("._-")[:64] or "unnamed"


class AuditLog:
    """Appends to the chain of one state folder; several processes may.

    Args:
        folder: ``audit`` under the state folder; made with mode 0700 at the first entry.
        actor: Who acts in this process.
        clocks: The machine's by default.
    """

    def __init__(self, folder: Path, actor: Actor, clocks: Clocks | None = None) -> None:
        self.folder = folder
        self._actor = actor
        self._clocks = clocks or _system_clocks()

    def write(
        self,
        did: Verb,
        *,
        on: str | None = None,
        patients: tuple[str, ...] = (),
        result: Result = "done",
        counts: Mapping[str, int] | None = None,
        settings: Mapping[str, str] | None = None,
        changed: tuple[str, ...] = (),
        before: str | None = None,
    ) -> Entry:
        """Append one entry, on disk when this returns; before it, that the clock was set since the last one.

        Args:
            did: The verb; the rest as in :class:`Entry`.
            on: To what, as ``object_name`` writes it.
            patients: Pseudonyms.
            result: How it ended, or that it begins.
            counts: By name.
            settings: Short hashes of values, by setting.
            changed: Settings that are new.
            before: Of an expiry: the hash of the last entry that goes.

        Raises:
            StoreUnavailable: It can't be written, or what stands there is damaged. What was to be audited must not
                happen.
            msgspec.ValidationError: A field breaks its shape: a fault of our own code.
        """
        fields = {
            "on": on, "patients": patients, "result": result, "counts": dict(counts or {}),
            "settings": dict(settings or {}), "changed": changed, "before": before,
        }  # fmt: skip
        with self._held() as chain:
            self._note_disturbance(chain)
            return chain.append(partial(self._entry, did, fields))

    def note_clock(self) -> Entry | None:
        """Append an entry where the clock was set since the last one."""
        if not segments(self.folder):
            return None
        with self._held() as chain:
            return self._note_disturbance(chain)

    def last(self, did: Verb) -> Entry | None:
        """The newest entry of one verb.

        Raises:
            StoreUnavailable: A line before it is damaged.
        """
        for path in reversed(segments(self.folder)):
            for line in reversed(list(read_lines(path.read_bytes()))):
                if line is None:
                    raise damaged(path)
                entry: Entry = decode_entry(line.entry)
                if entry.did == did:
                    return entry
        return None

    @contextmanager
    def action(self, did: Verb, *, on: str | None = None, patients: tuple[str, ...] = ()) -> Iterator[Noted]:
        """Frame an action: that it begins is on disk before it does, and how it ended before anybody is told.

        Yields:
            Where the action puts its counts.
        """
        self.write(did, on=on, patients=patients, result="begun")
        noted = Noted(patients=patients)
        try:
            yield noted
        except BaseException as failure:
            result: Result = "refused" if isinstance(failure, CdsServiceError) else "failed"
            self.write(did, on=on, patients=noted.patients, counts=noted.counts, result=result)
            raise
        self.write(did, on=on, patients=noted.patients, counts=noted.counts, result="done")

    def _note_disturbance(self, chain: "_Chain") -> Entry | None:
        """Append what happened to the log or the clock since the last entry; the clock's entry, if there is one."""
        if chain.torn_bytes:
            chain.append(partial(self._entry, "tail_repaired", {"counts": {"bytes": chain.torn_bytes}}))
            chain.torn_bytes = 0
        step_s = 0.0 if chain.last is None else self._step_s(chain.last)
        if abs(step_s) <= STEP_S:
            return None
        return chain.append(partial(self._entry, "clock_stepped", {"step_s": round(step_s, 3)}))

    def _step_s(self, last: Entry) -> float:
        passed = (self._clocks.now() - last.at).total_seconds()
        if last.boot == self._clocks.boot:
            return passed - (self._clocks.since_boot_s() - last.since_boot_s)
        return min(passed, 0.0)  # the machine was off for an unknown time, but time did not run backwards

    @contextmanager
    def _held(self) -> Iterator["_Chain"]:
        """Hold the chain alone."""
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(self.folder, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                yield _Chain(self.folder, handle)
            finally:
                os.close(handle)
        except OSError as failure:
            raise StoreUnavailable(
                Fault(
                    str(self.folder),
                    f"the audit log can't be written ({failure.strerror}), so nothing was done",
                    "Free space, or give the service's user write access",
                )
            ) from None

    def _entry(self, did: Verb, fields: Mapping[str, Any], seq: int) -> bytes:
        entry = Entry(
            seq=seq, at=self._clocks.now(), since_boot_s=round(self._clocks.since_boot_s(), 3), boot=self._clocks.boot,
            did=did, **{"result": "done", **fields}, **self._actor._asdict(),
        )  # fmt: skip
        written = msgspec.json.encode(entry)
        decode_entry(written)  # msgspec holds an entry to its shapes when it reads
        return written


class _Chain:
    """The files, while nobody else may write; knows its last entry."""

    def __init__(self, folder: Path, handle: int) -> None:
        self._folder = folder
        self._handle = handle
        self.last: Entry | None = None
        self.hash = START
        self.torn_bytes = 0
        any(map(self._finds_end, reversed(segments(folder))))

    def _finds_end(self, path: Path) -> bool:
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        self.torn_bytes += len(content) - whole
        before: bytes | None = None
        for line in read_lines(content[:whole]):
            if line is None or (before is not None and not line.follows(before)):
                raise damaged(path)
            before = bytes.fromhex(line.hash)
            self.last, self.hash = decode_entry(line.entry), before
        if whole < len(content):
            os.truncate(path, whole)  # a write that was cut short: nobody was told that it was done
        return before is not None

    def append(self, make: Callable[[int], bytes]) -> Entry:
        """Write one entry and wait for the disk; a failed write leaves the file as it was."""
        written = make(self.last.seq + 1 if self.last is not None else 1)
        entry: Entry = decode_entry(written)
        hash_ = seal(self.hash, written)
        files = segments(self._folder)
        path = max([self._folder / f"audit-{entry.at.year:04}.jsonl", *files[-1:]])
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(file).st_size
            line = b'{"entry":%s,"hash":"%s"}\n' % (written, hash_.encode())
            try:
                _write_whole(file, line)
                os.fsync(file)
            except OSError:
                os.ftruncate(file, size)
                raise
        finally:
            os.close(file)
        if path not in files:
            os.fsync(self._handle)
        self.last, self.hash = entry, bytes.fromhex(hash_)
        return entry


def _write_whole(file: int, line: bytes) -> None:
    if os.write(file, line) != len(line):  # a disk that fills up takes a part of it
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def damaged(path: Path) -> StoreUnavailable:
    """What is said where the chain does not hold: no action goes on top of it (F80)."""
    return StoreUnavailable(
        Fault(str(path), "the audit log is damaged", "Run cds-service audit verify, which names the first broken entry")
    )
