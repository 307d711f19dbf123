"""Open the store's file, or say why not: whose it is, who may read it, on what disk it lies, whether it is whole.

What may never happen is a fresh, empty store beside a lost old one (F15), or a shorter history that nobody hears
of (F13). A small file beside the database, ``….lock``, is held shared by every process that has the store open; the
first one holds it alone while it checks, and it stays as the mark that here a store once was.
"""

import fcntl
import os
import shutil
import sqlite3
import stat
import time
from pathlib import Path
from typing import Final

from cds_service.errors import Fault, SettingsError, StoreUnavailable
from cds_service.events.database import RESTORE, connect, disk_fault, is_sound
from cds_service.events.journal import read_journal
from cds_service.events.left_out import CREATE_LEFT_OUT
from cds_service.events.table import APPLICATION_ID, CREATE, FORMAT
from cds_service.events.used_tokens import CREATE_TOKENS

__all__ = ["Lock", "open_file"]

IN_USE: Final = b"an event store lives beside this file and is in use\n"
CLOSED: Final = b"an event store lives beside this file and was closed\n"
LOCK_WAIT_S: Final = 60.0
"""So long a second worker waits while the first one checks the file."""
FULL_CHECK_BYTES: Final = 32 * 1024 * 1024
"""Files up to this size are checked row by row at each start (0.2 s); of larger ones only the structure is."""
_NETWORK_FILE_SYSTEMS: Final = {
    0x6969: "NFS",
    0x517B: "SMB",
    0xFF534D42: "CIFS",
    0xFE534D42: "SMB2",
    0x65735546: "FUSE",
}
"""``statfs`` magic numbers (linux/magic.h): SQLite's journal needs shared memory and honest locks (F16)."""
_OVERLAY: Final = 0x794C7630
"""A container's own layer: safe for SQLite, and gone with the container."""


class Lock:
    """The ``….lock`` file, held by every process that has the store open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def _take(self, kind: int) -> bool:
        try:
            fcntl.flock(self._handle, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def enter(self) -> bool:
        """Wait until the lock is held alone (True: nobody else has the store open) or shared (somebody checked it).

        Raises:
            StoreUnavailable: Another process checks the store for longer than a minute.
        """
        until = time.monotonic() + LOCK_WAIT_S
        while time.monotonic() < until:
            if self._take(fcntl.LOCK_EX):
                return True
            if self._take(fcntl.LOCK_SH):
                return False
            time.sleep(0.01)
        raise StoreUnavailable(Fault(str(self.path), "another process holds the event store alone", "Let it end"))

    def share(self) -> None:
        """Let others in after the check."""
        while not self._take(fcntl.LOCK_SH):
            time.sleep(0.01)  # changing a lock is not atomic: one that came between checks the same file again

    @property
    def mark(self) -> bytes:
        """What the last holder wrote: nothing before there was a store, :data:`IN_USE`, or :data:`CLOSED`."""
        return os.pread(self._handle, 64, 0)

    def write_mark(self, mark: bytes) -> None:
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, mark, 0)

    def close(self) -> None:
        """Let go; the last one to go says that the store was closed in order."""
        if self._handle >= 0 and self.mark == IN_USE and self._take(fcntl.LOCK_EX):
            self.write_mark(CLOSED)
        handle, self._handle = self._handle, -1
        if handle >= 0:
            os.close(handle)


def _prepare_folder(path: Path) -> None:
    folder = path.parent
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        status = folder.stat()
    except OSError as failure:
        raise SettingsError(
            Fault(
                str(folder),
                f"the event store's folder can't be used ({failure.strerror})",
                "Name a folder of the service's user in state",
            )
        ) from None
    if status.st_uid != os.geteuid():
        raise SettingsError(
            Fault(
                str(folder),
                f"the folder belongs to user {status.st_uid}, the service runs as {os.geteuid()}",
                "Change its owner",
            )
        )
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise SettingsError(
            Fault(
                str(folder),
                f"others may enter the folder (mode {stat.S_IMODE(status.st_mode):04o})",
                "Run chmod 700 on it",
            )
        )
    file_system = _file_system(folder)
    if file_system == _OVERLAY:
        _warn("store_on_overlay", folder, 0)
    name = _NETWORK_FILE_SYSTEMS.get(file_system)
    if name is not None:
        raise SettingsError(
            Fault(str(folder), f"the event store lies on a network file system ({name})", "Put state on a local disk")
        )


def _file_system(folder: Path) -> int:
    """The ``statfs`` magic number of the file system under a folder; 0 where the platform does not tell."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if not hasattr(libc, "statfs"):
        return 0
    buffer = (ctypes.c_long * 64)()
    if libc.statfs(os.fsencode(folder), ctypes.byref(buffer)) != 0:
        return 0
    return int(buffer[0]) & 0xFFFFFFFF


def _create(path: Path) -> None:
    """Make an empty store under another name and move it into place whole, so that a kill leaves none or a good one."""
    fresh = path.with_name(f".{path.name}.new")
    for leftover in (
        fresh,
        fresh.with_name(f"{fresh.name}-wal"),
        fresh.with_name(f"{fresh.name}-shm"),
        fresh.with_name(f"{fresh.name}-journal"),
    ):
        leftover.unlink(missing_ok=True)
    os.close(os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    connection = sqlite3.connect(fresh, isolation_level=None)
    try:
        connection.executescript(CREATE)
        connection.execute("PRAGMA journal_mode = WAL").fetchall()
    finally:
        connection.close()
    fresh.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def open_file(path: Path) -> Lock:
    """Check the store's file, or make it where there never was one, and hold its lock.

    Raises:
        SettingsError: The folder is not the service's own, is open to others, or lies on a network file system.
        StoreUnavailable: The file is missing, damaged, foreign, of a newer version, or can't be written.
    """
    _prepare_folder(path)
    try:
        lock = Lock(path.with_name(f"{path.name}.lock"))
    except OSError as failure:
        raise StoreUnavailable(disk_fault(path, failure, "open")) from None
    try:
        if lock.enter():
            _check(path, lock.mark)
            lock.write_mark(IN_USE)
            lock.share()
    except (sqlite3.Error, OSError) as failure:
        lock.close()
        raise StoreUnavailable(disk_fault(path, failure, "open")) from None
    except BaseException:
        lock.close()
        raise
    return lock


def _check(path: Path, mark: bytes) -> None:
    if not path.exists():
        if mark:
            raise StoreUnavailable(
                Fault(str(path), "the event store was here and its database file is gone",
                      f"Restore it from the last backup, or remove {path.name}.lock to begin an empty one")
            )  # fmt: skip
        _create(path)
    if path.stat().st_uid != os.geteuid():
        raise StoreUnavailable(
            Fault(str(path), f"the file belongs to user {path.stat().st_uid}", "Change its owner to the service's user")
        )
    path.chmod(0o600)
    _check_journal(path.with_name(f"{path.name}-wal"), was_cut_short=mark == IN_USE)
    connection = connect(path)
    try:
        _check_contents(path, connection)
    finally:
        connection.close()


def _check_journal(path: Path, *, was_cut_short: bool) -> None:
    """Refuse a journal that is damaged in its middle; say loudly when its end can't be read, or when it is gone.

    Its end: the last commit was cut short by a power failure and acknowledged to nobody, or it is damaged. Nobody can
    tell which, so the journal is kept beside the store.
    """
    if was_cut_short and not path.exists():
        _warn("journal_missing", path, 0)
    journal = read_journal(path)
    if journal.unreadable_commits > 1:
        raise StoreUnavailable(
            Fault(
                str(path),
                f"the journal is damaged, and {journal.unreadable_commits} commits from there on can't be read",
                RESTORE,
            )
        )
    if journal.is_cut:
        for older in path.parent.glob(f"{path.name}.cut-*"):
            older.unlink()
        kept = path.with_name(f"{path.name}.cut-{time.time_ns()}")
        shutil.copyfile(path, kept)
        kept.chmod(0o600)
        _warn("journal_cut", kept, journal.commits)


def _warn(event: str, path: Path, commits: int) -> None:
    import structlog  # its import takes longer than opening a store

    structlog.get_logger().warning(event, file=str(path), count=commits)


def _check_contents(path: Path, connection: sqlite3.Connection) -> None:
    application = connection.execute("PRAGMA application_id").fetchone()[0]
    version = connection.execute("PRAGMA user_version").fetchone()[0]
    if application != APPLICATION_ID:
        raise StoreUnavailable(
            Fault(str(path), "this is an SQLite file, but no event store of ours", "Name another place in state")
        )
    if version > FORMAT:
        raise StoreUnavailable(
            Fault(
                str(path),
                f"the event store has format {version}, this version reads {FORMAT}",
                "Install the newer version",
            )
        )
    connection.execute("PRAGMA journal_mode = WAL").fetchall()
    whole = path.stat().st_size <= FULL_CHECK_BYTES
    if not is_sound(connection, every_row=whole):
        raise StoreUnavailable(Fault(str(path), "the event store is damaged", RESTORE))
    if version < FORMAT:
        connection.executescript(
            f"BEGIN IMMEDIATE; {CREATE_TOKENS} {CREATE_LEFT_OUT} PRAGMA user_version = {FORMAT}; COMMIT;"
        )
    connection.execute("BEGIN IMMEDIATE")  # a read-only disk or a foreign lock shows here, not at the first event
    connection.execute("ROLLBACK")
