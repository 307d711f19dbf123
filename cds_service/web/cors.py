"""Which browser pages may talk to us: an exact list of origins, answered before anything else (CH-280…282)."""

import re
from collections.abc import Collection

from cds_service.errors import Fault, SettingsError

__all__ = ["CORS"]

RawHeaders = tuple[tuple[bytes, bytes], ...]

_ORIGIN = re.compile(r"https?://[a-z0-9.\-]{1,253}(:[0-9]{1,5})?|https?://\[[0-9a-f:]{2,39}\](:[0-9]{1,5})?")


class CORS:
    """Answers the browser's two questions: may I ask, and may my page read the answer.

    Args:
        origins: As browsers send them, ``https://host`` or with a port. ``*`` (any page) is for development only.
        development: Whether ``*`` is allowed at all.

    Raises:
        SettingsError: An entry is not an origin, is ``null``, or is ``*`` outside development.
    """

    __slots__ = ("_any", "_headers")

    def __init__(self, origins: Collection[str], *, development: bool = False) -> None:
        faults: list[Fault] = []
        for place, origin in enumerate(origins):
            where = f"cors_origins[{place}]"
            if origin == "*" and not development:
                faults.append(Fault(where, "any origin is allowed outside development", "list the EHR's own origins"))
            elif origin != "*" and not _ORIGIN.fullmatch(origin):
                faults.append(Fault(where, "this is not an origin", "write https://host or https://host:port"))
        if faults:
            raise SettingsError(*faults)
        self._any = "*" in origins
        self._headers: dict[bytes, RawHeaders] = {
            origin.encode(): ((b"access-control-allow-origin", origin.encode()), *_READABLE)
            for origin in origins
            if origin != "*"
        }

    @property
    def varies(self) -> bool:
        """Whether an answer depends on who asks, which caches must know."""
        return bool(self._headers) and not self._any

    def headers_for(self, origin: bytes) -> RawHeaders:
        """The header fields that let this origin's page read the answer; none for a stranger."""
        if self._any:
            return ((b"access-control-allow-origin", b"*"), *_READABLE)
        return self._headers.get(origin, ())

    def preflight_for(self, origin: bytes) -> RawHeaders:
        """What the answer to a preflight says besides ``headers_for``; nothing to a stranger."""
        return _PREFLIGHT if self.headers_for(origin) else ()


_READABLE: RawHeaders = ((b"access-control-expose-headers", b"x-request-id, retry-after"),)
_PREFLIGHT: RawHeaders = (
    (b"access-control-allow-methods", b"GET, POST"),
    (b"access-control-allow-headers", b"authorization, content-type"),
    (b"access-control-max-age", b"600"),
)
