"""What an operator's tools ask: does it live, may it be given work, how is it doing."""

import hmac
from collections.abc import Callable, Mapping

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cds_service.errors import Fault, NotAllowed
from cds_service.web.metrics import CONTENT_TYPE, Registry

__all__ = ["LAB", "WITHOUT_AUTHENTICATION", "operations_routes"]

WITHOUT_AUTHENTICATION = "development without authentication, not for patients"
"""What every health answer and page says while nobody is asked who they are (SEC-001)."""

LAB = "a lab that trusts published keys, not for patients"


def operations_routes(
    *,
    mode: str,
    checks: Mapping[str, Callable[[], bool]],
    registry: Registry,
    is_open: bool = True,
    metrics_token: bytes | None = None,
) -> list[Route]:
    """Health, readiness and metrics.

    Args:
        mode: How this process runs, such as :data:`WITHOUT_AUTHENTICATION`.
        checks: Name → whether that part can do its work: ``models``, ``store``. No detail leaves the house.
        registry: What ``/metrics`` shows.
        is_open: Development: anybody sees readiness by part, and the metrics. In production readiness is one word.
        metrics_token: What a scraper must then send as its bearer token; None: nobody sees the metrics.
    """

    async def live(_: Request) -> Response:
        return _json({"status": "live", "mode": mode}, 200)

    async def ready(_: Request) -> Response:
        states = {name: check() for name, check in checks.items()}
        is_ready = all(states.values())
        parts = {name: "ok" if state else "failing" for name, state in states.items()}
        told = {"status": "ready" if is_ready else "not ready", "mode": mode}
        return _json({**told, "parts": parts} if is_open else told, 200 if is_ready else 503)

    async def metrics(request: Request) -> Response:
        if not is_open and not _is_scraper(request, metrics_token):
            raise NotAllowed(Fault("Authorization", "this is for the scraper only", "send its bearer token"))
        return Response(registry.text(), media_type=CONTENT_TYPE)

    return [
        Route("/health/live", live),
        Route("/health/ready", ready),
        Route("/metrics", metrics),
    ]


def _is_scraper(request: Request, token: bytes | None) -> bool:
    sent = [value for name, value in request.scope["headers"] if name == b"authorization"]
    return token is not None and len(sent) == 1 and hmac.compare_digest(sent[0], b"Bearer " + token)


def _json(content: object, status: int) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")
