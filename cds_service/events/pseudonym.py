"""A patient becomes a pseudonym at the door, and stays one (SEC-081)."""

import base64
import hmac
import os
import stat
import tempfile
from collections.abc import Mapping
from pathlib import Path

from cds_service.errors import Fault, SettingsError

__all__ = ["KEY_BYTES", "create_key", "load_key", "load_or_create_key", "pseudonymise", "pseudonyms_of", "purpose_key"]

KEY_BYTES = 32
_PSEUDONYM_BYTES = 16
"""128 bits: two of a thousand million patients share a name with probability 1e-21."""


def pseudonymise(patient_id: str, *, tenant: str, key: bytes, key_id: str = "v1") -> str:
    """Name a patient in the event log without saying who it is.

    ``HMAC-SHA-256(key, tenant ‖ 0 ‖ "Patient" ‖ 0 ‖ id)``, the first 128 bits, base32 in lower case.

    Args:
        patient_id: The FHIR id. It goes no further than this function.
        tenant: The hospital; equal ids in two hospitals are two patients.
        key: At least 32 bytes, from :func:`purpose_key`. A new key starts new names: events before and after
            can't be joined, on purpose.
        key_id: ``v`` and the number of the key, part of the name, so that a reader knows which key made it.

    Returns:
        ``v1:`` and 26 characters, the same for the same arguments.

    Raises:
        ValueError: The key is shorter than 32 bytes.
    """
    if len(key) < KEY_BYTES:
        raise ValueError(f"the pseudonym key has {len(key)} bytes; give {KEY_BYTES} or more")
    message = f"{tenant}\x00Patient\x00{patient_id}".encode("utf-8", "surrogatepass")
    digest = hmac.digest(key, message, "sha256")[:_PSEUDONYM_BYTES]
    return f"{key_id}:{base64.b32encode(digest).decode().rstrip('=').lower()}"


def purpose_key(master: bytes, *, purpose: str, tenant: str) -> bytes:
    """Derive the key of one purpose (``pseudonym``, ``arm``, ``holdout``) and one tenant from the one on file.

    What is known of one purpose then says nothing about another (HMAC as a key derivation, RFC 5869 expand).
    """
    return hmac.digest(master, f"cds-service\x00{purpose}\x00{tenant}\x01".encode(), "sha256")


def pseudonyms_of(patient_id: str, *, tenant: str, masters: Mapping[str, bytes]) -> frozenset[str]:
    """Every name that a patient may have in the log.

    Args:
        patient_id: The FHIR id.
        tenant: The hospital.
        masters: The keys on file that are not destroyed yet, by ``v`` and their number.
    """
    return frozenset(
        pseudonymise(
            patient_id, tenant=tenant, key=purpose_key(master, purpose="pseudonym", tenant=tenant), key_id=key_id
        )
        for key_id, master in masters.items()
    )


def load_key(path: Path, of: str = "pseudonym") -> bytes:
    """Read a key file: 32 random bytes that only the service's own user may read.

    Args:
        path: The file.
        of: What it is the key of, as in the setting ``…_key_file``.

    Raises:
        SettingsError: It can't be read, is shorter, or others may read it.
    """
    where = str(path)
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            key = file.read()
    except OSError as failure:
        raise SettingsError(
            Fault(
                where,
                f"the {of} key can't be read ({failure.strerror})",
                f"Name a readable file in {of}_key_file",
            )
        ) from None
    if mode & 0o137:
        raise SettingsError(Fault(where, f"the {of} key has mode {mode:04o}", f"Run chmod 600 {path.name}"))
    if len(key) < KEY_BYTES:
        raise SettingsError(
            Fault(where, f"the {of} key has {len(key)} bytes", f"Give {KEY_BYTES} random bytes, as from /dev/urandom")
        )
    return key


def create_key(path: Path) -> bytes:
    """Make a new key file, mode 0600, on disk before it is used; an existing one is never overwritten.

    Raises:
        FileExistsError: There is one already: a new key would cut every patient's history.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = os.urandom(KEY_BYTES)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mode 0600
    fresh = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        os.link(fresh, path)  # unlike rename, fails when another worker was first
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    finally:
        fresh.unlink()
    return key


def load_or_create_key(path: Path, of: str = "pseudonym") -> bytes:
    """Read a key, or make it on a first start; of several workers the first one's key counts."""
    if not path.exists():
        try:
            return create_key(path)
        except FileExistsError:
            pass  # another worker was first: its key is the key
    return load_key(path, of)
