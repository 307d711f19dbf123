"""By what an EHR is known: its issuer, where its keys are, which algorithms, tenants and audiences were agreed (SEC-007)."""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

from cds_service.errors import Fault
from cds_service.outbound.key_set import ALGORITHMS, BYTES_MAX, KeySet, KeySetFault, read_key_set

__all__ = [
    "IDENTITY_KEYS",
    "IDENTITY_QUIRKS",
    "LABEL",
    "LONGEST_LIFE_S",
    "Identity",
    "read_identity",
    "switch",
    "texts",
]

IDENTITY_KEYS: Final = frozenset({"issuer", "keys", "jku", "algorithms", "tenants", "max_token_life_s", "strict_aud"})
IDENTITY_QUIRKS: Final = frozenset({"audience", "feedback_audience"})
DEFAULT_ALGORITHMS: Final = ("ES384", "RS384")
LONGEST_LIFE_S: Final = 3600
LABEL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
"""A name that the operator gives, as the event log takes it."""
_PUBLIC_SANDBOX: Final = "sandbox.cds-hooks.org"
_FOR_OTHER_USES: Final = frozenset({"key_type", "not_for_signatures"})
"""Such keys stand in good sets too; any other that can't be used is a mistake of whoever made the file."""
_DO: Final = "See docs/reference/clients.md"


@dataclass(frozen=True, slots=True)
class Identity:
    """What a token of this client must say, and what verifies it."""

    issuer: str
    """Compared byte for byte."""
    keys: str | KeySet
    """The one address that is fetched, or the set that was exchanged as a file."""
    jku: str | None = None
    """What ``jku`` may say when a token has one; never fetched because a token says so."""
    algorithms: tuple[str, ...] = DEFAULT_ALGORITHMS
    tenants: tuple[str, ...] = ()
    """With any, the claim ``tenant`` is needed and must be one of them (SEC-018)."""
    audiences: tuple[str, ...] = ()
    """Agreed values beside the URL that is called, for EHRs where people type ``aud`` (W-10)."""
    feedback_by_service_url: bool = False
    is_strict_aud: bool = False
    life_s: int = 300
    """The longest ``exp − iat``."""


def read_identity(
    document: Mapping[str, Any],
    quirks: Mapping[str, Any],
    *,
    where: str,
    folder: Path,
    lab: bool,
    faults: list[Fault],
) -> Identity | None:
    """Read the identity of one ``[[client]]`` table.

    Args:
        document: The parsed table.
        quirks: Its ``[client.quirks]``.
        where: File and table, for the faults.
        folder: Where ``clients.toml`` lies; a key file's path starts there.
        lab: Also take ``http`` key addresses on this machine and the public sandbox.
        faults: Gets everything that is wrong.

    Returns:
        None where the table has no issuer, or a fault was found.
    """
    before = len(faults)
    issuer = document.get("issuer")
    if issuer is None:
        faults += [
            Fault(f"{where}.{key}", "without an issuer it means nothing", "Add issuer")
            for key in sorted(IDENTITY_KEYS & set(document))
        ]
        return None
    identity = Identity(
        issuer=_issuer(issuer, where, lab=lab, faults=faults),
        keys=_keys(document.get("keys"), where, folder=folder, lab=lab, faults=faults),
        jku=_jku(document, where, faults),
        algorithms=_algorithms(document.get("algorithms", list(DEFAULT_ALGORITHMS)), where, faults),
        tenants=_tenants(document, where, faults),
        audiences=texts(quirks.get("audience", []), f"{where}.quirks.audience", faults),
        feedback_by_service_url=switch(quirks, "feedback_audience", f"{where}.quirks", faults),
        is_strict_aud=switch(document, "strict_aud", where, faults),
        life_s=_life(document.get("max_token_life_s", 300), where, faults),
    )
    return identity if len(faults) == before else None


def _issuer(issuer: object, where: str, *, lab: bool, faults: list[Fault]) -> str:
    if not isinstance(issuer, str) or not re.fullmatch(r"[!-~]{1,2048}", issuer):
        faults.append(
            Fault(f"{where}.issuer", "not a URI", "Write what the EHR's tokens say in iss, letter for letter")
        )
        return ""
    if not lab and _is_public_sandbox(issuer):
        faults.append(_sandbox_fault(f"{where}.issuer"))
    return issuer


def _sandbox_fault(where: str) -> Fault:
    return Fault(
        where,
        "the public sandbox's private key is published: anybody can write its tokens",
        "Remove this client; to try the sandbox, set lab = true on a machine without patients",
    )


def _is_public_sandbox(url: str) -> bool:
    try:
        host = urlsplit(url.lower()).hostname or url.lower()
    except ValueError:
        return False
    return host.rstrip("./") == _PUBLIC_SANDBOX


def _keys(keys: object, where: str, *, folder: Path, lab: bool, faults: list[Fault]) -> str | KeySet:
    where = f"{where}.keys"
    if not isinstance(keys, str) or not keys:
        faults.append(Fault(where, "missing", "Give the address of the EHR's JWK Set, or a file that holds it"))
        return ""
    if "://" in keys:
        return _address(keys, where, lab=lab, faults=faults)
    file = folder / keys
    try:
        with file.open("rb") as opened:
            body = opened.read(BYTES_MAX + 1)
        key_set = read_key_set(body, refuse_published=not lab)
    except OSError as failure:
        faults.append(Fault(where, f"the file can't be read ({failure.strerror})", "Name a JWK Set beside this file"))
        return ""
    except KeySetFault as fault:
        faults.append(Fault(where, f"no key of this set can be used ({fault.reason})", _DO))
        return ""
    faults += [
        Fault(f"{where} {place}", f"this key can't be used ({reason})", _DO)
        for place, reason in key_set.left_out
        if reason not in _FOR_OTHER_USES
    ]
    return key_set


def _address(url: str, where: str, *, lab: bool, faults: list[Fault]) -> str:
    parts = _split(url)
    if parts is None or parts.username is not None or parts.fragment or not parts.hostname:
        faults.append(Fault(where, "not an address", "Write https://host/path, without a user or a fragment"))
    elif not lab and _is_public_sandbox(url):
        faults.append(_sandbox_fault(where))
    elif parts.scheme != "https" and not (lab and parts.scheme == "http" and _is_loopback(parts.hostname)):
        faults.append(Fault(where, "keys are fetched over https only", "Write https://"))
    return url


def _split(url: str) -> SplitResult | None:
    if not re.fullmatch(r"[!-~]{1,2048}", url):
        return None
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return None
    return parts


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _jku(document: Mapping[str, Any], where: str, faults: list[Fault]) -> str | None:
    """An address in ``keys`` is what a token's ``jku`` must say; beside a file, ``jku`` may be agreed (SEC-008)."""
    keys, jku = document.get("keys"), document.get("jku")
    if jku is not None and not (isinstance(jku, str) and re.fullmatch(r"[!-~]{1,2048}", jku)):
        faults.append(Fault(f"{where}.jku", "not an address", "Write what the EHR's tokens say in jku"))
        return None
    if jku is None and isinstance(keys, str) and "://" in keys:
        return keys
    return jku


def _algorithms(names: object, where: str, faults: list[Fault]) -> tuple[str, ...]:
    if isinstance(names, list) and names and all(isinstance(name, str) and name in ALGORITHMS for name in names):
        return tuple(names)
    faults.append(
        Fault(f"{where}.algorithms", "not a list of signature algorithms", f"Choose of {', '.join(ALGORITHMS)}")
    )
    return ()


def _tenants(document: Mapping[str, Any], where: str, faults: list[Fault]) -> tuple[str, ...]:
    if "tenants" not in document:
        return ()
    tenants = texts(document["tenants"], f"{where}.tenants", faults)
    if not tenants or not all(LABEL.fullmatch(tenant) for tenant in tenants):
        faults.append(
            Fault(
                f"{where}.tenants", "not a list of names", "List what the claim tenant may say: letters, digits, . _ -"
            )
        )
    if "tenant" in document:
        faults.append(Fault(f"{where}.tenant", "there are tenants already", "Write tenant, or tenants with the claim"))
    return tenants


def texts(values: object, where: str, faults: list[Fault]) -> tuple[str, ...]:
    """A list of short texts, or a fault."""
    if isinstance(values, list) and all(isinstance(value, str) and 1 <= len(value) <= 2048 for value in values):
        return tuple(values)
    faults.append(Fault(where, "not a list of texts", _DO))
    return ()


def switch(document: Mapping[str, Any], key: str, where: str, faults: list[Fault], *, default: bool = False) -> bool:
    """``true`` or ``false``, or a fault."""
    value = document.get(key, default)
    if not isinstance(value, bool):
        faults.append(Fault(f"{where}.{key}", "neither true nor false", _DO))
        return default
    return value


def _life(seconds: object, where: str, faults: list[Fault]) -> int:
    if isinstance(seconds, int) and not isinstance(seconds, bool) and 1 <= seconds <= LONGEST_LIFE_S:
        return seconds
    faults.append(Fault(f"{where}.max_token_life_s", f"not 1 to {LONGEST_LIFE_S} seconds", "Leave it out for 300"))
    return 0
