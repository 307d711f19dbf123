"""Who is calling, once that is known, and the guard before every handler that asks it."""

import heapq
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Protocol

from starlette.requests import Request
from starlette.responses import Response

from cds_service.cdshooks.client import Client
from cds_service.errors import CdsServiceError, Fault, NotAllowed, NotPermitted
from cds_service.events.schema import AnyEvent
from cds_service.events.used_tokens import UsedToken
from cds_service.web.call import call_of

__all__ = ["Authenticate", "Caller", "Handler", "KeepEvents", "Reservations", "everybody_is", "guarded"]


class KeepEvents(Protocol):
    """The event store, as far as a call needs it."""

    async def __call__(self, events: Sequence[AnyEvent], replay: UsedToken | None = None, /) -> object: ...


class Caller:
    """A client for the time of one request; what it asks is kept together with that its token was used."""

    __slots__ = ("_append", "_token", "client", "is_authenticated")

    def __init__(self, client: Client, append: KeepEvents, token: UsedToken | None = None) -> None:
        self.client = client
        self.is_authenticated = token is not None
        self._append = append
        self._token = token

    async def append(self, events: Sequence[AnyEvent]) -> object:
        """Keep events, the first time together with the token.

        Raises:
            StoreUnavailable: Nothing may leave.
            TokenUsed: Somebody used the token before.
        """
        token, self._token = self._token, None
        if token is None:
            return await self._append(events)
        return await self._append(events, token)

    async def leave(self) -> None:
        """Keep that the token was used, where no event went with it."""
        if self._token is not None:
            await self.append(())


Authenticate = Callable[[Request], Awaitable[Caller]]
"""Says who sent a request, or raises ``NotAllowed``."""
Handler = Callable[[Request, Caller], Awaitable[Response]]


def everybody_is(client: Client, append: Callable[[Sequence[AnyEvent]], Awaitable[object]]) -> Authenticate:
    """Development mode: whoever reaches this loopback address is the one implicit client."""

    async def keep(events: Sequence[AnyEvent], replay: UsedToken | None = None) -> object:
        if replay is not None:
            raise TypeError("there is no token without authentication")
        return await append(events)

    caller = Caller(client, keep)

    async def authenticate(_: Request) -> Caller:
        return caller

    return authenticate


def guarded(
    handler: Handler,
    authenticate: Authenticate,
    may: Callable[[Client, Request], bool] = lambda *_: True,
    refused: Callable[[NotPermitted, Request, Caller], Awaitable[None]] | None = None,
) -> Callable[[Request], Awaitable[Response]]:
    """Ask who calls before anything of the request is read, and let nothing leave before the token is used up.

    Args:
        handler: What answers.
        authenticate: Who is calling.
        may: Whether this client may ask this; asked of authenticated clients only.
        refused: Told when it may not, to keep that as an event.
    """

    async def ask(request: Request, caller: Caller) -> Response:
        if caller.is_authenticated and not may(caller.client, request):
            raise NotPermitted(Fault("path", "this is not among what you may ask", "see discovery"))
        return await handler(request, caller)

    async def answer(request: Request) -> Response:
        caller = await authenticate(request)
        call_of(request.scope).client = caller.client.name
        try:
            response = await ask(request, caller)
        except NotAllowed:
            raise
        except NotPermitted as error:
            if refused is not None:
                await refused(error, request, caller)
            await caller.leave()
            raise
        except CdsServiceError:
            await caller.leave()
            raise
        await caller.leave()
        return response

    answer.__name__ = getattr(handler, "__name__", "answer")
    return answer


class Reservations:
    """Tokens in use by this process: a second one that comes at the same moment is refused without asking the disk.

    Kept by a clock that never goes back, so that a wrong wall clock brings no token back either.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._held: set[bytes] = set()
        self._ends: list[tuple[float, bytes]] = []

    def __len__(self) -> int:
        return len(self._held)

    def take(self, token: UsedToken, for_s: float) -> bool:
        """Reserve a token for so many seconds; False when it is reserved already."""
        now = self._clock()
        while self._ends and self._ends[0][0] <= now:
            self._held.discard(heapq.heappop(self._ends)[1])
        if token.digest in self._held:
            return False
        self._held.add(token.digest)
        heapq.heappush(self._ends, (now + for_s, token.digest))
        return True


def of_tenant(client: Client, tenant: str) -> Client:
    """The same client, acting for one of its tenants."""
    return replace(client, tenant=tenant)
