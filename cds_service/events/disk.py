"""How full the disk under the state folder is: said at four fifths, and at nine tenths nothing but events is written (F17).

Nothing is ever deleted to make room: that is a person's decision.
"""

import asyncio
import os
import time
from pathlib import Path
from typing import Final, Literal

import structlog

from cds_service.errors import Fault, StoreUnavailable

__all__ = ["disk_used", "refuse_full_disk", "watch_disk"]

log = structlog.get_logger()

WARN_FROM: Final = 0.80
SEAL_FROM: Final = 0.90
LOOK_S: Final = 30.0
AGAIN_S: Final = 3600.0
"""So often the same is said again."""


def disk_used(folder: Path) -> float:
    """The used share of the file system under a folder, as its user can fill it; 0 where there is no such folder yet."""
    try:
        found = os.statvfs(folder)
    except FileNotFoundError:
        return 0.0
    return 1.0 - found.f_bavail / found.f_blocks if found.f_blocks else 0.0


def refuse_full_disk(folder: Path, what: str) -> None:
    """Keep the last tenth of the disk for events.

    Raises:
        StoreUnavailable: *what* is no event, and the disk is nine tenths full.
    """
    used = disk_used(folder)
    if used >= SEAL_FROM:
        raise StoreUnavailable(
            Fault(str(folder), f"the disk is {used:.0%} full, and {what} is no event", "Free space, or add some")
        )


async def watch_disk(folder: Path, *, look_s: float = LOOK_S) -> None:
    """Say in the log when the disk fills, and when it has room again; until cancelled."""
    said: Level = "room"
    said_at = 0.0
    while True:
        used = disk_used(folder)
        level = _level(used)
        if level != said or (level != "room" and time.monotonic() >= said_at + AGAIN_S):
            _SAY[level](folder, used)
            said, said_at = level, time.monotonic()
        await asyncio.sleep(look_s)


Level = Literal["room", "filling", "full"]


def _level(used: float) -> Level:
    return "full" if used >= SEAL_FROM else "filling" if used >= WARN_FROM else "room"


_SAY: Final = {
    "room": lambda folder, used: log.info("disk_has_room", folder=str(folder), detail=f"{used:.0%}"),
    "filling": lambda folder, used: log.warning("disk_filling", folder=str(folder), detail=f"{used:.0%}"),
    "full": lambda folder, used: log.error("disk_nearly_full", folder=str(folder), detail=f"{used:.0%}"),
}
