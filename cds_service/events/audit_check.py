"""Does the audit chain hold, and was its tail cut? Signed heads, kept elsewhere, answer the second (SEC-102)."""

import base64
import binascii
import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from cds_service.errors import Fault, SettingsError
from cds_service.events.audit_entry import START, Entry, Line, decode_entry, read_lines, segments

__all__ = ["Broken", "Head", "Verified", "public_key", "read_heads", "sign_head", "verify"]

_PURPOSE = b"cds-service audit head\x00"


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """Where the chain stood, signed; any other fields beside these (a log line has some) say nothing."""

    seq: int
    head: str
    """The hash of that entry."""
    signature: str
    """Ed25519, base64."""


class Broken(NamedTuple):
    """The first entry that does not hold, and why."""

    where: str
    """File and line."""
    what: str


class Verified(NamedTuple):
    """A chain from its first entry that is still kept to its last."""

    entries: int
    first: int
    last: int
    hash: str
    heads: int
    """Signed heads that it was held to."""


def public_key(seed: bytes) -> str:
    """The public half of a key file, in hexadecimal: what an auditor keeps."""
    return Ed25519PrivateKey.from_private_bytes(seed[:32]).public_key().public_bytes_raw().hex()


def sign_head(folder: Path, seed: bytes) -> Head | None:
    """Sign where the chain stands now; None where there is none yet.

    Args:
        folder: The audit folder.
        seed: 32 bytes of the audit key.
    """
    for path in reversed(segments(folder)):
        lines = [line for line in read_lines(path.read_bytes()) if line is not None]
        if lines:
            seq = decode_entry(lines[-1].entry).seq
            signature = Ed25519PrivateKey.from_private_bytes(seed[:32]).sign(_message(seq, lines[-1].hash))
            return Head(seq=seq, head=lines[-1].hash, signature=base64.b64encode(signature).decode())
    return None


def read_heads(lines: Iterable[str]) -> list[Head]:
    """Take the signed heads out of lines that a log shipper kept; other lines are passed over.

    Raises:
        SettingsError: There is none: then nothing would be held to anything.
    """
    heads = []
    for line in lines:
        try:
            heads.append(msgspec.json.decode(line.encode(), type=Head))
        except msgspec.DecodeError:
            continue
    if not heads:
        raise SettingsError(Fault("--heads", "no line is a signed head", "Give what 'audit head' or the log printed"))
    return heads


def verify(folder: Path, *, heads: Iterable[Head] = (), key: str | None = None) -> Verified | Broken:
    """Check every seal, every number and every head.

    Args:
        folder: The audit folder.
        heads: Kept elsewhere.
        key: The public key that signed them, hexadecimal.

    Returns:
        What holds, or the first entry that does not.
    """
    lines = [
        (f"{path.name}:{number}", line)
        for path in segments(folder)
        for number, line in enumerate(read_lines(path.read_bytes()), start=1)
    ]
    if not lines:
        return Broken(str(folder), "there is no entry")
    entries: list[tuple[str, Line, Entry]] = []
    for where, line in lines:
        try:
            if line is None:
                return Broken(where, "no entry")
            entries.append((where, line, decode_entry(line.entry)))
        except msgspec.DecodeError:
            return Broken(where, "no entry that this version reads")
    return _follow(entries) or _hold_to(heads, key, entries)


def _follow(entries: list[tuple[str, Line, Entry]]) -> Broken | None:
    first = entries[0][2].seq
    before: bytes | None = START
    if first != 1:
        before = next(
            (bytes.fromhex(e.before) for _, _, e in reversed(entries) if e.before and e.did == "audit_expired"), None
        )
    if before is None:
        return Broken(entries[0][0], f"the chain begins at entry {first}, and nothing says that earlier ones expired")
    for seq, (where, line, entry) in enumerate(entries, start=first):
        if entry.seq != seq:
            return Broken(where, f"entry {entry.seq} stands where {seq} should")
        if not line.follows(before):
            return Broken(where, f"entry {seq} does not follow from the one before")
        before = bytes.fromhex(line.hash)
    return None


def _hold_to(heads: Iterable[Head], key: str | None, entries: list[tuple[str, Line, Entry]]) -> Verified | Broken:
    by_seq = {entry.seq: (where, line.hash) for where, line, entry in entries}
    last = entries[-1]
    held = 0
    for head in sorted(heads, key=lambda one: one.seq):
        if key is None or not _is_signed(head, key):
            return Broken(f"head {head.seq}", "it is not signed by this key")
        if head.seq > last[2].seq:
            return Broken(last[0], f"the chain ends at entry {last[2].seq}, and entry {head.seq} was once its head")
        if head.seq in by_seq and by_seq[head.seq][1] != head.head:
            return Broken(by_seq[head.seq][0], f"entry {head.seq} is another than the one that was signed")
        held += 1
    return Verified(len(entries), entries[0][2].seq, last[2].seq, last[1].hash, held)


def _is_signed(head: Head, key: str) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(bytes.fromhex(key)).verify(
            base64.b64decode(head.signature, validate=True), _message(head.seq, head.head)
        )
    except (InvalidSignature, ValueError, binascii.Error):
        return False
    return True


def _message(seq: int, hash_: str) -> bytes:
    return _PURPOSE + hashlib.sha256(f"{seq}\x00{hash_}".encode()).digest()
