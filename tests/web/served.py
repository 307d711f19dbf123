"""An application behind the door, in memory and on a real socket: what the tests of the web room share."""

import asyncio
import threading

import httpx
import uvicorn
from starlette.responses import Response
from starlette.routing import Route, Router

from cds_service.errors import (
    BadRequest,
    BundleError,
    DataUnavailable,
    Fault,
    NotAllowed,
    NotPermitted,
    Overloaded,
    PatientMismatch,
    RateLimited,
    StoreUnavailable,
    TokenUsed,
    TooLarge,
    TooSlow,
    Unavailable,
    UnknownService,
    UnsupportedMedia,
    WireError,
)
from cds_service.web.asgi import Door
from cds_service.web.body import read_body
from cds_service.web.call import call_of
from cds_service.web.cors import CORS
from cds_service.web.limits import Limits
from cds_service.web.metrics import Registry
from cds_service.web.protocol import limited_protocol

ERRORS = {
    kind.__name__: kind
    for kind in (
        BadRequest, WireError, PatientMismatch, NotAllowed, NotPermitted, TokenUsed, UnknownService, UnsupportedMedia, TooLarge, TooSlow,
        DataUnavailable, RateLimited, Unavailable, StoreUnavailable, Overloaded, BundleError,
    )
}  # fmt: skip


def make_routes(limits):
    async def echo(request):
        body = await read_body(request.scope, request.receive, limits)
        return Response(str(len(body)), media_type="application/json")

    async def fail(request):
        name = request.path_params["name"]
        if name in ERRORS:
            raise ERRORS[name](Fault("a.b", "first", "mend it"), Fault("c", "second", "mend that"))
        secret = "Zanarkand"  # noqa: F841 - a local that no log may show
        raise ValueError("Zanarkand")

    async def slow(request):
        await asyncio.sleep(float(request.query_params.get("s", "30")))
        return Response(b"{}", media_type="application/json")

    async def left(request):
        return Response(str(call_of(request.scope).deadline.left()), media_type="application/json")

    async def half(request):
        raise NotImplementedError

    async def big(request):
        return Response(b"x" * 20_000_000, media_type="application/json")

    async def get_thing(request):
        return Response(b"{}", media_type="application/json", headers={"cache-control": "max-age=5"})

    async def live(request):
        return Response(b"{}", media_type="application/json")

    class HalfAnswer:
        async def __call__(self, scope, receive, send):
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"10")]})
            await send({"type": "http.response.body", "body": b"12345", "more_body": True})
            raise ValueError("Zanarkand")

    return [
        Route("/echo/{id}", echo, methods=["POST"]),
        Route("/fail/{name}", fail, methods=["GET", "POST"]),
        Route("/slow", slow),
        Route("/left", left),
        Route("/big", big),
        Route("/half", HalfAnswer()),
        Route("/thing/{id}", get_thing),
        Route("/thing/{id}", echo, methods=["POST"]),
        Route("/health/live", live),
    ]


def make_door(limits=None, *, hosts=("testserver", "127.0.0.1"), origins=("https://ehr.example",), development=False):
    limits = limits or Limits()
    routes = make_routes(limits)
    return Door(
        Router(routes, redirect_slashes=False), routes=routes, hosts=hosts,
        cors=CORS(origins, development=development), registry=Registry(), limits=limits, development=development,
    )  # fmt: skip


async def send(door, method, path, **more):
    transport = httpx.ASGITransport(door)
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        return await client.request(method, path, **more)


def ask(door, method, path, **more):
    return asyncio.run(send(door, method, path, **more))


class Served:
    """A uvicorn server of our protocol in a thread."""

    def __init__(self, door, limits):
        config = uvicorn.Config(
            door, host="127.0.0.1", port=0, http=limited_protocol(limits), loop="uvloop", ws="none", lifespan="off",
            log_config=None, access_log=False, server_header=False, proxy_headers=False,
            timeout_keep_alive=int(limits.keep_alive_s), backlog=2048,
        )  # fmt: skip
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run, daemon=True)
        self.thread.start()
        while not self.server.started:
            self.thread.join(0.01)
        self.port = self.server.servers[0].sockets[0].getsockname()[1]

    def stop(self):
        self.server.should_exit = True
        self.thread.join(10)
