"""What an operator's tools ask: does it live, may it be given work, how is it doing."""

from collections.abc import Callable, Mapping

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cds_service.web.metrics import CONTENT_TYPE, Registry

__all__ = ["WITHOUT_AUTHENTICATION", "operations_routes"]

WITHOUT_AUTHENTICATION = "development without authentication, not for patients"
"""What every health answer and page says while nobody is asked who they are (SEC-001)."""


def operations_routes(*, mode: str, checks: Mapping[str, Callable[[], bool]], registry: Registry) -> list[Route]:
    """Health, readiness and metrics.

    Args:
        mode: How this process runs, such as :data:`WITHOUT_AUTHENTICATION`.
        checks: Name → whether that part can do its work: ``models``, ``store``. No detail leaves the house.
        registry: What ``/metrics`` shows.
    """

    async def live(_: Request) -> Response:
        return _json({"status": "live", "mode": mode}, 200)

    async def ready(_: Request) -> Response:
        states = {name: check() for name, check in checks.items()}
        is_ready = all(states.values())
        parts = {name: "ok" if state else "failing" for name, state in states.items()}
        return _json(
            {"status": "ready" if is_ready else "not ready", "mode": mode, "parts": parts}, 200 if is_ready else 503
        )

    async def metrics(_: Request) -> Response:
        return Response(registry.text(), media_type=CONTENT_TYPE)

    return [
        Route("/health/live", live),
        Route("/health/ready", ready),
        Route("/metrics", metrics),
    ]


def _json(content: object, status: int) -> Response:
    return Response(msgspec.json.encode(content), status, media_type="application/json")
