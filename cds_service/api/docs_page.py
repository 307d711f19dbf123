"""The interactive page over ``/openapi.json``: Swagger UI from our own files, under our own CSP, no outside host."""

from functools import cache
from pathlib import Path

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cds_service.web.asgi import PAGE_CSP

__all__ = ["docs_routes"]

_FOLDER = Path(__file__).parent / "static"
_FILES = {
    "/docs": ("docs.html", "text/html"),
    "/docs/docs.js": ("docs.js", "text/javascript"),
    "/docs/swagger-ui-bundle.js": ("swagger-ui-bundle.js", "text/javascript"),
    "/docs/swagger-ui.css": ("swagger-ui.css", "text/css"),
    "/docs/favicon-32x32.png": ("favicon-32x32.png", "image/png"),
}
_PAGE_HEADERS = {
    "content-security-policy": PAGE_CSP,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}
_STATIC_HEADERS = {"cache-control": "public, max-age=3600", "cross-origin-resource-policy": "same-origin"}


def docs_routes() -> list[Route]:
    """``/docs`` and the four files that it loads: a list, so no path of a request ever becomes a file's."""

    async def page(request: Request) -> Response:
        name, media_type = _FILES[request.scope["route"].path]
        headers = _PAGE_HEADERS if media_type == "text/html" else _STATIC_HEADERS
        return Response(_read(name), headers=headers, media_type=media_type)

    return [Route(path, page, name=name) for path, (name, _) in _FILES.items()]


@cache
def _read(name: str) -> bytes:
    """Read at the first request and kept: most processes never show the page."""
    return (_FOLDER / name).read_bytes()
