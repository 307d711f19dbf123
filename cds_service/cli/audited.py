"""Who runs a command, and that a service started with what settings, in the audit log."""

import hashlib
import json
from pathlib import Path

import structlog

from cds_service.errors import StoreUnavailable
from cds_service.events.audit import AuditLog, operator_actor, service_actor
from cds_service.events.pseudonym import load_or_create_key
from cds_service.settings import Settings

__all__ = ["audit_log", "note_start"]


def audit_log(settings: Settings) -> AuditLog:
    """The audit log of this state folder, for the operator who runs the command."""
    return AuditLog(settings.audit, operator_actor())


def note_start(settings: Settings) -> None:
    """Put on record that the service starts, and which settings are not as they were at the last start (SEC-100).

    A disk that is full must not keep a service from starting again as it was (I6): then the line in the log is all.

    Raises:
        StoreUnavailable: The audit log is damaged; or it can't be written, and a setting was changed or is the first.
    """
    audit = AuditLog(settings.audit, service_actor())
    last = audit.last("service_started")
    digests = _digests(settings)
    before = {} if last is None else last.settings
    changed = tuple(sorted(name for name in digests.keys() | before.keys() if digests.get(name) != before.get(name)))
    try:
        load_or_create_key(settings.audit_key, "audit")
        entry = audit.write("service_started", settings=digests, changed=changed if last is not None else ())
    except StoreUnavailable:
        if last is None or changed:
            raise
        structlog.get_logger().exception("audit_unwritable")
        return
    if last is not None and entry.at < last.at:
        structlog.get_logger().warning("clock_behind_audit", step_s=(entry.at - last.at).total_seconds())


def _digests(settings: Settings) -> dict[str, str]:
    """A short hash of each setting's value and of what the files of clients and keys hold; none of them is a secret's."""
    values = {name: json.dumps(value).encode() for name, value in settings.model_dump(mode="json").items()}
    digests = {name: hashlib.sha256(value).hexdigest()[:16] for name, value in values.items()}
    return digests | {
        "clients_content": _digest_of(settings.clients),
        "pseudonym_key_content": _digest_of(settings.pseudonym_key),
    }


def _digest_of(path: Path | None) -> str:
    if path is None or not path.is_file():
        return "none"
    return hashlib.sha256(b"cds-service audit\x00" + path.read_bytes()).hexdigest()[:16]
