"""Requests that break CDS Hooks, one fault each: the table that the runner sends."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from cds_service.contract.report import Level
from cds_service.contract.synthetic import MARKER, PATIENT

__all__ = ["BAD_AUTHORIZATIONS", "BAD_BODIES", "BAD_CALLS", "BadBody", "BadCall"]

Body = dict[str, Any]


@dataclass(frozen=True, slots=True)
class BadCall:
    """A valid call with one thing wrong."""

    ids: str
    level: Level
    title: str
    spoil: Callable[[Body], Body]


@dataclass(frozen=True, slots=True)
class BadBody:
    """Bytes that are no valid call, whatever the service."""

    ids: str
    level: Level
    title: str
    content: Callable[[], bytes]
    media_type: str = "application/json"
    expected: str = "400"
    may_close: bool = False
    """Whether closing the connection is an answer too."""


def _without(key: str) -> Callable[[Body], Body]:
    return lambda body: {name: value for name, value in body.items() if name != key}


def _with(**members: object) -> Callable[[Body], Body]:
    return lambda body: {**body, **members}


def _context(**members: object) -> Callable[[Body], Body]:
    def spoil(body: Body) -> Body:
        context = {**body["context"], **members}
        return {**body, "context": {name: value for name, value in context.items() if value is not None}}

    return spoil


def _authorization(
    server: str | None = "https://fhir.contract.invalid/r4", **members: object
) -> Callable[[Body], Body]:
    valid: Body = {
        "access_token": "contract-token",
        "token_type": "Bearer",
        "expires_in": 300,
        "scope": "user/Patient.read",
        "subject": "contract-client",
    }

    def spoil(body: Body) -> Body:
        token = {name: value for name, value in {**valid, **members}.items() if value is not None}
        spoiled = {**body, "fhirAuthorization": token}
        if server is not None:
            spoiled["fhirServer"] = server
        return spoiled

    return spoil


BAD_CALLS = (
    BadCall("CH-062", "SHALL", "hook is missing", _without("hook")),
    BadCall("CH-062", "SHALL", "hook is another one than advertised", _with(hook="order-sign")),
    BadCall("CH-062", "SHALL", "hook is no string", _with(hook=7)),
    BadCall("CH-063", "SHALL", "hookInstance is missing", _without("hookInstance")),
    BadCall("CH-063", "SHOULD", "hookInstance is no UUID", _with(hookInstance=MARKER)),
    BadCall("CH-066", "SHALL", "context is missing", _without("context")),
    BadCall("CH-066", "SHALL", "context is a list", _with(context=[{"patientId": PATIENT}])),
    BadCall("CH-066", "SHALL", "context is a string", _with(context=MARKER)),
    BadCall("CH-080", "SHALL", "userId is missing", _context(userId=None)),
    BadCall("CH-080", "SHOULD", "userId is no reference", _context(userId=MARKER)),
    BadCall("CH-081", "SHALL", "patientId is missing", _context(patientId=None)),
    BadCall("CH-081", "SHALL", "patientId is empty", _context(patientId="")),
    BadCall("CH-081", "SHOULD", "patientId is no FHIR id", _context(patientId=f"{MARKER} b")),
    BadCall("CH-071", "SHALL", "prefetch is a list", _with(prefetch=[])),
)

BAD_AUTHORIZATIONS = (
    BadCall("CH-068", "SHOULD", "fhirAuthorization without fhirServer", _authorization(None)),
    BadCall("CH-140", "SHOULD", "access_token is missing", _authorization(access_token=None)),
    BadCall("CH-141", "SHOULD", "token_type is not Bearer", _authorization(token_type="MAC")),  # noqa: S106
    BadCall("CH-142", "SHOULD", "expires_in is a string", _authorization(expires_in="300")),
    BadCall("CH-143", "SHOULD", "scope is missing", _authorization(scope=None)),
    BadCall("CH-144", "SHOULD", "subject is missing", _authorization(subject=None)),
    BadCall("CH-145", "SHOULD", "the token is bound to another patient", _authorization(patient="contract-patient-2")),
)
"""SHOULD: a service that has no use for a token may leave it unread."""


def _plain() -> Body:
    return {
        "hook": "patient-view",
        "hookInstance": str(uuid4()),
        "context": {"userId": "Practitioner/contract-user-1", "patientId": PATIENT},
    }


def _json() -> bytes:
    return json.dumps(_plain()).encode()


def _deep() -> bytes:
    depth = 50_000
    return _json()[:-1] + b', "prefetch": {"a": ' + b"[" * depth + b"]" * depth + b"}}"


BAD_BODIES = (
    BadBody("CH-074", "SHALL", "the body is not JSON", lambda: b'{"hook": "' + MARKER.encode()),
    BadBody("CH-005", "SHALL", "the JSON has a trailing comma", lambda: _json()[:-1] + b",}"),
    BadBody("CH-074", "SHALL", "the body is empty", lambda: b""),
    BadBody("CH-074", "SHALL", "the body is a list", lambda: b"[" + _json() + b"]"),
    BadBody("CH-001", "SHALL", "the body is not UTF-8", lambda: _json()[:-1] + b', "x": "\xff\xfe"}'),
    BadBody("CH-001", "SHALL", "a number is NaN", lambda: _json()[:-1] + b', "x": NaN}'),
    BadBody("CH-074", "SHALL", "nested 50,000 deep", _deep),
    BadBody("CH-074", "SHOULD", "a form instead of JSON", lambda: b"hook=patient-view", "application/x-www-form-urlencoded", "415"),
    BadBody("CH-074", "SHOULD", "JSON said to be plain text", _json, "text/plain", "415"),
    BadBody(
        "CH-074", "SHOULD", "a body of 12 MiB", lambda: _json() + b" " * (12 << 20), expected="413", may_close=True
    ),
)  # fmt: skip
