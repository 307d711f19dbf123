"""uvicorn's HTTP protocol with the limits that it lacks: on the head, on slow senders, on slow readers.

uvicorn waits for ever for a head or a body and takes a head of any size (measured, security.md section C).
Here one timer for all connections looks at each of them twice a second, so that a request pays for two
clock readings only (SEC-040, SEC-041).
"""

import asyncio
import re
from collections.abc import Callable
from functools import partial
from typing import Any, Final

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from cds_service.errors import Fault
from cds_service.web.limits import Limits
from cds_service.web.problems import operation_outcome

__all__ = ["LimitedProtocol", "limited_protocol"]

_IDLE, _HEAD, _BODY, _ANSWER = range(4)
_LOOK_EVERY_S: Final = 0.5
_RATE_GRACE_S: Final = 2.0
_ANSWER_FIRST_S: Final = 1.0
"""Room for the application to say 408 before the connection is cut."""
_HOST: Final = re.compile(rb"(?:[A-Za-z0-9_](?:[A-Za-z0-9_.\-]{0,252})|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_TARGET: Final = re.compile(rb"/[\x21-\x7e]*")
_ONCE: Final = frozenset(
    {b"host", b"content-length", b"transfer-encoding", b"content-type", b"content-encoding", b"authorization"}
)
"""Fields that may stand once: two of them are two readings of one request."""

_BAD_HEAD_BODY: Final = operation_outcome(
    (Fault("head", "the request head is malformed or over a limit", "send a plain HTTP/1.1 request"),), code="invalid"
)
_BAD_HEAD: Final = (
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\ncontent-length: %d\r\n"
    b"x-content-type-options: nosniff\r\nreferrer-policy: no-referrer\r\ncache-control: no-store\r\n"
    b"connection: close\r\n\r\n%s" % (len(_BAD_HEAD_BODY), _BAD_HEAD_BODY)
)


class _BadHeadError(Exception):
    """Stops the parser; what was wrong is of no use to whoever sent it."""


class LimitedProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: Limits,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.limits = limits
        self.phase = _HEAD
        self.since = 0.0
        self.stalled_since = 0.0
        self.body_bytes = 0
        self.head_bytes = 0
        self.once: set[bytes] = set()
        self.host: bytes | None = None
        self.fields_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.since = self.loop.time()
        _watch(self)
        if len(self.connections) > self.limits.connections:
            transport.abort()  # one more would cost an answer to those who are here

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        _watched.get(self.loop, set()).discard(self)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self.phase == _IDLE:
            self._begin_head()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # We speak HTTP/1.1 only. The request is answered as such (Java's client offers h2c on every one)
            # and the connection ends with it, since the parser takes what follows for another protocol.
            if self.cycle is not None:
                self.cycle.keep_alive = False
        except httptools.HttpParserError:
            self._refuse_head()
            return
        if self.phase == _HEAD:
            self.head_bytes += len(data)
            if self.head_bytes > self.limits.head_bytes:
                self._refuse_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self.phase != _HEAD:  # a pipelined request begins while another is answered
            self._begin_head()
        self.once.clear()
        self.host = None
        self.fields_bytes = 0

    def on_url(self, url: bytes) -> None:
        self.url += url
        if len(self.url) > self.limits.target_bytes:
            raise _BadHeadError

    def on_header(self, name: bytes, value: bytes) -> None:
        if self.phase != _HEAD:
            raise _BadHeadError  # a trailer: it would become a header field of a request already under way
        name = name.lower()
        if name in _ONCE:
            if name in self.once:
                raise _BadHeadError
            self.once.add(name)
            if name == b"host":
                self.host = value
            elif name == b"transfer-encoding" and value.lower() != b"chunked":
                raise _BadHeadError
        elif name == b"expect" and value.lower() == b"100-continue":
            self.expect_100_continue = True
        self.fields_bytes += len(name) + len(value) + 4
        self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        limits = self.limits
        if (
            len(self.headers) > limits.head_fields
            or len(self.url) + self.fields_bytes > limits.head_bytes
            or (b"content-length" in self.once and b"transfer-encoding" in self.once)
            or _TARGET.fullmatch(self.url) is None
            or (self.host is None and self.parser.get_http_version() != "1.0")
            or (self.host is not None and _HOST.fullmatch(self.host) is None)
        ):
            raise _BadHeadError
        self.phase = _BODY
        self.since = self.loop.time()
        self.body_bytes = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self.body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        self.phase = _ANSWER
        self.since = self.loop.time()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        if self.phase == _ANSWER and not self.pipeline:
            self.phase = _IDLE
        super().on_response_complete()

    def pause_writing(self) -> None:
        self.stalled_since = self.loop.time()
        super().pause_writing()

    def resume_writing(self) -> None:
        self.stalled_since = 0.0
        super().resume_writing()

    def _should_upgrade(self) -> bool:
        return False

    def is_late(self, now: float) -> bool:
        """Whether this connection has kept us waiting longer than it may."""
        waited = now - self.since
        limits = self.limits
        if self.stalled_since and now - self.stalled_since > limits.write_stall_s:
            return True
        if self.phase == _HEAD:
            return waited > limits.head_s
        if self.phase != _BODY or self.flow.read_paused:
            return False
        return (
            waited > limits.body_s + _ANSWER_FIRST_S
            or self.body_bytes < (waited - _RATE_GRACE_S) * limits.body_bytes_per_s
        )

    def _begin_head(self) -> None:
        self.phase = _HEAD
        self.since = self.loop.time()
        self.head_bytes = 0

    def _refuse_head(self) -> None:
        """Answer 400 and close; only close when another request of the connection is still being answered."""
        if self.cycle is None or self.cycle.response_complete:
            self.transport.write(_BAD_HEAD)
        self.transport.close()


def limited_protocol(limits: Limits) -> Callable[..., LimitedProtocol]:
    """The protocol for uvicorn's ``http=``, with these limits; it can be sent to worker processes."""
    return partial(LimitedProtocol, limits=limits)


_watched: dict[asyncio.AbstractEventLoop, set[LimitedProtocol]] = {}


def _watch(connection: LimitedProtocol) -> None:
    """Look at this connection until it ends; the timer runs only while there are connections."""
    loop = connection.loop
    connections = _watched.get(loop)
    if connections is None:
        connections = _watched[loop] = set()
        loop.call_later(_LOOK_EVERY_S, _look, loop)
    connections.add(connection)


def _look(loop: asyncio.AbstractEventLoop) -> None:
    connections = _watched[loop]
    now = loop.time()
    for connection in list(connections):
        if connection.transport.is_closing() and not connection.stalled_since:
            connection.stalled_since = now  # closing waits until the peer has taken the answer: not for ever
        if connection.is_late(now):
            connection.transport.abort()
    if connections:
        loop.call_later(_LOOK_EVERY_S, _look, loop)
    else:
        del _watched[loop]
