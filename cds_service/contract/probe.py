"""The only way out of the contract test: a bounded HTTP client that follows nothing and remembers everything."""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn

import httpx

__all__ = ["Answer", "BudgetSpent", "Probe"]

REQUESTS_MAX = 600
SECONDS_MAX = 180.0
"""For the whole run."""
SECONDS_PER_REQUEST = 10.0
BYTES_MAX = 8 * 1024 * 1024
"""Of one answer."""

_JSON_TYPES = {"application/json", "application/fhir+json"}


class BudgetSpent(Exception):
    """The run has used its requests or its time; what is left is not applicable."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, or the reason that there was none."""

    status: int
    """0: no answer."""
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes
    failure: str = ""
    took_s: float = 0.0

    @property
    def said(self) -> str:
        """The status in words for a sentence."""
        return f"HTTP {self.status}" if self.status else f"no answer ({self.failure})"

    @property
    def is_client_error(self) -> bool:
        return 400 <= self.status < 500

    @property
    def is_success(self) -> bool:
        return 200 <= self.status < 300

    @property
    def is_json_type(self) -> bool:
        return self.headers.get("content-type", "").split(";", 1)[0].strip().lower() in _JSON_TYPES

    @property
    def json(self) -> Any:
        """The body, parsed strictly (no NaN, no comments); None when it is not JSON."""
        try:
            return json.loads(self.body.decode(), parse_constant=_refuse)
        except (ValueError, RecursionError):
            return None


def _refuse(_: str) -> NoReturn:
    raise ValueError


@dataclass(slots=True)
class Probe:
    """Sends requests to one CDS Service.

    Args:
        base: The base URL, without ``/cds-services``.
        client: Follows no redirects and trusts no environment; the caller closes it.
        origin: The ``Origin`` of a browser-based client.
    """

    base: str
    client: httpx.Client
    origin: str
    requests: int = 0
    started: float = field(default_factory=time.monotonic)

    @property
    def discovery_url(self) -> str:
        return f"{self.base}/cds-services"

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        return self.send("GET", path, headers=headers)

    def post(self, path: str, body: object, headers: Mapping[str, str] | None = None) -> Answer:
        """POST a value as JSON."""
        content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        return self.post_bytes(path, content, {"Content-Type": "application/json", **(headers or {})})

    def post_bytes(self, path: str, content: bytes, headers: Mapping[str, str]) -> Answer:
        return self.send("POST", path, headers=headers, content=content)

    def send(
        self, method: str, path: str, *, headers: Mapping[str, str] | None = None, content: bytes | None = None
    ) -> Answer:
        """Send one request below ``/cds-services``; a connection that breaks is an answer too."""
        if self.requests >= REQUESTS_MAX or time.monotonic() - self.started > SECONDS_MAX:
            raise BudgetSpent
        self.requests += 1
        began = time.monotonic()
        try:
            with self.client.stream(
                method,
                f"{self.discovery_url}{path}",
                headers={"Accept": "application/json", **(headers or {})},
                content=content,
                timeout=SECONDS_PER_REQUEST,
            ) as response:
                body = bytearray()
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > BYTES_MAX or time.monotonic() - began > SECONDS_PER_REQUEST:
                        return Answer(0, {}, b"", "too long an answer", time.monotonic() - began)
                known = {name.lower(): value for name, value in response.headers.items()}
                return Answer(response.status_code, known, bytes(body), took_s=time.monotonic() - began)
        except httpx.HTTPError as error:
            return Answer(0, {}, b"", type(error).__name__, time.monotonic() - began)
