"""The door: one layer around the application that every request passes, in and out.

Cheapest check first: preflight, host, then the route itself. One layer, because each further one would cost
every request: ids, headers, CORS, limits, deadline, metrics, the access log and the mapping of errors are here,
and each is a few lines that call the module where it lives.
"""

import asyncio
import time
from collections.abc import Collection, Sequence

import structlog
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from cds_service.errors import BadRequest, Fault, Overloaded, SettingsError, TooSlow
from cds_service.web.call import Call, Gate
from cds_service.web.cors import CORS
from cds_service.web.limits import DEFAULT_LIMITS, Limits
from cds_service.web.metrics import OTHER, Registry
from cds_service.web.problems import status_of, to_response

__all__ = ["EXEMPT", "PAGE_CSP", "Door"]

EXEMPT = frozenset({"/health/live", "/health/ready", "/metrics"})
"""Answered also when everything else is full: an overloaded process is not a dead one (SEC-050)."""

PAGE_CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""What a page of ours sends as Content-Security-Policy (SEC-062)."""

_ALWAYS = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"))
_UNLESS_SET = (
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
_HSTS = ((b"strict-transport-security", b"max-age=31536000"),)
_CLOSE = (b"connection", b"close")
_LINGER_S = 1.0
_LINGER_BYTES = 16 * 1024 * 1024
_HOOKS = "/cds-services"
_GONE = 499
"""In log and metrics: the client left before it was answered."""
_COUNTED = frozenset({"TooLarge", "TooSlow", "Overloaded", "UnsupportedMedia", "RateLimited"})
_METHODS = ("GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE")

log = structlog.get_logger()


class Door:
    """Wraps the application.

    Args:
        app: A Starlette ``Router`` (``redirect_slashes=False``) of ``routes``, with its lifespan.
        routes: The same routes: their templates are the names in the log and the metrics.
        hosts: What ``Host`` may say, with or without port; without, any port is right. ``*`` in development only.
        cors: Which pages of other origins may read answers.
        registry: Where the door's own metrics are declared.
        limits: See ``limits.py``.
        development: Whether ``*`` may stand in ``hosts``.

    Raises:
        SettingsError: ``hosts`` is empty, or is ``*`` outside development.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        routes: Sequence[BaseRoute],
        hosts: Collection[str],
        cors: CORS,
        registry: Registry,
        limits: Limits = DEFAULT_LIMITS,
        development: bool = False,
    ) -> None:
        if not hosts or ("*" in hosts and not development):
            raise SettingsError(
                Fault("allowed_hosts", "any host would be answered", "list the names under which the service is called")
            )
        self._app = app
        self._any_host = "*" in hosts
        self._hosts = frozenset(host.lower().encode("ascii") for host in hosts)
        self._cors = cors
        self._limits = limits
        self.gate = Gate(limits)
        self._allow = _methods_by_path(routes)
        paths = {path for route in routes if (path := getattr(route, "path", None))}
        labels = {"route": paths, "method": _METHODS, "status": [str(status) for status in range(200, 600)]}
        self._requests = registry.counter("cds_http_requests_total", "Requests by route, method and status.", labels)
        self._seconds = registry.histogram(
            "cds_http_request_seconds", "Time from the end of the head to the end of the answer.", {"route": paths}
        )
        self._refused = registry.counter(
            "cds_http_refused_total",
            "Requests that a limit stopped.",
            {"reason": (*_COUNTED, "host", "deadline")},
        )
        self._failures = registry.counter("cds_http_failures_total", "Requests that failed by our own fault.")
        registry.gauge("cds_http_in_work", "Requests in work.", lambda: self.gate.working)
        registry.gauge("cds_http_waiting", "Requests that wait for a place.", lambda: self.gate.waiting)
        registry.gauge("cds_http_body_bytes_held", "Bytes of bodies being read.", lambda: self.gate.held)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            scope["app"] = self
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        if scope["path"].startswith(_HOOKS) and scope["path"].endswith("/"):
            scope["path"] = scope["path"][:-1]  # joined addresses end so; a redirect would lose the body (CH-021)
        headers = dict(scope["headers"])
        has_body = b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"
        call = Call(headers, self._limits, self.gate, has_body=has_body)
        scope["call"] = call
        scope["app"] = self  # the router raises its 404 and 405 instead of writing them
        send = self._outgoing(scope, call, send)
        try:
            await self._pass(scope, call, receive, send)
        except ClientDisconnect:
            call.status = _GONE
        except Exception as error:  # noqa: BLE001 - this is the one place where errors become answers
            await self._refuse(scope, call, error, receive, send)
        finally:
            call.end()
            self._note(scope, call, time.perf_counter() - started)

    async def _pass(self, scope: Scope, call: Call, receive: Receive, send: Send) -> None:
        headers = call.headers
        if (
            scope["method"] == "OPTIONS"
            and (origin := headers.get(b"origin")) is not None
            and b"access-control-request-method" in headers
        ):
            response = Response(status_code=204)
            response.raw_headers.extend(self._cors.preflight_for(origin))
            await response(scope, receive, send)
            return
        if not self._knows_host(headers.get(b"host", b"")):
            self._refused.add("host")
            raise BadRequest(
                Fault("Host", "the service is not called by this name", "use the address that you were given")
            )
        try:
            async with call.deadline.timeout:
                if (scope["method"] != "POST" or not call.unread) and scope["path"] not in EXEMPT:
                    await call.begin_work()
                await self._app(scope, receive, send)
        except TimeoutError:
            if not call.deadline.timeout.expired():
                raise
            self._refused.add("deadline")
            if call.phase == "body":
                raise TooSlow(
                    Fault("body", "the body did not come in time", f"send it within {self._limits.body_s:g} s")
                ) from None
            raise Overloaded(
                Fault("request", "it could not be answered in time", "try again, or send fewer resources")
            ) from None

    def _knows_host(self, host: bytes) -> bool:
        if host in self._hosts or self._any_host:
            return True
        host = host.lower()
        name, colon, port = host.rpartition(b":")
        if colon and port.isdigit() and name in self._hosts:
            return True
        return host in self._hosts

    def _outgoing(self, scope: Scope, call: Call, send: Send) -> Send:
        """Give every answer the header fields that all answers have, and count what leaves."""
        cors = self._cors
        origin = call.headers.get(b"origin")

        async def outgoing(message: Message) -> None:
            if message["type"] == "http.response.start":
                call.status = message["status"]
                own = message.get("headers", ())
                names = {name for name, _ in own}
                more = [*own, *_ALWAYS, (b"x-request-id", call.request_id.encode())]
                more += [field for field in _UNLESS_SET if field[0] not in names]
                if origin is not None:
                    more += cors.headers_for(origin)
                if cors.varies:
                    more.append((b"vary", b"Origin"))
                if scope["scheme"] == "https":
                    more += _HSTS
                if call.unread:
                    more.append(_CLOSE)  # what was not read must not be taken for the next request
                message["headers"] = more
            else:
                call.sent += len(message.get("body", b""))
            await send(message)

        return outgoing

    async def _refuse(self, scope: Scope, call: Call, error: Exception, receive: Receive, send: Send) -> None:
        """Answer with what went wrong; if the answer has begun, cut it."""
        if status_of(error) == 500:
            self._failures.add()
            # The renderer writes type and lines of code only: a message may quote what it stumbled over (SEC-086).
            log.error("request_failed", request_id=call.request_id, route=_template(scope), exc_info=error)
        elif type(error).__name__ in _COUNTED:
            self._refused.add(type(error).__name__)
        if call.status:
            return  # the server sees an unfinished answer and closes the connection
        response = to_response(
            error, allow=self._allow.get(_template(scope), ()), retry_after_s=self._limits.retry_after_s
        )
        if call.unread:
            await _linger(response, receive, send)
        else:
            await response(scope, receive, send)

    def _note(self, scope: Scope, call: Call, seconds: float) -> None:
        route = _template(scope)
        method = scope["method"]
        self._requests.add(route, method, str(call.status))
        self._seconds.add(seconds, route)
        log.info(
            "request_answered",
            method=method if method in _METHODS else OTHER,
            route=route,
            status=call.status,
            bytes_out=call.sent,
            took_ms=round(seconds * 1000, 2),
            client=call.client,
            request_id=call.request_id,
        )


async def _linger(response: Response, receive: Receive, send: Send) -> None:
    """Answer before the body is read, and go on taking a little of it.

    Closing at once with bytes unread resets the connection, and the caller would see that instead of the answer.
    """
    await send({"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": True})
    end = time.monotonic() + _LINGER_S
    left = _LINGER_BYTES
    while left > 0 and time.monotonic() < end:
        message = await _receive_until(receive, end)
        if message is None or message["type"] != "http.request" or not message.get("more_body", False):
            break
        left -= len(message.get("body", b""))
    await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _receive_until(receive: Receive, end: float) -> Message | None:
    try:
        async with asyncio.timeout(max(0.0, end - time.monotonic())):
            return await receive()
    except TimeoutError:
        return None


def _template(scope: Scope) -> str:
    """The route as it is declared: a raw path may hold anything, also a patient's name (SEC-084)."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else OTHER


def _methods_by_path(routes: Sequence[BaseRoute]) -> dict[str, set[str]]:
    allow: dict[str, set[str]] = {}
    for route in routes:
        path = getattr(route, "path", None)
        if path is not None:
            allow.setdefault(path, set()).update(getattr(route, "methods", None) or ())
    return allow
