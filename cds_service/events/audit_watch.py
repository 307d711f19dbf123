"""Beside a running service: note when the clock is set, and say each hour where the audit log stands (SEC-102, SEC-103)."""

import asyncio
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from cds_service.errors import CdsServiceError
from cds_service.events.audit import STEP_S, AuditLog, service_actor
from cds_service.events.audit_entry import segments
from cds_service.events.pseudonym import load_key

__all__ = ["watch_audit"]

log = structlog.get_logger()

LOOK_S: Final = 10.0
HEAD_S: Final = 3600.0


async def watch_audit(folder: Path, key: Path, *, look_s: float = LOOK_S, head_s: float = HEAD_S) -> None:
    """Watch until cancelled. A log line is the place outside: whoever keeps the lines can tell when the log was cut.

    Args:
        folder: The audit folder; while there is none, nothing is said.
        key: The file of the key that signs.
        look_s: Time between two looks at the clock.
        head_s: Time between two signed heads; the first comes at once.
    """
    audit = AuditLog(folder, service_actor())
    ahead, head_at = _wall_ahead(), 0.0
    while True:
        try:
            if abs(_wall_ahead() - ahead) > STEP_S:
                ahead = _wall_ahead()
                entry = await asyncio.to_thread(audit.note_clock)
                log.warning("clock_stepped", step_s=None if entry is None else entry.step_s)
            if time.monotonic() >= head_at:
                head_at = time.monotonic() + head_s
                await asyncio.to_thread(_say_head, folder, key)
        except (CdsServiceError, OSError):
            log.exception("audit_unwritable")
        await asyncio.sleep(look_s)


def _wall_ahead() -> float:
    """By how much the wall clock is ahead of the time since boot."""
    return datetime.now(UTC).timestamp() - time.clock_gettime(time.CLOCK_BOOTTIME)


def _say_head(folder: Path, key: Path) -> None:
    if not segments(folder):
        return
    from cds_service.events.audit_check import sign_head  # cryptography: not needed before the first entry

    head = sign_head(folder, load_key(key, "audit"))
    if head is not None:
        log.info("audit_head", seq=head.seq, head=head.head, signature=head.signature)
