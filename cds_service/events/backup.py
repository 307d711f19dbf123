"""A backup of the state folder, taken beside a running service: copied, checked, sealed, read back, then named (SEC-114).

It holds the event store as of one moment, the audit log, and the small files that the caller names; never a key. Its copy
lies unsealed beside the store until it is sealed, and nowhere else.
"""

import fcntl
import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from cds_service.errors import Fault, SettingsError, StoreUnavailable
from cds_service.events.audit_check import Verified, verify
from cds_service.events.audit_entry import segments
from cds_service.events.backup_archive import FileSum, Manifest, count_rows, pack, unpack
from cds_service.events.database import RESTORE, is_sound
from cds_service.events.disk import refuse_full_disk
from cds_service.events.forgetting import Tombstones, read_tombstones
from cds_service.events.forgotten_list import add_to_list
from cds_service.events.maintaining import maintained

__all__ = ["Made", "Source", "make_backup", "over"]

_NAME: Final = re.compile(r"backup-([0-9]{8})T[0-9]{6}Z-[0-9a-f]{16}\.cds")


@dataclass(frozen=True, slots=True)
class Source:
    """What goes into a backup."""

    store: Path
    """The event store's database file."""
    audit: Path
    """The audit folder."""
    files: Mapping[str, Path]
    """Further small files by their name in the backup; one that is not there is left out."""
    pseudonym_key: str
    """The fingerprint of the key by which the store's pseudonyms were made."""


@dataclass(frozen=True, slots=True)
class Made:
    """A backup that was read back."""

    path: Path
    manifest: Manifest
    removed: int
    """Older ones that went."""


def make_backup(source: Source, folder: Path, *, key: bytes, now: datetime, generations: int, days: int) -> Made:
    """Make one backup, bring the list of who is left out up to date, and let the oldest go.

    Args:
        source: What to copy.
        folder: An existing folder on another disk.
        key: What seals it.
        now: The moment now, for the name.
        generations: How many of the newest stay.
        days: For how many days, counted by those that have one, the last one of the day stays too.

    Raises:
        SettingsError: The folder is not there, lies in the state folder, or another backup is being made.
        StoreUnavailable: The store or the copy is damaged, a disk is full or fails. There is no new backup then, and
            all older ones stay.
    """
    with _alone(source, folder):
        refuse_full_disk(source.store.parent, "a backup")
        try:
            with _fresh_folder(source.store.parent) as copy:
                manifest, tombstones = _copy(source, copy, now)
                path = _seal(copy, folder, manifest, key)
            add_to_list(folder, tombstones)
            gone = over([one.name for one in folder.iterdir()], generations=generations, days=days)
            for name in gone:
                (folder / name).unlink()
        except OSError as failure:
            raise StoreUnavailable(
                Fault(str(folder), f"the backup can't be made ({failure.strerror})", "Look at both disks")
            ) from None
    return Made(path, manifest, len(gone))


def over(names: list[str], *, generations: int, days: int) -> list[str]:
    """Say which backups may go: neither among the newest ones nor the last of a day that still counts.

    >>> over(["backup-20260601T000000Z-0123456789abcdef.cds", "notes.txt"], generations=3, days=7)
    []
    """
    backups = sorted((name for name in names if _NAME.fullmatch(name)), reverse=True)
    last_of_day: dict[str, str] = {}
    for name in backups:
        last_of_day.setdefault(name[len("backup-") :][:8], name)
    kept = {*backups[:generations], *list(last_of_day.values())[:days]}
    return [name for name in backups if name not in kept]


@contextmanager
def _alone(source: Source, folder: Path) -> Iterator[None]:
    if not folder.is_dir():
        raise SettingsError(Fault(str(folder), "there is no such folder", "Mount it, or name another in backup_folder"))
    if folder.resolve().is_relative_to(source.store.parent.parent.resolve()):
        raise SettingsError(Fault(str(folder), "it lies in the state folder", "Name a folder on another disk"))
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SettingsError(Fault(str(folder), "another backup is being made", "Let it end")) from None
        yield
    finally:
        os.close(handle)


@contextmanager
def _fresh_folder(beside: Path) -> Iterator[Path]:
    for left in beside.glob(".backup-*"):
        shutil.rmtree(left)  # of a backup that was killed
    copy = Path(tempfile.mkdtemp(dir=beside, prefix=".backup-"))
    try:
        yield copy
    finally:
        shutil.rmtree(copy)


def _copy(source: Source, copy: Path, now: datetime) -> tuple[Manifest, Tombstones]:
    database = copy / "events" / "events.db"
    database.parent.mkdir(mode=0o700)
    os.close(os.open(database, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    with maintained(source.store, "be copied") as reading:
        writing = sqlite3.connect(database, isolation_level=None)
        try:
            reading.backup(writing)
            writing.execute("PRAGMA journal_mode = DELETE").fetchall()
            if not is_sound(writing, every_row=True):
                raise StoreUnavailable(
                    Fault(str(source.store), "the event store is damaged, and no backup was made", RESTORE)
                )
            rows, last_seq = count_rows(writing)
            tombstones = read_tombstones(writing)
        finally:
            writing.close()
    _copy_audit(source.audit, copy / "audit")
    chain = verify(copy / "audit")
    for name, path in source.files.items():
        if path.exists():
            shutil.copyfile(path, copy / name)
    files = sorted(path for path in copy.rglob("*") if path.is_file())
    manifest = Manifest(
        made=now,
        rows=rows,
        last_seq=last_seq,
        audit_entries=chain.entries if isinstance(chain, Verified) else 0,
        audit_holds=isinstance(chain, Verified) or not segments(copy / "audit"),
        pseudonym_key=source.pseudonym_key,
        files={path.relative_to(copy).as_posix(): FileSum.of(path) for path in files},
    )
    return manifest, tombstones


def _copy_audit(folder: Path, copy: Path) -> None:
    """Copy the chain between two entries; a line that a crash had cut short stays behind."""
    copy.mkdir(mode=0o700)
    if not folder.exists():
        return
    handle = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH)
        for path in segments(folder):
            content = path.read_bytes()
            (copy / path.name).write_bytes(content[: content.rfind(b"\n") + 1])
    finally:
        os.close(handle)


def _seal(copy: Path, folder: Path, manifest: Manifest, key: bytes) -> Path:
    """Write the sealed file, read it back as a restore would, and give it its name: when, and the hash of its bytes."""
    for left in folder.glob(".backup-*"):
        left.unlink()  # of a backup that was killed
    handle, name = tempfile.mkstemp(dir=folder, prefix=".backup-")
    fresh = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            pack(copy, manifest, file, key)
            file.flush()
            os.fsync(file.fileno())
        if unpack(fresh, key) != manifest:
            raise StoreUnavailable(Fault(str(folder), "the backup reads back as another", "Look at this disk"))
        path = folder / f"backup-{manifest.made:%Y%m%dT%H%M%SZ}-{FileSum.of(fresh).sha256[:16]}.cds"
        fresh.rename(path)
    finally:
        fresh.unlink(missing_ok=True)
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
    return path
