"""A file that only the holder of a key can read or change: AES-256-GCM over pieces, so that size does not matter (SEC-111).

Header: one line of JSON, which names the key by its fingerprint. Then pieces of 1 MiB, each with its own nonce (seven
random bytes, a counter of four, and one byte that is 1 on the last piece) and the header as associated data: a piece that
is changed, missing, doubled or out of order, and an end that was cut off, do not open (Hoang, Reyhanitabar, Rogaway &
Vizár 2015, STREAM). Each file has its own key, derived from the one on file with a random salt (RFC 5869).
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from cds_service.errors import Fault, SettingsError, StoreUnavailable

__all__ = ["SealingWriter", "fingerprint", "key_named", "opened_pieces"]

PIECE: Final = 1024 * 1024
_TAG: Final = 16
_HEADER_MAX: Final = 4096


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sealed_file: int
    """The format: 1."""
    key: str
    salt: str
    nonce: str


def fingerprint(key: bytes) -> str:
    """Name a key without saying anything of it: 16 hexadecimal digits."""
    return hashlib.sha256(b"cds-service key\x00" + key).hexdigest()[:16]


class SealingWriter:
    """A binary file to write to; :meth:`finish` ends it, and without that it can't be opened."""

    def __init__(self, file: BinaryIO, key: bytes) -> None:
        salt, self._nonce = os.urandom(16), os.urandom(7)
        self._header = msgspec.json.encode(_Header(1, fingerprint(key), salt.hex(), self._nonce.hex())) + b"\n"
        self._cipher = _cipher(key, salt)
        self._file = file
        self._held = bytearray()
        self._count = 0
        file.write(self._header)

    def write(self, content: bytes) -> int:
        """Take more; a piece is written when it is full and more follows."""
        self._held += content
        while len(self._held) > PIECE:
            self._seal(bytes(self._held[:PIECE]), last=False)
            del self._held[:PIECE]
        return len(content)

    def finish(self) -> None:
        """Write the last piece."""
        self._seal(bytes(self._held), last=True)

    def _seal(self, piece: bytes, *, last: bool) -> None:
        self._file.write(self._cipher.encrypt(_nonce(self._nonce, self._count, last=last), piece, self._header))
        self._count += 1


def key_named(path: Path) -> str:
    """The fingerprint of the key that a file was sealed with.

    Raises:
        StoreUnavailable: It is no sealed file.
    """
    with path.open("rb") as file:
        return _read_header(path, file)[0].key


def opened_pieces(path: Path, key: bytes) -> Iterator[bytes]:
    """Read a file piece by piece; each is given out only after it proved to be whole and in its place.

    Raises:
        SettingsError: It was sealed with another key.
        StoreUnavailable: It is no sealed file, or it was changed, damaged or cut.
    """
    with path.open("rb") as file:
        header, line = _read_header(path, file)
        if header.key != fingerprint(key):
            raise SettingsError(
                Fault(
                    str(path),
                    f"it was sealed with key {header.key}, this is {fingerprint(key)}",
                    "Give that key's file",
                )
            )
        cipher = _cipher(key, bytes.fromhex(header.salt))
        count = 0
        piece = file.read(PIECE + _TAG)
        while True:
            following = file.read(PIECE + _TAG)
            try:
                yield cipher.decrypt(_nonce(bytes.fromhex(header.nonce), count, last=not following), piece, line)
            except InvalidTag:
                raise StoreUnavailable(
                    Fault(str(path), f"piece {count} was changed, damaged or cut off", "Take another copy")
                ) from None
            if not following:
                return
            piece = following
            count += 1


def _read_header(path: Path, file: BinaryIO) -> tuple[_Header, bytes]:
    line = file.readline(_HEADER_MAX)
    try:
        header = msgspec.json.decode(line, type=_Header)
        bytes.fromhex(header.salt + header.nonce)
    except (msgspec.DecodeError, ValueError):
        header = None
    if header is None or header.sealed_file != 1:
        raise StoreUnavailable(Fault(str(path), "this is no sealed file of this version", "Name a backup"))
    return header, line


def _cipher(key: bytes, salt: bytes) -> AESGCM:
    return AESGCM(HKDF(SHA256(), 32, salt, b"cds-service sealed file").derive(key))


def _nonce(start: bytes, count: int, *, last: bool) -> bytes:
    return start + count.to_bytes(4) + bytes([last])
