"""What one request carries through the house: its id, its deadline, its place among those in work."""

import asyncio
from collections import deque
from os import urandom

from starlette.types import Scope

from cds_service.errors import Fault, Overloaded
from cds_service.web.limits import Limits

__all__ = ["Call", "Deadline", "Gate", "call_of"]


class Deadline:
    """The moment by which an answer must stand; past it, what still waits is cancelled (SEC-049)."""

    __slots__ = ("_loop", "timeout")

    def __init__(self, seconds: float) -> None:
        self._loop = asyncio.get_running_loop()
        self.timeout = asyncio.timeout_at(self._loop.time() + seconds)

    def begin(self, seconds: float) -> None:
        """Start anew: so many seconds from now."""
        self.timeout.reschedule(self._loop.time() + seconds)

    def left(self) -> float:
        """Seconds left; zero when it has passed.

        A caller that asks another system gives it this, less what writing an honest answer takes.
        """
        when = self.timeout.when()
        return 0.0 if when is None else max(0.0, when - self._loop.time())


class Gate:
    """A bounded number in work, a bounded number waiting, the rest told to come back (SEC-050)."""

    __slots__ = ("_in_work", "_queue", "_waiting", "held", "held_max", "working")

    def __init__(self, limits: Limits) -> None:
        self._in_work = limits.in_work
        self._queue = limits.queue
        self._waiting: deque[asyncio.Future[None]] = deque()
        self.working = 0
        self.held = 0
        self.held_max = limits.body_bytes_held

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def enter_now(self) -> bool:
        """Take a place if one is free."""
        if self.working < self._in_work:
            self.working += 1
            return True
        return False

    async def enter(self) -> None:
        """Take a place, waiting in the queue for it.

        Raises:
            Overloaded: The queue is full.
        """
        if self.enter_now():
            return
        if len(self._waiting) >= self._queue:
            raise Overloaded(Fault("request", "more requests are waiting than can be answered in time", "try again"))
        place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(place)
        try:
            await place
        except asyncio.CancelledError:
            if place.done() and not place.cancelled():
                self.leave()  # the place was given in the same turn of the loop in which the wait ended
            else:
                self._waiting.remove(place)
            raise

    def leave(self) -> None:
        """Give the place to whoever has waited longest."""
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return
        self.working -= 1

    def hold(self, count: int) -> None:
        """Count bytes of bodies that are being read.

        Raises:
            Overloaded: All bodies together would need more memory than they may.
        """
        if self.held + count > self.held_max:
            raise Overloaded(Fault("body", "more bodies are being read than there is memory for", "try again"))
        self.held += count


class Call:
    """One request on its way through the process."""

    __slots__ = (
        "client",
        "deadline",
        "gate",
        "headers",
        "held",
        "in_work",
        "limits",
        "phase",
        "request_id",
        "sent",
        "status",
        "unread",
    )

    def __init__(self, headers: dict[bytes, bytes], limits: Limits, gate: Gate, *, has_body: bool) -> None:
        self.headers = headers
        self.limits = limits
        self.gate = gate
        self.request_id = urandom(8).hex()
        self.client = "-"
        """Who is calling, once that is known: a client's name from our settings, never a text of theirs."""
        self.unread = has_body
        self.phase = "body" if has_body else "work"
        self.deadline = Deadline(limits.body_s if has_body else limits.deadline_s)
        self.in_work = False
        self.held = 0
        self.status = 0
        self.sent = 0

    def hold(self, count: int) -> None:
        """Count bytes of this body against what all bodies together may take."""
        self.gate.hold(count)
        self.held += count

    async def begin_work(self) -> None:
        """The request is complete: start its deadline and take a place among those in work.

        Raises:
            Overloaded: There is no place, not even in the queue.
        """
        self.phase = "work"
        self.deadline.begin(self.limits.deadline_s)
        if not self.in_work:
            if not self.gate.enter_now():
                await self.gate.enter()
            self.in_work = True

    def end(self) -> None:
        """Give back what the call held."""
        if self.in_work:
            self.in_work = False
            self.gate.leave()
        if self.held:
            self.gate.held -= self.held
            self.held = 0


def call_of(scope: Scope) -> Call:
    """The call that this scope belongs to; every request behind the door has one."""
    call = scope["call"]
    if not isinstance(call, Call):
        raise TypeError("scope['call'] is set by web.asgi.Door and by nothing else")
    return call
