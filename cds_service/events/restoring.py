"""A backup becomes a state folder again: opened, held to its manifest, rid of who is left out, then put in place (SEC-114).

Nothing is put in place before everything was checked, and the event store comes last: a restore that was cut off leaves
no store that a service would open.
"""

import os
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from cds_service.errors import Fault, SettingsError, StoreUnavailable
from cds_service.events.audit_entry import segments
from cds_service.events.backup_archive import Manifest, count_rows, same_rows, unpack
from cds_service.events.database import connect, is_sound
from cds_service.events.forgetting import Forgotten, Tombstones, forget

__all__ = ["Place", "Restored", "restore_backup"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a backup is to be put."""

    state: Path
    """The state folder."""
    store: Path
    """The event store's database file, in a folder of its own under *state*."""
    audit: Path
    files: Mapping[str, Path]
    """Further files by their name in the backup."""
    pseudonym_key: str
    """The fingerprint of the key in place."""


@dataclass(frozen=True, slots=True)
class Restored:
    """What was put in place."""

    manifest: Manifest
    left_out: Forgotten
    """What of the backup was blanked, because it is about somebody who was forgotten since."""
    kept: tuple[str, ...]
    """What was in place already and is newer than the backup: the audit log, a further file."""


def restore_backup(path: Path, place: Place, *, key: bytes, forgotten: Tombstones, now: datetime) -> Restored:
    """Restore one backup into a state folder without an event store.

    Args:
        path: The backup.
        place: Where to.
        key: What it was sealed with.
        forgotten: The list of today.
        now: The moment now.

    Raises:
        SettingsError: There is an event store already, or the pseudonym key is another: nobody's history would be
            found again, and no name on the list would match.
        StoreUnavailable: The backup is not whole, or what came out of it is not what its manifest says.
    """
    if place.store.parent.exists() and any(place.store.parent.iterdir()):
        raise SettingsError(
            Fault(str(place.store.parent), "there is an event store already", "Move it aside, or name an empty state")
        )
    place.state.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in place.state.glob(".restore-*"):
        shutil.rmtree(left)  # of a restore that was killed
    fresh = Path(tempfile.mkdtemp(dir=place.state, prefix=".restore-"))
    try:
        manifest = unpack(path, key, fresh)
        if manifest.pseudonym_key != place.pseudonym_key:
            raise SettingsError(
                Fault(
                    "pseudonym_key_file",
                    f"the backup needs the key {manifest.pseudonym_key}, in place is {place.pseudonym_key}",
                    "Put that key's file there first",
                )
            )
        database = fresh / "events" / place.store.name
        _hold_to(manifest, database)
        left_out = forget(database, forgotten, now)
        kept = _put_in_place(fresh, place)
        os.sync()
    except OSError as failure:
        raise StoreUnavailable(
            Fault(str(place.state), f"the backup can't be restored ({failure.strerror})", "Look at the disk")
        ) from None
    finally:
        shutil.rmtree(fresh)
    return Restored(manifest, left_out, kept)


def _hold_to(manifest: Manifest, database: Path) -> None:
    connection = connect(database)
    try:
        is_whole = is_sound(connection, every_row=True) and same_rows(manifest, count_rows(connection))
    finally:
        connection.close()
    if not is_whole:
        raise StoreUnavailable(
            Fault(str(database.name), "what came out of the backup is not what it says", "Take another copy")
        )


def _put_in_place(fresh: Path, place: Place) -> tuple[str, ...]:
    kept: list[str] = []
    if segments(place.audit):
        kept.append("audit")  # it goes on from before the loss; the backup's is its beginning
    elif (fresh / "audit").exists():
        place.audit.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in segments(fresh / "audit"):
            path.rename(place.audit / path.name)
    for name, path in place.files.items():
        if path.exists():
            kept.append(name)
        elif (fresh / name).exists():
            (fresh / name).rename(path)
    if place.store.parent.exists():
        place.store.parent.rmdir()
    (fresh / "events").rename(place.store.parent)
    return tuple(kept)
