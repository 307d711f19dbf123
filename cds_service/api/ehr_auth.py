"""The EHR's identity: every request is held to what was agreed with its client, in one order, before its body is read.

The order is that of the best practices (CH-328): issuer known, audience, times, tenant, signature, ``jti`` unseen. A
stranger costs no signature and opens no socket (SEC-008, SEC-017). Every failure is the same 401; why goes to the log.
"""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol

import structlog
from starlette.requests import Request

from cds_service.api.caller import Caller, KeepEvents, Reservations, of_tenant
from cds_service.api.denied_keys import DeniedKeys
from cds_service.api.jwt_reading import (
    REASONS,
    Token,
    TokenRefused,
    check_jti,
    check_times,
    has_audience,
    read_bearer,
    read_token,
)
from cds_service.cdshooks.client import Client
from cds_service.cdshooks.identity import Identity
from cds_service.errors import Fault, RateLimited, TokenUsed
from cds_service.events.schema import AnyEvent
from cds_service.events.used_tokens import UsedToken, used_token
from cds_service.outbound.key_set import ALGORITHMS, VerifyingKey, is_signed_by
from cds_service.web.call import call_of
from cds_service.web.metrics import Registry
from cds_service.web.rates import Failures, Rates

__all__ = ["EHRAuth", "Keys"]

OFF_THE_LOOP: Final = frozenset({"ES384", "ES512"})
"""Verified on a thread: they take over 200 µs (ES384 about 480), and OpenSSL gives up the interpreter lock meanwhile."""

_LATER: Final = "ask again when Retry-After has passed"

log = structlog.get_logger()


class Keys(Protocol):
    """Where a client's keys come from: ``outbound.jwks``."""

    def known(self, kid: str, kty: str) -> VerifyingKey | None: ...

    async def find(self, kid: str, kty: str) -> VerifyingKey | None: ...


@dataclass(frozen=True, slots=True)
class _Known:
    client: Client
    identity: Identity
    keys: Keys
    tenants: Mapping[str, Client]


@dataclass(frozen=True, slots=True)
class _Believed:
    client: Client
    token: UsedToken
    for_s: float


class EHRAuth:
    """Says who sent a request.

    Args:
        clients: Those with an identity, each with where its keys come from.
        base_url: ``public_base_url``: audiences are built from it, never from ``Host`` or a forwarded header.
        clock: The moment now.
        append: The event store.
        denied: Keys that were dropped.
        registry: Where metrics are declared.
        share: Of each client's rate that this process gives out: one of several workers gives its part.
        sees_callers: Whether the other end of a connection is who calls, and not a gateway that all come through.
        rates: Of the clients.
        failures: Of the addresses.
    """

    def __init__(
        self,
        clients: Sequence[tuple[Client, Keys]],
        *,
        base_url: str,
        clock: Callable[[], datetime],
        append: KeepEvents,
        denied: DeniedKeys,
        registry: Registry,
        share: float = 1.0,
        sees_callers: bool = False,
        rates: Rates | None = None,
        failures: Failures | None = None,
    ) -> None:
        self._share, self._sees_callers = share, sees_callers
        self._rates, self._failures = rates or Rates(), failures or Failures()
        self._known = {
            client.identity.issuer: _Known(
                client,
                client.identity,
                keys,
                {tenant: of_tenant(client, tenant) for tenant in client.identity.tenants},
            )
            for client, keys in clients
            if client.identity is not None
        }
        self._base = base_url.rstrip("/")
        self._clock = clock
        self._append = append
        self._denied = denied
        self._reservations = Reservations()
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="verify")
        names = [client.name for client, _ in clients]
        self._accepted = registry.counter("cds_auth_accepted_total", "Authenticated requests.", {"client": names})
        self._refused = registry.counter("cds_auth_refused_total", "Refused tokens.", {"reason": tuple(REASONS)})
        self._limited = registry.counter(
            "cds_rate_limited_total",
            "Requests beyond a client's rate, or of an address with too many refused tokens.",
            {"client": (*names, "-")},
        )
        self._quirks = registry.counter(
            "cds_auth_quirks_total",
            "Requests that used what was agreed with one client only.",
            {"client": names, "quirk": ("audience", "feedback_audience")},
        )
        registry.gauge("cds_auth_tokens_held", "Tokens reserved in memory.", lambda: len(self._reservations))

    async def __call__(self, request: Request) -> Caller:
        """Authenticate one request.

        Raises:
            TokenRefused: It can't be; the reason is in the log and in no answer.
            RateLimited: It asks more than was agreed, or its address had too many tokens refused.
            Unavailable: What the decision needs can't be read.
        """
        token: Token | None = None
        peer = self._peer(request)
        if peer is not None and self._failures.too_many(peer):
            self._limited.add("-")
            raise RateLimited(Fault("request", "too many refused tokens came from this address", _LATER))
        try:
            token = read_token(read_bearer(request.scope["headers"]))
            believed = await self._believe(token, request.scope["path"])
            self._within_rate(believed.client)
            self._reserve(believed)
        except TokenRefused as refusal:
            if peer is not None:
                self._failures.add(peer)
            self._note(refusal.reason, token, call_of(request.scope).request_id)
            raise
        self._accepted.add(believed.client.name)
        request_id = call_of(request.scope).request_id

        async def append(events: Sequence[AnyEvent], replay: UsedToken | None = None) -> object:
            try:
                return await self._append(events, replay)
            except TokenUsed:
                self._note("used", token, request_id)
                raise

        return Caller(believed.client, append, believed.token)

    def _peer(self, request: Request) -> str | None:
        client = request.scope.get("client")
        return client[0] if self._sees_callers and client else None

    def _within_rate(self, client: Client) -> None:
        """Counted after the signature, so that nobody can use up another's rate, and before the token is used up."""
        if not self._rates.take((client.name, client.tenant), client.rate_per_s * self._share):
            self._limited.add(client.name)
            raise RateLimited(Fault("request", "more calls than were agreed for this client", _LATER))

    def _reserve(self, believed: _Believed) -> None:
        if not self._reservations.take(believed.token, believed.for_s):
            raise TokenRefused("used")

    async def explain(self, text: bytes, path: str) -> str | None:
        """Why a token would be refused at a path; None: it would be taken, unless it was used before.

        For the operator at the command line; reserves nothing.
        """
        try:
            await self._believe(read_token(text), path)
        except TokenRefused as refusal:
            return refusal.reason
        return None

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _believe(self, token: Token, path: str) -> _Believed:
        known = self._known.get(token.issuer)
        if known is None:
            raise TokenRefused("iss")
        identity, head, claims = known.identity, token.head, token.claims
        if head.alg not in identity.algorithms:
            raise TokenRefused("alg")
        if head.jku is not None and head.jku != identity.jku:
            raise TokenRefused("jku")
        quirk = self._audience(known, token, path)
        now = self._clock().timestamp()
        until = check_times(claims, now, identity.life_s)
        client = known.client
        if identity.tenants:
            tenant = claims.get("tenant")
            if not isinstance(tenant, str) or tenant not in known.tenants:
                raise TokenRefused("tenant")
            client = known.tenants[tenant]
        jti = check_jti(claims)
        await self._verify(known, token)
        if quirk:
            self._quirks.add(client.name, quirk)
        return _Believed(client, used_token(identity.issuer, jti, until, int(now)), until - now)

    def _audience(self, known: _Known, token: Token, path: str) -> str:
        """Hold ``aud`` to the URL that is called (SEC-009); the quirk by which it passed, or nothing."""
        called = self._base + path
        agreed = known.identity.audiences
        service = called.removesuffix("/feedback")
        if not known.identity.feedback_by_service_url or not path.startswith("/cds-services/"):
            service = called
        named = has_audience(token.claims, frozenset((called, service, *agreed)), strict=known.identity.is_strict_aud)
        if named is None:
            raise TokenRefused("aud")
        if named == called:
            return ""
        return "audience" if named in agreed else "feedback_audience"

    async def _verify(self, known: _Known, token: Token) -> None:
        head = token.head
        kty = ALGORITHMS[head.alg][0]
        if self._denied.has(known.identity.issuer, head.kid):
            raise TokenRefused("denied_key")
        key = known.keys.known(head.kid, kty) or await known.keys.find(head.kid, kty)
        if key is None or not key.fits(head.alg):
            raise TokenRefused("unknown_key")
        if head.alg in OFF_THE_LOOP:
            is_signed = await asyncio.get_running_loop().run_in_executor(
                self._threads, is_signed_by, key, head.alg, token.signed, token.signature
            )
        else:
            is_signed = is_signed_by(key, head.alg, token.signed, token.signature)
        if not is_signed:
            raise TokenRefused("signature")

    def _note(self, reason: str, token: Token | None, request_id: str) -> None:
        self._refused.add(reason)
        named = {} if token is None else {"kid": token.head.kid, "iss": token.text("iss"), "jti": token.text("jti")}
        known = None if token is None else self._known.get(token.issuer)
        log.warning(
            "caller_refused", reason=reason, client=known.client.name if known else "-", request_id=request_id, **named
        )
