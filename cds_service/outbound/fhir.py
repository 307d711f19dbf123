"""A client's FHIR server is asked for what its prefetch lacked: bounded in time, bytes and pages, never led elsewhere.

SEC-031 to SEC-035. One connection pool for each base; the address is looked up and judged before each query and the
connection goes to that very address. The token goes into one header of one request and nowhere else.
"""

import asyncio
import re
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple
from urllib.parse import urljoin, urlsplit

import httpx
import msgspec

from cds_service.clinical.key_content import KeyContent, decode_key
from cds_service.outbound.addresses import ForbiddenAddress, Resolve, resolve_safely

__all__ = ["REASONS", "Ask", "FHIRReader", "Gave"]

CALL_S: Final = 2.0
"""The most that one request may take, within what is left for all."""
CONNECT_S: Final = 1.0
BYTES_MAX: Final = 8 * 1024 * 1024
PAGES_MAX: Final = 5
AT_ONCE: Final = 8
"""Requests for one tenant at a time."""
FAILURES_MAX: Final = 5
"""In a row: then the server is left alone for a while."""
REST_S: Final = 10.0
LONGEST_URL: Final = 1_800
"""A longer search goes as POST ``_search``: servers and gateways cut longer addresses."""
_JSON: Final = frozenset({"application/fhir+json", "application/json"})

REASONS: Final = (
    "timeout", "unreachable", "status", "refused", "redirect", "not_json", "encoded", "too_large", "forbidden_address", "resting",
)  # fmt: skip
"""Why a key was not had, in a word, for log and metrics."""


class Ask(NamedTuple):
    """One query, relative to a base."""

    path: str
    parameters: str | None
    """Of a search; None: a read."""
    post: bool = False


@dataclass(frozen=True, slots=True)
class Gave:
    """What a server gave for one key."""

    content: KeyContent | None
    """None: nothing could be had."""
    reason: str | None = None
    requests: int = 0


@dataclass(slots=True)
class _Health:
    failures: int = 0
    rest_until: float = 0.0


class _Failed(Exception):
    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


class FHIRReader:
    """Asks FHIR servers; one for a process.

    Args:
        authorities: Whose certificates are believed.
        resolve: The resolver; the system's by default.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        authorities: ssl.SSLContext,
        *,
        resolve: Resolve | None = None,
        clock: Callable[[], float] = time.monotonic,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._authorities, self._resolve, self._clock, self._transport = authorities, resolve, clock, transport
        self._pools: dict[str, httpx.AsyncClient] = {}
        self._health: dict[str, _Health] = {}
        self._places: dict[str, asyncio.Semaphore] = {}

    async def ask(
        self,
        base: str,
        ask: Ask,
        *,
        tenant: str,
        token: str | None,
        private: bool,
        loopback: bool,
        left_s: float,
        first: KeyContent | None = None,
    ) -> Gave:
        """Ask for one key, and follow its pages.

        Args:
            base: In its normal form, from ``FHIRAccess.base_of``.
            ask: The query.
            tenant: For whom; each has its own places.
            token: The request's access token; None for an open server.
            private: Whether private addresses are allowed.
            loopback: Whether this machine is.
            left_s: Seconds for all of it.
            first: A first page that the client sent: only the pages after it are asked.

        Returns:
            The whole answer, or as many pages as could be had (the content then says that one follows). 404 on a read
            is an answer without a resource (CH-151).
        """
        health = self._health.setdefault(base, _Health())
        if self._clock() < health.rest_until:
            return Gave(first, "resting")
        requests = 0
        content = first
        try:
            async with asyncio.timeout(left_s), self._places.setdefault(tenant, asyncio.Semaphore(AT_ONCE)):
                address = await self._address(base, private=private, loopback=loopback)
                while requests < PAGES_MAX:
                    following = _following(base, content)
                    if content is not None and following is None:
                        break
                    requests += 1
                    page = await self._page(base, address, ask if following is None else following, token)
                    content = page if content is None else _joined(content, page)
        except TimeoutError:
            return self._note(health, Gave(content, "timeout", requests))
        except ForbiddenAddress:
            return Gave(content, "forbidden_address", requests)
        except _Failed as failure:
            return self._note(health, Gave(content, failure.reason, requests))
        except OSError:
            return self._note(health, Gave(content, "unreachable", requests))
        health.failures = 0
        return Gave(content, None, requests)

    async def close(self) -> None:
        """Let go of all connections."""
        for pool in self._pools.values():
            await pool.aclose()
        self._pools.clear()

    def _note(self, health: _Health, gave: Gave) -> Gave:
        if gave.reason in ("timeout", "unreachable", "status"):
            health.failures += 1
            if health.failures >= FAILURES_MAX:
                health.failures, health.rest_until = 0, self._clock() + REST_S
        return gave

    async def _address(self, base: str, *, private: bool, loopback: bool) -> str:
        parts = urlsplit(base)
        return await resolve_safely(
            parts.hostname or "", parts.port or 443, private=private, loopback=loopback, resolve=self._resolve
        )

    async def _page(self, base: str, address: str, ask: Ask, token: str | None) -> KeyContent:
        parts = urlsplit(base)
        host = f"[{address}]" if ":" in address else address
        url = f"{parts.scheme}://{host}:{parts.port}{parts.path}/{ask.path}"
        headers = {"accept": "application/fhir+json", "accept-encoding": "identity", "host": _host(parts)}
        if token is not None:
            headers["authorization"] = f"Bearer {token}"
        body = None
        if ask.parameters is not None:
            if ask.post or len(url) + len(ask.parameters) > LONGEST_URL:
                url, body = f"{url}/_search", ask.parameters.encode()
                headers["content-type"] = "application/x-www-form-urlencoded"
            elif ask.parameters:
                url = f"{url}?{ask.parameters}"
        request = httpx.Request(
            "GET" if body is None else "POST", url, headers=headers, content=body,
            extensions={"sni_hostname": parts.hostname} if parts.scheme == "https" else {},
        )  # fmt: skip
        try:
            async with asyncio.timeout(CALL_S):
                answer = await self._pool(base).send(request, stream=True)
                try:
                    return await _read(answer, is_read=ask.parameters is None)
                finally:
                    await answer.aclose()
        except TimeoutError:
            raise _Failed("timeout") from None
        except httpx.TimeoutException:
            raise _Failed("timeout") from None
        except (httpx.HTTPError, httpx.InvalidURL, ValueError):
            raise _Failed("unreachable") from None

    def _pool(self, base: str) -> httpx.AsyncClient:
        """Connections of one base only: its name stands in their TLS handshake."""
        if base not in self._pools:
            options: dict[str, Any] = {"transport": self._transport} if self._transport is not None else {}
            self._pools[base] = httpx.AsyncClient(
                verify=self._authorities, trust_env=False, follow_redirects=False,
                timeout=httpx.Timeout(CALL_S, connect=CONNECT_S), **options,
            )  # fmt: skip
        return self._pools[base]


async def _read(answer: httpx.Response, *, is_read: bool) -> KeyContent:
    if answer.status_code == 404 and is_read:
        return KeyContent()
    if answer.status_code in (401, 403):
        raise _Failed("refused")
    if answer.is_redirect:
        raise _Failed("redirect")
    if answer.status_code != 200:
        raise _Failed("status")
    if answer.headers.get("content-type", "").split(";", 1)[0].strip().lower() not in _JSON:
        raise _Failed("not_json")
    if answer.headers.get("content-encoding", "identity").lower() != "identity":
        raise _Failed("encoded")  # what unfolds has no length that could be held to the limit beforehand
    body = bytearray()
    async for chunk in answer.aiter_raw():
        body += chunk
        if len(body) > BYTES_MAX:
            raise _Failed("too_large")
    return decode_key(bytes(body))


def _following(base: str, content: KeyContent | None) -> Ask | None:
    """The next page, if there is one and it lies on the very same base (CH-107)."""
    if content is None or not content.has_next or content.next_url is None:
        return None
    home = urlsplit(base)
    try:
        target = urlsplit(urljoin(f"{base}/", content.next_url))
        same = (target.scheme.lower(), target.hostname, target.port or _port(target.scheme)) == (
            home.scheme, home.hostname, home.port,
        )  # fmt: skip
    except ValueError:
        return None
    path = target.path
    if not same or target.username is not None or not _PLAIN_PATH.fullmatch(path):
        return None
    if path.rstrip("/") == home.path:
        return Ask("", target.query) if target.query else None
    if not path.startswith(f"{home.path}/") or any(part in (".", "..") for part in path.split("/")):
        return None
    return Ask(path[len(home.path) + 1 :], target.query)


_PLAIN_PATH: Final = re.compile(r"[A-Za-z0-9._~!$&'()*+,;=:@/-]*")


def _port(scheme: str) -> int | None:
    return {"https": 443, "http": 80}.get(scheme.lower())


def _host(parts: Any) -> str:
    """``Host`` as a browser writes it: without the port that the scheme has anyway."""
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return name if parts.port == _port(parts.scheme) else f"{name}:{parts.port}"


def _joined(one: KeyContent, following: KeyContent) -> KeyContent:
    """Put a page behind what was read before it; a page that is none leaves the rest unread."""
    if following.failure is not None or not following.is_bundle:
        raise _Failed("status")
    return msgspec.structs.replace(
        one,
        resources=[*one.resources, *following.resources],
        kinds=one.kinds | following.kinds,
        has_next=following.has_next,
        next_url=following.next_url,
        entries=one.entries + following.entries,
    )
