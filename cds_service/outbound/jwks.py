"""A client's key set from its one agreed address: bounded, cached, refreshed before it ends (SEC-014, 015, 016).

No address ever comes from a token. The last good set serves for a day while the address does not answer; a token
whose ``kid`` is new costs at most one fetch in 30 s, which all who wait for it share.
"""

import asyncio
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import certifi
import httpx
import structlog

from cds_service.errors import Fault, SettingsError
from cds_service.outbound.key_set import BYTES_MAX, KeySet, KeySetFault, VerifyingKey, read_key_set

__all__ = ["FixedKeys", "KeyRing", "fetch_key_set", "trusted_authorities"]

CONNECT_S: Final = 2.0
TOTAL_S: Final = 3.0
FRESH_S: Final = 600.0
"""How long a set counts when its server says nothing; ``Cache-Control: max-age`` within the bounds below wins."""
FRESH_BOUNDS_S: Final = (60.0, 3600.0)
REFRESH_AT: Final = 0.8
"""Share of that time after which a new one is fetched in the background."""
FLOOR_S: Final = 30.0
"""Between two fetches for a ``kid`` that is not in the set, and between two tries while the address fails."""
STALE_S: Final = 86_400.0
_JSON: Final = frozenset({"application/json", "application/jwk-set+json"})

log = structlog.get_logger()


class FixedKeys:
    """A key set that was exchanged as a file (CH-319)."""

    def __init__(self, keys: KeySet) -> None:
        self._keys = keys

    def known(self, kid: str, kty: str) -> VerifyingKey | None:
        return self._keys.find(kid, kty)

    async def find(self, kid: str, kty: str) -> VerifyingKey | None:
        return self._keys.find(kid, kty)


@dataclass(frozen=True, slots=True)
class Fetched:
    """What an address gave, and for how long it may be used."""

    keys: KeySet
    fresh_s: float


def trusted_authorities(more: Path | None = None) -> ssl.SSLContext:
    """Whose certificates are believed when key sets are fetched: the public ones, and the hospital's own.

    Args:
        more: A PEM file of further certificate authorities.

    Raises:
        SettingsError: It can't be read or holds no certificate.
    """
    context = ssl.create_default_context(cafile=certifi.where())
    if more is not None:
        try:
            context.load_verify_locations(cafile=more)
        except (OSError, ssl.SSLError) as failure:
            raise SettingsError(
                Fault("keys_ca_file", f"the file can't be used ({type(failure).__name__})", "Give certificates as PEM")
            ) from None
    return context


async def fetch_key_set(url: str, *, authorities: ssl.SSLContext, refuse_published: bool = True) -> Fetched:
    """Ask one address for its key set: no redirect, no proxy of the environment, no more than 256 KiB.

    Raises:
        KeySetFault: It did not give one in time; ``reason`` says why in a word.
    """
    try:
        async with asyncio.timeout(TOTAL_S):
            async with (
                httpx.AsyncClient(
                    verify=authorities,
                    trust_env=False,
                    follow_redirects=False,
                    timeout=httpx.Timeout(TOTAL_S, connect=CONNECT_S),
                    headers={"accept": "application/json, application/jwk-set+json", "accept-encoding": "identity"},
                ) as client,
                client.stream("GET", url) as answer,
            ):
                body = await _read(answer)
    except TimeoutError:
        raise KeySetFault("timeout") from None
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as failure:
        raise KeySetFault("timeout" if isinstance(failure, httpx.TimeoutException) else "unreachable") from None
    keys = await asyncio.to_thread(read_key_set, body, refuse_published=refuse_published)
    return Fetched(keys, _fresh_s(answer.headers.get("cache-control", "")))


async def _read(answer: httpx.Response) -> bytes:
    if answer.status_code != 200:
        raise KeySetFault("redirect" if answer.is_redirect else "status")
    if answer.headers.get("content-type", "").split(";", 1)[0].strip().lower() not in _JSON:
        raise KeySetFault("not_json")
    if answer.headers.get("content-encoding", "identity").lower() != "identity":
        raise KeySetFault("encoded")  # what unfolds has no length that could be held to the limit beforehand
    body = bytearray()
    async for chunk in answer.aiter_raw():
        body += chunk
        if len(body) > BYTES_MAX:
            raise KeySetFault("too_large")
    return bytes(body)


def _fresh_s(cache_control: str) -> float:
    low, high = FRESH_BOUNDS_S
    for part in cache_control.lower().split(","):
        name, _, digits = part.strip().partition("=")
        if name in ("no-store", "no-cache"):
            return low
        if name == "max-age" and digits.isascii() and digits.isdigit() and len(digits) < 12:
            return min(high, max(low, float(digits)))
    return FRESH_S


class KeyRing:
    """The key set of one address, as this process knows it.

    Args:
        client: The client's name, for the log.
        url: Its agreed address.
        authorities: From :func:`trusted_authorities`.
        refuse_published: See :func:`~cds_service.outbound.key_set.read_key_set`.
        clock: Seconds that never go back.
        failed: Told the reason of each fetch that failed, for a metric.
    """

    def __init__(
        self,
        client: str,
        url: str,
        *,
        authorities: ssl.SSLContext,
        refuse_published: bool = True,
        clock: Callable[[], float] = time.monotonic,
        failed: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.client = client
        self.url = url
        self.failed = failed
        self._authorities = authorities
        self._refuse_published = refuse_published
        self._clock = clock
        self._keys: KeySet | None = None
        self._got_at = 0.0
        self._fresh_s = FRESH_S
        self._next_try = 0.0
        """While the address fails; zero otherwise."""
        self._next_new_kid = 0.0
        self._fetching: asyncio.Task[None] | None = None

    @property
    def age_s(self) -> float:
        """Age of the set in use; infinite while there is none."""
        return float("inf") if self._keys is None else self._clock() - self._got_at

    def known(self, kid: str, kty: str) -> VerifyingKey | None:
        """The key, if a set that is still fresh has it: what nearly every call needs, without waiting."""
        if self._keys is None or self._clock() - self._got_at >= self._fresh_s * REFRESH_AT:
            return None
        return self._keys.find(kid, kty)

    async def find(self, kid: str, kty: str) -> VerifyingKey | None:
        """The key of this id and type, fetching the set if need be; None when there is none that may be used."""
        if self._may_try and self.age_s >= self._fresh_s:
            await self._refresh_for_a_call()
        elif self._may_try and self.age_s >= self._fresh_s * REFRESH_AT:
            self._begin()  # the set in hand still counts: nobody waits
        key = self._usable(kid, kty)
        if key is not None:
            return key
        if self._fetching is not None:
            await self._refresh()
        elif self._may_try and self._clock() >= self._next_new_kid:
            await self._refresh_for_a_call()
        return self._usable(kid, kty)

    async def keep_fresh(self) -> None:
        """Fetch at once and then before each set ends, until cancelled; started by the serving process."""
        while True:
            if self._may_try:
                await self._refresh()
            wait_s = self._next_try - self._clock() if self._next_try else self._fresh_s * REFRESH_AT - self.age_s
            await asyncio.sleep(max(1.0, wait_s))

    @property
    def _may_try(self) -> bool:
        return self._clock() >= self._next_try

    def _usable(self, kid: str, kty: str) -> VerifyingKey | None:
        if self._keys is None or self.age_s >= max(self._fresh_s, STALE_S):
            return None
        return self._keys.find(kid, kty)

    def _begin(self) -> asyncio.Task[None]:
        if self._fetching is None:
            self._fetching = asyncio.get_running_loop().create_task(self._fetch())
        return self._fetching

    async def _refresh(self) -> None:
        """Wait for the fetch that is under way, or begin one: one caller that goes away does not end it for others."""
        await asyncio.shield(self._begin())

    async def _refresh_for_a_call(self) -> None:
        """The fetch that calls may cause: its floor is theirs, so that a refresh in the background takes none away."""
        self._next_new_kid = self._clock() + FLOOR_S
        await self._refresh()

    async def _fetch(self) -> None:
        try:
            fetched = await fetch_key_set(
                self.url, authorities=self._authorities, refuse_published=self._refuse_published
            )
        except KeySetFault as fault:
            self._next_try = self._clock() + FLOOR_S
            self.failed(fault.reason)
            log.warning("key_set_not_fetched", client=self.client, reason=fault.reason)
        else:
            first = self._keys is None
            self._keys, self._fresh_s, self._got_at = fetched.keys, fetched.fresh_s, self._clock()
            self._next_try = 0.0
            reasons = sorted({reason for _, reason in fetched.keys.left_out})
            (log.info if first else log.debug)(
                "key_set_fetched", client=self.client, count=len(fetched.keys.keys), problems=reasons
            )
        finally:
            self._fetching = None
