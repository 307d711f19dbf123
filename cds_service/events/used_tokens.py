"""Tokens that were used: each once, across workers and restarts, in the transaction of the call's own event (SEC-012).

A row is a hash and a time, so nothing that a token said is kept. It goes an hour after the token has ended: a clock
that was wrong for less than that brings no token back.
"""

import hashlib
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

__all__ = ["CREATE_TOKENS", "UsedToken", "forget_ended", "keep_unused", "used_token"]

CREATE_TOKENS: Final = """
CREATE TABLE IF NOT EXISTS used_token (
    digest BLOB PRIMARY KEY,
    until  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS ended ON used_token (until);
"""
"""``until`` is in seconds since 1970: ``exp`` and the leeway."""
_KEPT_LONGER_S: Final = 3600
_AT_ONCE: Final = 2_000
"""Rows that one sweep removes: about 5 ms."""


@dataclass(frozen=True, slots=True)
class UsedToken:
    """One use of one token."""

    digest: bytes
    until: int
    at: int = 0
    """When it was used, by the same clock as *until*: rows that had ended long before may go."""


def used_token(issuer: str, jti: str, until: int, at: int = 0) -> UsedToken:
    """Name a token by (``iss``, ``jti``): equal ids of two issuers are two tokens."""
    return UsedToken(hashlib.sha256(f"{issuer}\x00{jti}".encode("utf-8", "surrogatepass")).digest(), until, at)


def keep_unused(connection: sqlite3.Connection, tokens: Sequence[UsedToken]) -> list[bool]:
    """Insert tokens inside a transaction; say for each whether it was unused until now."""
    unused: list[bool] = []
    for token in tokens:
        added = connection.execute(
            "INSERT INTO used_token (digest, until) VALUES (?, ?) ON CONFLICT DO NOTHING", (token.digest, token.until)
        )
        unused.append(added.rowcount == 1)
    return unused


def forget_ended(connection: sqlite3.Connection, now: int) -> int:
    """Remove some of the rows that nobody can replay any more; how many they were."""
    return connection.execute(
        "DELETE FROM used_token WHERE digest IN (SELECT digest FROM used_token WHERE until < ? LIMIT ?)",
        (now - _KEPT_LONGER_S, _AT_ONCE),
    ).rowcount
