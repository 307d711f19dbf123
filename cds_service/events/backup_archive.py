"""What is in a backup: a tar of plain files, the manifest first, inside a sealed file (``sealed_file.py``)."""

import hashlib
import io
import sqlite3
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, Final, cast

import msgspec

from cds_service.errors import Fault, StoreUnavailable
from cds_service.events.schema import Count, Moment
from cds_service.events.sealed_file import SealingWriter, opened_pieces

__all__ = ["FileSum", "Manifest", "count_rows", "pack", "same_rows", "unpack"]

MANIFEST: Final = "manifest.json"
_CHUNK: Final = 1024 * 1024
_TABLES: Final = ("event", "used_token", "forgotten_patient", "forgotten_card")


class FileSum(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a file must be."""

    sha256: str
    bytes: int

    @classmethod
    def of(cls, path: Path) -> "FileSum":
        """Of a file as it is on disk."""
        with path.open("rb") as file:
            return cls(hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size)


class Manifest(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a backup says of itself, and what a restored place is held to."""

    format: int = 1
    made: Moment
    rows: dict[str, Count]
    """By table of the event store."""
    last_seq: Count
    """The newest number in the log."""
    audit_entries: Count
    audit_holds: bool
    """Whether the chain held; a broken one is copied as it is, and keeps no event from its backup."""
    pseudonym_key: str
    """The fingerprint of the key by which the pseudonyms were made; the key itself is not here."""
    files: dict[str, FileSum]


def count_rows(connection: sqlite3.Connection) -> tuple[dict[str, int], int]:
    """Count the rows of each table; with the newest number in the log."""
    rows = {name: connection.execute(f"SELECT count(*) FROM {name}").fetchone()[0] for name in _TABLES}  # noqa: S608
    return rows, connection.execute("SELECT coalesce(max(seq), 0) FROM event").fetchone()[0]


def pack(folder: Path, manifest: Manifest, file: BinaryIO, key: bytes) -> None:
    """Write the files of a folder that the manifest names, sealed."""
    sealing = SealingWriter(file, key)
    with tarfile.open(fileobj=cast("IO[bytes]", sealing), mode="w|", bufsize=_CHUNK) as tar:
        written = msgspec.json.encode(manifest)
        tar.addfile(_member(MANIFEST, len(written)), io.BytesIO(written))
        for name, sums in manifest.files.items():
            with (folder / name).open("rb") as content:
                tar.addfile(_member(name, sums.bytes), content)
    sealing.finish()


def unpack(path: Path, key: bytes, into: Path | None = None) -> Manifest:
    """Read a backup to its end and hold every file to the manifest.

    Args:
        path: The sealed file.
        key: What it was sealed with.
        into: An empty folder for the files; None: they are only read.

    Raises:
        SettingsError: Another key.
        StoreUnavailable: It is no backup of this version, or not whole.
    """
    pieces = opened_pieces(path, key)
    try:
        with tarfile.open(fileobj=cast("IO[bytes]", _Reader(pieces)), mode="r|", bufsize=_CHUNK) as tar:
            manifest: Manifest | None = None
            found: dict[str, FileSum] = {}
            for member in tar:
                content = tar.extractfile(member)
                if content is None:
                    raise _not_whole(path, "it holds something that is no file")
                if manifest is None:
                    manifest = msgspec.json.decode(content.read(), type=Manifest)
                    continue
                if member.name not in manifest.files or not _is_plain(member.name):
                    raise _not_whole(path, "it holds a file that its manifest does not name")
                found[member.name] = _take(content, None if into is None else into / member.name)
        for _ in pieces:
            pass  # to the end, so that a cut end is seen
    except (tarfile.TarError, msgspec.DecodeError) as fault:
        raise _not_whole(path, f"its contents can't be read ({type(fault).__name__})") from None
    if manifest is None or found != manifest.files:
        raise _not_whole(path, "its files are not those of its manifest")
    return manifest


class _Reader:
    """The pieces as one file to read from."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._held = bytearray()

    def read(self, size: int) -> bytes:
        while len(self._held) < size:
            piece = next(self._pieces, None)
            if piece is None:
                break
            self._held += piece
        taken = bytes(self._held[:size])
        del self._held[:size]
        return taken


def _take(content: IO[bytes], to: Path | None) -> FileSum:
    sums, size = hashlib.sha256(), 0
    target: IO[bytes] | None = None
    if to is not None:
        to.parent.mkdir(mode=0o700, exist_ok=True)
        target = to.open("xb")
        to.chmod(0o600)
    try:
        while chunk := content.read(_CHUNK):
            sums.update(chunk)
            size += len(chunk)
            if target is not None:
                target.write(chunk)
    finally:
        if target is not None:
            target.close()
    return FileSum(sums.hexdigest(), size)


def _is_plain(name: str) -> bool:
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts and len(path.parts) <= 2


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o600
    return member


def _not_whole(path: Path, what: str) -> StoreUnavailable:
    return StoreUnavailable(Fault(str(path), what, "Take another copy"))


def same_rows(manifest: Manifest, found: tuple[Mapping[str, int], int]) -> bool:
    """Whether a store has as many rows of each kind as the backup had."""
    return (dict(found[0]), found[1]) == (manifest.rows, manifest.last_seq)
