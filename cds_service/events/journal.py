"""Look into SQLite's journal before SQLite does: a damaged middle would make the history shorter without a word.

SQLite reads its write-ahead log (sqlite.org/fileformat2.html, section 4) up to the first frame whose checksum is
wrong and takes what lies behind for an unfinished write. After a kill or a power cut that is right: nothing behind
was acknowledged. When a byte was flipped in the middle, acknowledged commits lie behind, and somebody must hear of
it (F13). Every commit is synced before the next one begins, so at most the last commit may be unreadable by a cut.
"""

import struct
from dataclasses import dataclass
from operator import eq
from pathlib import Path
from typing import Final

__all__ = ["Journal", "read_journal"]

_HEADER: Final = struct.Struct(">8I")
_FRAME: Final = struct.Struct(">6I")
_MAGIC: Final = 0x377F0682
"""Its last bit says in which byte order the checksums are computed."""
_MASK: Final = 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Journal:
    """What stands in the journal."""

    commits: int
    """Whole ones, in sequence: what SQLite will read."""
    is_cut: bool
    """Behind them stands a frame of the same journal whose checksum is wrong."""
    unreadable_commits: int
    """Ends of commits from the first unreadable frame on. One may be a power cut's; two are damage."""


def read_journal(path: Path) -> Journal:
    """Read the journal's frames as SQLite will.

    Args:
        path: The ``…-wal`` file; one that is missing or empty has no commits.
    """
    content = path.read_bytes() if path.exists() else b""
    if len(content) < _HEADER.size + _FRAME.size:
        return Journal(0, is_cut=False, unreadable_commits=0)
    magic, _, page_bytes, _, *salts, sum_0, sum_1 = _HEADER.unpack_from(content)
    order = ">" if magic & 1 else "<"
    state = _add(order, content[:24], (0, 0))
    is_good = magic & ~1 == _MAGIC and state == (sum_0, sum_1)
    if not is_good:
        page_bytes = page_bytes if page_bytes in {512 << n for n in range(8)} else 4096
        salts = list(_FRAME.unpack_from(content, _HEADER.size)[2:4])
    commits = unreadable = 0
    is_cut = not is_good
    for start in range(_HEADER.size, len(content) - _FRAME.size - page_bytes + 1, _FRAME.size + page_bytes):
        _, pages_after_commit, *own_salts, sum_0, sum_1 = _FRAME.unpack_from(content, start)
        if is_good:
            state = _add(order, content[start : start + 8], state)
            data = start + _FRAME.size
            state = _add(order, content[data : data + page_bytes], state)
            is_good = own_salts == salts and state == (sum_0, sum_1)
            is_cut = not is_good and any(map(eq, own_salts, salts))  # both differ in what an older journal left
        if pages_after_commit != 0:
            commits += is_good
            unreadable += not is_good and any(map(eq, own_salts, salts))
    return Journal(commits, is_cut or unreadable > 0, unreadable)


def _add(order: str, content: bytes, state: tuple[int, int]) -> tuple[int, int]:
    """Go on with the journal's checksum: two sums over pairs of 32-bit words, each adding the other."""
    sum_0, sum_1 = state
    words = iter(struct.unpack(f"{order}{len(content) // 4}I", content))
    for word_0, word_1 in zip(words, words, strict=True):
        sum_0 = (sum_0 + word_0 + sum_1) & _MASK
        sum_1 = (sum_1 + word_1 + sum_0) & _MASK
    return sum_0, sum_1
