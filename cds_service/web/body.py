"""The body of a request: the right type, not too long, not too slow, in one piece."""

import asyncio
import zlib
from typing import Final

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from cds_service.errors import BadRequest, Fault, TooLarge, UnsupportedMedia
from cds_service.web.call import Call
from cds_service.web.limits import DEFAULT_LIMITS, MIB, Limits

__all__ = ["read_body"]

_JSON_TYPES: Final = frozenset({b"application/json", b"application/fhir+json"})
_WORTH_A_THREAD: Final = 16 * 1024
"""Compressed bytes from which inflating may take more than a millisecond and leaves the event loop (SEC-052)."""

_MEMBERS_MAX: Final = 64
"""Gzip members in one body: each costs a copy of what follows, so thousands of empty ones would cost seconds."""


async def read_body(scope: Scope, receive: Receive, limits: Limits = DEFAULT_LIMITS) -> bytes:
    """Read the whole body of a request that must be JSON.

    Media types are compared without parameters and case. ``Content-Length`` is believed only to refuse;
    bytes are counted as they come (SEC-043) and, when gzipped, as they unfold (SEC-044). When the body is
    complete the request's deadline starts and it takes its place among those in work.

    Raises:
        UnsupportedMedia: Not JSON, or an encoding other than identity and gzip.
        TooLarge: Over ``body_bytes``, or a gzip body that grows more than ``gzip_ratio`` times.
        BadRequest: A gzip body that is damaged or cut.
        Overloaded: No memory or no place for it now.
        ClientDisconnect: The client went away.
    """
    call: Call | None = scope.get("call")
    headers = dict(scope["headers"]) if call is None else call.headers
    media_type = headers.get(b"content-type", b"")
    if media_type not in _JSON_TYPES and media_type.split(b";", 1)[0].strip().lower() not in _JSON_TYPES:
        raise UnsupportedMedia(
            Fault("Content-Type", "the body is not declared to be JSON", "send Content-Type: application/json")
        )
    encoding = headers.get(b"content-encoding")
    inflater = None if encoding is None else _inflater(encoding, limits)
    length = headers.get(b"content-length")
    if length is not None and (not length.isdigit() or int(length) > limits.body_bytes):
        raise _too_large(limits)
    message = await receive()
    if message["type"] != "http.request":
        raise ClientDisconnect
    body: bytes = message.get("body", b"")
    if len(body) > limits.body_bytes:
        raise _too_large(limits)
    if message.get("more_body", False) or inflater is not None:
        body = await _read_on(
            body, message.get("more_body", False), receive, inflater=inflater, limits=limits, call=call
        )
    if call is not None:
        call.unread = False
        await call.begin_work()
    return body


async def _read_on(
    first: bytes, more: bool, receive: Receive, *, inflater: "_Inflater | None", limits: Limits, call: Call | None
) -> bytes:
    """Gather the chunks, counted, and join them once."""
    chunks: list[bytes] = []
    total = 0
    chunk = first
    while True:
        if inflater is not None and chunk:
            if len(chunk) >= _WORTH_A_THREAD:
                chunk = await asyncio.to_thread(inflater.feed, chunk)
            else:
                chunk = inflater.feed(chunk)
        total += len(chunk)
        if total > limits.body_bytes:
            raise _too_large(limits)
        if call is not None:
            call.hold(len(chunk))
        chunks.append(chunk)
        if not more:
            break
        message = await receive()
        if message["type"] != "http.request":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        more = message.get("more_body", False)
    if inflater is not None:
        inflater.finish()
    return b"".join(chunks)


def _inflater(encoding: bytes, limits: Limits) -> "_Inflater | None":
    name = encoding.strip().lower()
    if name in {b"", b"identity"}:
        return None
    if name in {b"gzip", b"x-gzip"}:  # the old name of the same (RFC 9110, section 8.4.1.3)
        return _Inflater(limits)
    raise UnsupportedMedia(
        Fault("Content-Encoding", "the encoding is neither gzip nor identity", "send the body plain or gzipped")
    )


def _too_large(limits: Limits) -> TooLarge:
    return TooLarge(
        Fault("body", f"the body has more than {limits.body_bytes} bytes", "send fewer resources, or page the search")
    )


class _Inflater:
    """Unfold a gzip stream piece by piece, never making more than one byte over a limit."""

    __slots__ = ("_got", "_limits", "_made", "_members", "_stream")

    def __init__(self, limits: Limits) -> None:
        self._stream = zlib.decompressobj(wbits=31)
        self._limits = limits
        self._members = 1
        self._got = 0
        self._made = 0

    def feed(self, data: bytes) -> bytes:
        """Unfold the next piece.

        Raises:
            TooLarge: The stream grew past a limit.
            BadRequest: It is not gzip.
        """
        self._got += len(data)
        if self._got > self._limits.body_bytes:
            raise _too_large(self._limits)
        made: list[bytes] = []
        while data:
            if self._stream.eof:  # gzip allows several members, one after the other
                self._members += 1
                if self._members > _MEMBERS_MAX:
                    raise _damaged()
                self._stream = zlib.decompressobj(wbits=31)
            room = self._room()
            try:
                piece = self._stream.decompress(data, room + 1)
            except zlib.error:
                raise _damaged() from None
            self._made += len(piece)
            if len(piece) > room:
                raise TooLarge(
                    Fault(
                        "body",
                        f"the gzip body unfolds to more than {self._limits.body_bytes} bytes"
                        f" or {self._limits.gzip_ratio} times its size",
                        "send the body plain, or fewer resources",
                    )
                )
            made.append(piece)
            data = self._stream.unused_data if self._stream.eof else self._stream.unconsumed_tail
        return made[0] if len(made) == 1 else b"".join(made)

    def finish(self) -> None:
        """Raise BadRequest if the stream is cut."""
        if not self._stream.eof:
            raise _damaged()

    def _room(self) -> int:
        by_ratio = max(MIB, self._got * self._limits.gzip_ratio)
        return min(self._limits.body_bytes, by_ratio) - self._made


def _damaged() -> BadRequest:
    return BadRequest(Fault("body", "the gzip stream is damaged or cut", "send a whole gzip stream, or the body plain"))
