"""A bearer token as it came: one header field, three parts, a head and claims in which nothing stands twice.

Nothing here believes the token; it only reads it, and refuses what no honest EHR sends (SEC-002, 005, 006, 010, 011).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

from cds_service.errors import Fault, NotAllowed
from cds_service.outbound.key_set import ALGORITHMS, KID_MAX, parse_strictly, unfold

__all__ = [
    "LEEWAY_S",
    "REASONS",
    "Head",
    "Token",
    "TokenRefused",
    "check_jti",
    "check_times",
    "has_audience",
    "read_bearer",
    "read_token",
]

TOKEN_MAX: Final = 8 * 1024
JTI_MAX: Final = 256
ISS_MAX: Final = 2048
LEEWAY_S: Final = 60
"""On ``exp``, ``nbf`` and ``iat``: a real client rounds ``iat`` up (W-06)."""
_LATEST: Final = 2**53
_FORBIDDEN: Final = frozenset({"crit", "jwk", "x5u", "x5c", "b64"})
"""Head members that change what is verified, or by what."""
_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")

REASONS: Final[Mapping[str, str]] = {
    "no_token": "no Authorization: Bearer header, more than one, or another scheme. Send the JWT in one header",
    "too_long": f"the token is longer than {TOKEN_MAX} bytes. Leave out what is not agreed",
    "malformed": "it is not three parts of base64url with JSON objects in which no key stands twice. Sign anew",
    "typ": "the head's typ is not JWT. Set it",
    "alg": "alg is missing, none, symmetric, or not agreed with this client. Use one of its algorithms",
    "kid": f"kid is missing or longer than {KID_MAX}. Name the key",
    "head": f"the head has one of {', '.join(sorted(_FORBIDDEN))}. Leave it out: keys come from the agreed set only",
    "iss": "no client has this issuer, letter for letter. Compare with issuer in clients.toml",
    "jku": "jku is not the address agreed with this client. Compare with keys or jku in clients.toml",
    "aud": "aud does not name the address that was called. Compare with public_base_url and the path",
    "exp": "exp is missing, not a number, or past. Look at the client's clock",
    "iat": "iat is missing, not a number, or in the future. Look at the client's clock",
    "nbf": "nbf is not a number or lies ahead. Look at the client's clock",
    "life": "it is valid for longer than agreed. Shorten exp - iat, or raise max_token_life_s",
    "tenant": "the claim tenant is missing or not one of this client's. Compare with tenants in clients.toml",
    "jti": f"jti is missing, empty, longer than {JTI_MAX} or has control characters. Send a fresh one each time",
    "unknown_key": "the client's key set has no usable key of this kid for this alg. Look at the key set and the log",
    "denied_key": "this key was dropped with cds-service keys drop. Rotate to another",
    "signature": "the signature was not made with this key. Sign with the key that kid names",
    "used": "the token was used before. Make a new one for each request",
}  # fmt: skip
"""Why a token is refused → what that means and what to do. For log, metrics and operator; a caller never hears it."""


class TokenRefused(NotAllowed):
    """The caller can't be told from a stranger; ``reason`` is one of :data:`REASONS`."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(Fault("Authorization", "the caller could not be authenticated", "send a valid Bearer token"))


@dataclass(frozen=True, slots=True)
class Head:
    """What a head says that may be listened to."""

    alg: str
    kid: str
    jku: object = None


@dataclass(frozen=True, slots=True)
class Token:
    """A token that is well formed and not believed yet."""

    head: Head
    claims: Mapping[str, Any] = field(repr=False)
    signed: bytes = field(repr=False)
    signature: bytes = field(repr=False)

    @property
    def issuer(self) -> str:
        issuer = self.claims.get("iss")
        return issuer if isinstance(issuer, str) and len(issuer) <= ISS_MAX else ""

    def text(self, name: str) -> str:
        """A claim for the log: short and without control characters, empty when it is no text."""
        value = self.claims.get(name)
        return _CONTROLS.sub("?", value[:JTI_MAX]) if isinstance(value, str) else ""


def read_bearer(headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The one bearer token of a request, from ``Authorization`` only (SEC-002).

    Raises:
        TokenRefused: There is none, there are two, or it is another scheme.
    """
    values = [value for name, value in headers if name == b"authorization"]
    if len(values) != 1:
        raise TokenRefused("no_token")
    scheme, _, token = values[0].partition(b" ")
    if scheme.lower() != b"bearer" or not token:
        raise TokenRefused("no_token")
    return token


def read_token(text: bytes) -> Token:
    """Take a token apart and refuse what is not one.

    Raises:
        TokenRefused: With the reason.
    """
    if len(text) > TOKEN_MAX:
        raise TokenRefused("too_long")
    parts = text.split(b".")
    if len(parts) != 3:
        raise TokenRefused("malformed")
    head = _read_head(parts[0])
    try:
        claims = parse_strictly(unfold(parts[1].decode("ascii")))
        signature = unfold(parts[2].decode("ascii"))
    except ValueError:
        raise TokenRefused("malformed") from None
    if not isinstance(claims, dict) or not signature:
        raise TokenRefused("malformed")
    return Token(head, claims, text[: len(parts[0]) + 1 + len(parts[1])], signature)


@lru_cache(maxsize=256)
def _read_head(part: bytes) -> Head:
    """The same bytes in every token of a client and key, so read once; what is refused is not remembered."""
    try:
        head = parse_strictly(unfold(part.decode("ascii")))
    except ValueError:
        raise TokenRefused("malformed") from None
    if not isinstance(head, dict):
        raise TokenRefused("malformed")
    if not _FORBIDDEN.isdisjoint(head):
        raise TokenRefused("head")
    typ, alg, kid = head.get("typ"), head.get("alg"), head.get("kid")
    if not isinstance(typ, str) or typ.upper() != "JWT":
        raise TokenRefused("typ")
    if not isinstance(alg, str) or alg not in ALGORITHMS:
        raise TokenRefused("alg")
    if not isinstance(kid, str) or not 1 <= len(kid) <= KID_MAX or _CONTROLS.search(kid):
        raise TokenRefused("kid")
    return Head(alg, kid, head.get("jku"))


def has_audience(claims: Mapping[str, Any], accepted: frozenset[str], *, strict: bool) -> str | None:
    """Which accepted value ``aud`` names, exactly but for one slash at its end (W-10); None: none.

    Args:
        claims: Of the token.
        accepted: The URL that is called, and what was agreed with this client.
        strict: Refuse a list that names others too.
    """
    aud = claims.get("aud")
    values = [aud] if isinstance(aud, str) else aud
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        return None
    named = [value if value in accepted else value.removesuffix("/") for value in values]
    ours = [value for value in named if value in accepted]
    if not ours or (strict and len(ours) != len(named)):
        return None
    return str(ours[0])


def check_times(claims: Mapping[str, Any], now: float, life_s: int) -> int:
    """Hold ``exp``, ``iat`` and ``nbf`` to the clock (SEC-010).

    Args:
        claims: Of the token.
        now: Seconds since 1970.
        life_s: The longest ``exp - iat``.

    Returns:
        Until when the token could be used again: ``exp`` and the leeway, rounded up.

    Raises:
        TokenRefused: With the reason.
    """
    exp, iat = _moment(claims, "exp"), _moment(claims, "iat")
    if exp + LEEWAY_S <= now:
        raise TokenRefused("exp")
    if iat > now + LEEWAY_S:
        raise TokenRefused("iat")
    if not 0 < exp - iat <= life_s:
        raise TokenRefused("life")
    if "nbf" in claims and _moment(claims, "nbf") > now + LEEWAY_S:
        raise TokenRefused("nbf")
    return int(exp) + LEEWAY_S + 1


def _moment(claims: Mapping[str, Any], name: str) -> float:
    value = claims.get(name)
    if value.__class__ not in (int, float) or not 0 <= value < _LATEST:  # bool is neither, NaN is below nothing
        raise TokenRefused(name)
    return float(value)


def check_jti(claims: Mapping[str, Any]) -> str:
    """The token's own id (SEC-011).

    Raises:
        TokenRefused: It is no text of 1 to 256 characters without control characters.
    """
    jti = claims.get("jti")
    if not isinstance(jti, str) or not 1 <= len(jti) <= JTI_MAX or _CONTROLS.search(jti):
        raise TokenRefused("jti")
    return jti
