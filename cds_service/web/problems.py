"""The error tree becomes HTTP here and nowhere else: a status and an OperationOutcome (CH-164, CH-165)."""

from collections.abc import Collection, Mapping
from http import HTTPStatus

import msgspec
from starlette.exceptions import HTTPException
from starlette.responses import Response

from cds_service.errors import (
    BadRequest,
    CdsServiceError,
    DataUnavailable,
    Fault,
    NotAllowed,
    NotPermitted,
    RateLimited,
    TooLarge,
    TooSlow,
    Unavailable,
    UnknownService,
    UnsupportedMedia,
)

__all__ = ["UNAUTHORISED_BODY", "operation_outcome", "status_of", "to_response"]

_STATUS: tuple[tuple[type[CdsServiceError], int], ...] = (
    (BadRequest, 400),
    (NotAllowed, 401),
    (NotPermitted, 403),
    (UnknownService, 404),
    (TooSlow, 408),
    (DataUnavailable, 412),
    (TooLarge, 413),
    (UnsupportedMedia, 415),
    (RateLimited, 429),
    (Unavailable, 503),
)

_ISSUE_CODE: Mapping[int, str] = {
    400: "invalid",
    401: "login",
    403: "forbidden",
    404: "not-found",
    405: "not-supported",
    408: "timeout",
    412: "required",
    413: "too-long",
    415: "not-supported",
    429: "throttled",
    503: "transient",
}
"""Status → code of http://hl7.org/fhir/issue-type; what is not listed is ``exception``."""


def operation_outcome(faults: Collection[Fault], *, code: str) -> bytes:
    """Write one FHIR R4 OperationOutcome with one issue for each fault.

    Args:
        faults: What is wrong; ``where`` becomes ``expression``, so it holds a path and never a value.
        code: Of the value set http://hl7.org/fhir/issue-type.
    """
    return msgspec.json.encode(
        {
            "resourceType": "OperationOutcome",
            "issue": [
                {
                    "severity": "error",
                    "code": code,
                    "details": {"text": f"{fault.where}: {fault.what}."},
                    "diagnostics": _sentence(fault.do),
                    "expression": [fault.where],
                }
                for fault in faults
            ],
        }
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


UNAUTHORISED_BODY = operation_outcome(
    (Fault("Authorization", "the caller could not be authenticated", "send a valid Bearer token"),), code="login"
)
"""The one body of every 401: it never tells which check failed (SEC-017, CH-330)."""

_OURS = Fault("request", "the service failed and has noted it", "try again; tell the operator the X-Request-ID")
_PAGE_FAULTS: Mapping[int, Fault] = {
    404: Fault("path", "there is nothing here", "see /openapi.json for what there is"),
    405: Fault("method", "this address does not answer this method", "use one of those that Allow names"),
}


def status_of(error: Exception) -> int:
    """The HTTP status that an error becomes; what we do not know is our own fault, 500."""
    if isinstance(error, HTTPException):
        return error.status_code
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def to_response(
    error: Exception, *, allow: Collection[str] = (), retry_after_s: int = 2, headers: Mapping[str, str] | None = None
) -> Response:
    """Answer with what an error says.

    Args:
        error: Of our tree, or one of Starlette's ``HTTPException``; anything else becomes a 500 without detail.
        allow: For 405, the methods that the address answers.
        retry_after_s: For 429 and 503, after how many seconds to ask again.
        headers: Further header fields.
    """
    status = status_of(error)
    extra: dict[str, str] = dict(headers or {})
    if status == 401:
        extra["www-authenticate"] = "Bearer"
        return Response(UNAUTHORISED_BODY, 401, extra, "application/json")
    if status == 405:
        extra["allow"] = ", ".join(sorted(allow))
    if status in {429, 503}:
        extra["retry-after"] = str(retry_after_s)
    if isinstance(error, CdsServiceError) and status != 500:
        faults: Collection[Fault] = error.faults
    else:
        faults = (_PAGE_FAULTS.get(status) or (_OURS if status >= 500 else _unnamed(status)),)
    body = operation_outcome(faults, code=_ISSUE_CODE.get(status, "exception"))
    return Response(body, status, extra, "application/json")


def _unnamed(status: int) -> Fault:
    return Fault("request", HTTPStatus(status).phrase.lower(), "mend the request")
