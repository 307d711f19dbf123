"""A client's public keys, read strictly from a JWK Set (RFC 7517).

A set may hold keys for other purposes, so one that can't verify is left out and named; a set without any is no set.
"""

import binascii
import json
from base64 import urlsafe_b64decode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NoReturn

if TYPE_CHECKING:
    from cds_service.outbound.signatures import PublicKey

__all__ = [
    "ALGORITHMS",
    "BYTES_MAX", "KEYS_MAX", "KID_MAX", "PUBLISHED_KEYS", "KeySet", "KeySetFault", "VerifyingKey", "is_signed_by",
    "parse_strictly", "read_key_set", "unfold",
]  # fmt: skip

BYTES_MAX: Final = 256 * 1024
KEYS_MAX: Final = 100
KID_MAX: Final = 256
_RSA_BITS: Final = range(2048, 8193)
"""Below it a key can be broken; above it one verification costs a millisecond and more."""
_EXPONENT: Final = range(65_537, 2**33)

ALGORITHMS: Final[Mapping[str, tuple[str, str | None]]] = {
    "ES256": ("EC", "P-256"),
    "ES384": ("EC", "P-384"),
    "ES512": ("EC", "P-521"),
    "PS256": ("RSA", None),
    "PS384": ("RSA", None),
    "PS512": ("RSA", None),
    "RS256": ("RSA", None),
    "RS384": ("RSA", None),
    "RS512": ("RSA", None),
}
"""What a client may be set to use → key type and curve (RFC 7518). ``none`` and HMAC are not here, so nobody can."""

PUBLISHED_KEYS: Final = frozenset({
    "s9fOe-KDYD1myZ8YCzleUqJQgrYZL49kVijBxhnZvZc",
    "WUEVfFenRfMtdDhwPUzCCfmqEN45h61hdHclwVoqfes",
})  # fmt: skip
"""RFC 7638 thumbprints of the public CDS Hooks sandbox's keys (P-384 now, P-256 before): its key pair is published (CH-332)."""


class KeySetFault(Exception):
    """A key set can't be used; ``reason`` is a short word for log and metrics."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """One public key that may verify."""

    kid: str
    kty: str
    curve: str | None
    alg: str | None
    """The one algorithm that the set binds it to; None: any of its type."""
    thumbprint: str
    key: "PublicKey" = field(repr=False)

    def fits(self, alg: str) -> bool:
        """Whether this algorithm may be used with this key (SEC-003)."""
        return ALGORITHMS.get(alg) == (self.kty, self.curve) and self.alg in (None, alg)


@dataclass(frozen=True, slots=True)
class KeySet:
    """The usable keys of one client, and what was left out."""

    keys: Mapping[tuple[str, str], VerifyingKey]
    """By (kid, kty): one kid may stand for keys of two types, never for two of one."""
    left_out: tuple[tuple[str, str], ...] = ()
    """(place in the set, reason)."""

    def find(self, kid: str, kty: str) -> VerifyingKey | None:
        return self.keys.get((kid, kty))


def is_signed_by(key: VerifyingKey, alg: str, signed: bytes, signature: bytes) -> bool:
    """Whether *signature* over *signed* was made with the private half of *key*.

    Costs 20 µs with a 2048-bit RSA key and 480 µs on P-384 (measured, ``benchmarks/verify.py``); OpenSSL works without
    the interpreter lock, so on a thread it does not hold up the event loop.
    """
    from cds_service.outbound.signatures import is_signature

    return is_signature(key.key, alg, signed, signature)


def parse_strictly(text: bytes) -> object:
    """Parse JSON in which no key stands twice and every number is one (SEC-006).

    Raises:
        ValueError: It is not such JSON. RecursionError never gets out.
    """
    try:
        return json.loads(text.decode(), object_pairs_hook=_object, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def unfold(text: object) -> bytes:
    """Decode base64url without padding (RFC 7515, section 2).

    Raises:
        ValueError: It is no such text.
    """
    if not isinstance(text, str) or not text.isascii() or len(text) % 4 == 1 or not _is_url_safe(text):
        raise ValueError("not base64url")
    try:
        return urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error:
        raise ValueError("not base64url") from None


def read_key_set(body: bytes, *, refuse_published: bool = True) -> KeySet:
    """Read a JWK Set.

    Args:
        body: Its text.
        refuse_published: Leave out keys whose private half everybody has (:data:`PUBLISHED_KEYS`).

    Raises:
        KeySetFault: It is no JWK Set, is larger than 256 KiB, has more than 100 keys, or none that can verify.
    """
    if len(body) > BYTES_MAX:
        raise KeySetFault("too_large")
    try:
        document = parse_strictly(body)
    except ValueError:
        raise KeySetFault("not_json") from None
    listed = document.get("keys") if isinstance(document, dict) else None
    if not isinstance(listed, list):
        raise KeySetFault("not_a_key_set")
    if len(listed) > KEYS_MAX:
        raise KeySetFault("too_many_keys")
    keys: dict[tuple[str, str], VerifyingKey] = {}
    twice: set[tuple[str, str]] = set()
    left_out: list[tuple[str, str]] = []
    for place, entry in enumerate(listed):
        key = _read_key(entry)
        if isinstance(key, VerifyingKey) and refuse_published and key.thumbprint in PUBLISHED_KEYS:
            key = "published"
        if isinstance(key, str):
            left_out.append((f"keys[{place}]", key))
            continue
        name = (key.kid, key.kty)
        if name in keys:
            twice.add(name)
            left_out.append((f"keys[{place}]", "kid_twice"))
        keys[name] = key
    for name in twice:
        del keys[name]  # which of two was meant is not for us to choose (CH-316)
    if not keys:
        raise KeySetFault("no_usable_key")
    return KeySet(keys, tuple(left_out))


def _read_key(entry: object) -> VerifyingKey | str:
    """One key, or why it is left out (SEC-004)."""
    if not isinstance(entry, dict):
        return "not_an_object"
    kid, kty, alg = entry.get("kid"), entry.get("kty"), entry.get("alg")
    if not isinstance(kid, str) or not 1 <= len(kid) <= KID_MAX:
        return "no_kid"
    if kty not in ("EC", "RSA"):
        return "key_type"
    if "d" in entry:
        return "private"
    if entry.get("use", "sig") != "sig" or not _may_verify(entry.get("key_ops")):
        return "not_for_signatures"
    if alg is not None and not (isinstance(alg, str) and ALGORITHMS.get(alg, ("", None))[0] == kty):
        return "algorithm"
    try:
        return _ec_key(kid, alg, entry) if kty == "EC" else _rsa_key(kid, alg, entry)
    except ValueError:
        return "damaged"


def _may_verify(operations: object) -> bool:
    return operations is None or (isinstance(operations, list) and "verify" in operations)


def _ec_key(kid: str, alg: str | None, entry: Mapping[str, Any]) -> VerifyingKey | str:
    curve = entry.get("crv")
    if curve not in ("P-256", "P-384", "P-521") or (alg is not None and ALGORITHMS[alg][1] != curve):
        return "curve"
    return _imported(kid, "EC", curve, alg, {name: entry.get(name) for name in ("crv", "x", "y")})


def _rsa_key(kid: str, alg: str | None, entry: Mapping[str, Any]) -> VerifyingKey | str:
    modulus, exponent = (int.from_bytes(unfold(entry.get(name)), "big") for name in ("n", "e"))
    if modulus.bit_length() not in _RSA_BITS:
        return "key_length"
    if exponent not in _EXPONENT or exponent % 2 == 0:
        return "exponent"
    return _imported(kid, "RSA", None, alg, {name: entry.get(name) for name in ("n", "e")})


def _imported(kid: str, kty: str, curve: str | None, alg: str | None, members: Mapping[str, object]) -> VerifyingKey:
    from cds_service.outbound.signatures import import_key  # not needed, and not loaded, in development

    texts = {name: value for name, value in members.items() if isinstance(value, str)}
    key, thumbprint = import_key(kty, texts)
    return VerifyingKey(kid, kty, curve, alg, thumbprint, key)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a key stands twice")
    return members


def _refuse(_: str) -> NoReturn:
    raise ValueError("not a number")


def _is_url_safe(text: str) -> bool:
    return not text or text.replace("-", "a").replace("_", "a").isalnum()
