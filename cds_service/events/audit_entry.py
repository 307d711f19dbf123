"""What the audit log may say, and how its entries are sealed: one line an entry (SEC-100, SEC-102).

``{"entry":{…},"hash":"…"}``, with ``hash = SHA-256(hash before ‖ bytes of the entry)``; a file a year, the chain goes on
from one to the next. A file and not a table, so that an auditor reads it without us, a log shipper takes it elsewhere as
it grows, and the file system can forbid everything but appending.
"""

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import Meta, Struct

from cds_service.events.schema import Count, Label, Moment, Name, Pseudonym

__all__ = [
    "START",
    "Actor",
    "Entry",
    "Line",
    "Result",
    "Verb",
    "decode_entry",
    "object_name",
    "read_lines",
    "seal",
    "segments",
]

START: Final = bytes(32)
"""What stands before the first entry."""
_NAME: Final = re.compile(r"audit-([0-9]{4})\.jsonl")
_OBJECT: Final = re.compile(r"[!-~]{1,300}")

Verb: TypeAlias = Literal[
    "audit_expired", "backup_made", "clock_stepped", "events_expired", "key_dropped", "patient_forgotten", "restored",
    "service_started", "tail_repaired",
]  # fmt: skip
Result: TypeAlias = Literal["begun", "done", "refused", "failed"]
Hash = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
Digest = Annotated[str, Meta(pattern=r"^(?:[0-9a-f]{16}|none)\Z")]
Object = Annotated[str, Meta(pattern=r"^[!-~]{1,300}\Z")]
"""What it was done to: a tenant, an issuer and key id, a file's name; never a patient's id."""


class Actor(NamedTuple):
    """Who acts."""

    who: str
    """The user of the operating system."""
    role: Literal["operator", "service"]
    via: str | None = None
    """Who became that user with sudo."""
    where: str = "localhost"
    """The machine."""


class Entry(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """Who, what, when, where, with what result; every text has a shape, as in the event log."""

    seq: Annotated[int, Meta(ge=1)]
    at: Moment
    since_boot_s: Annotated[float, Meta(ge=0.0)]
    boot: Annotated[str, Meta(pattern=r"^[0-9a-f]{16}\Z")]
    """A hash of the machine's boot id: time since boot is compared within one boot only."""
    who: Label
    role: Literal["operator", "service"]
    via: Label | None = None
    where: Label
    did: Verb
    on: Object | None = None
    patients: tuple[Pseudonym, ...] = ()
    result: Result
    """``begun`` is on disk before anything happens; what follows it says how it ended."""
    counts: dict[Name, Count] = {}
    step_s: float | None = None
    """By how much the clock was set, of a ``clock_stepped``."""
    settings: dict[Name, Digest] = {}
    """Of a ``service_started``: a short hash of each setting's value."""
    changed: tuple[Name, ...] = ()
    """Settings that are not as they were at the last start."""
    before: Hash | None = None
    """Of an ``audit_expired``: the hash of the last entry that went."""


class Line(Struct, frozen=True, forbid_unknown_fields=True):
    """One line of a file: the entry as it stands there, and its seal."""

    entry: msgspec.Raw
    hash: Hash

    def follows(self, before: bytes) -> bool:
        """Whether the seal is that of this entry after *before*."""
        return seal(before, bytes(self.entry)) == self.hash


_decode_line = msgspec.json.Decoder(Line).decode
decode_entry = msgspec.json.Decoder(Entry).decode


def seal(before: bytes, entry: bytes) -> str:
    """SHA-256 of the hash before and the bytes of an entry, in hexadecimal."""
    return hashlib.sha256(before + entry).hexdigest()


def object_name(text: str) -> str:
    """Write what an operator typed as it is where it looks like a name, else as its hash only."""
    if _OBJECT.fullmatch(text):
        return text
    return f"sha256:{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:32]}"


def segments(folder: Path) -> list[Path]:
    """The files of the chain, oldest first."""
    return sorted(path for path in folder.glob("audit-*.jsonl") if _NAME.fullmatch(path.name))


def read_lines(content: bytes) -> Iterator[Line | None]:
    """The lines of one file in order; None for one that is no entry."""
    for text in content.splitlines():
        try:
            yield _decode_line(text)
        except (msgspec.DecodeError, UnicodeDecodeError):
            yield None
