"""Keys that an operator dropped: no call is accepted with them from the next request on (SEC-016).

A small file beside the event store that every worker looks at; ``cds-service keys drop`` writes it whole.
"""

import fcntl
import json
import os
import tempfile
from pathlib import Path
from typing import Final

from cds_service.errors import Fault, Unavailable

__all__ = ["DeniedKeys", "deny_key", "read_denied"]

Key = tuple[str, str]
_NOWHERE: Final = (0, 0, 0)


class DeniedKeys:
    """The list as it is on disk now; asking costs one ``stat``."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._name = str(path)
        self._seen = _NOWHERE
        self._keys: frozenset[Key] = frozenset()

    def has(self, issuer: str, kid: str) -> bool:
        """Whether this key was dropped.

        Raises:
            Unavailable: The list can't be read: nobody is let in until it can.
        """
        seen = self._look()
        if seen != self._seen:
            self._keys = read_denied(self._path)
            self._seen = seen
        return (issuer, kid) in self._keys

    def _look(self) -> tuple[int, int, int]:
        try:
            status = os.stat(self._name)  # noqa: PTH116 - on the path of every call; Path.stat takes twice as long
        except FileNotFoundError:
            return _NOWHERE
        except OSError as failure:
            raise _unreadable(self._path, type(failure).__name__) from None
        return status.st_ino, status.st_mtime_ns, status.st_size


def read_denied(path: Path) -> frozenset[Key]:
    """Read the list; an absent file is an empty one.

    Raises:
        Unavailable: It can't be read or is damaged.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        return frozenset((str(entry["issuer"]), str(entry["kid"])) for entry in entries)
    except FileNotFoundError:
        return frozenset()
    except (OSError, ValueError, KeyError, TypeError) as failure:
        raise _unreadable(path, type(failure).__name__) from None


def deny_key(path: Path, issuer: str, kid: str) -> bool:
    """Add one key and put the whole list in place at once; False when it was there already."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)  # two operators at once lose no key
        keys = read_denied(path)
        if (issuer, kid) in keys:
            return False
        _write(path, keys | {(issuer, kid)})
        os.fsync(folder)
    finally:
        os.close(folder)
    return True


def _write(path: Path, keys: frozenset[Key]) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.fchmod(handle, 0o644)  # no secret is in it, and the operator may be another user than the service
    entries = [{"issuer": issuer, "kid": kid} for issuer, kid in sorted(keys)]
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        json.dump(entries, file, indent=1)
        file.flush()
        os.fsync(file.fileno())
    Path(name).replace(path)


def _unreadable(path: Path, what: str) -> Unavailable:
    return Unavailable(Fault(str(path), f"the list of dropped keys can't be read ({what})", "Mend or restore it"))
