"""A small FHIR R4 server in memory: read, search with pages, create. It holds the sandbox's patients, nothing else."""

import json
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlencode

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from cds_service.errors import BadRequest
from cds_service.sandbox.memory import CREATED_MAX, Memory, patient_of
from cds_service.sandbox.search import matching, ordered, read_conditions
from cds_service.sandbox.search_parameters import PARAMETERS

__all__ = ["fhir_routes"]

PAGE_DEFAULT = 100
PAGE_MAX = 500
BODY_MAX_BYTES = 1_000_000
FHIR_JSON = "application/fhir+json"

Resource = dict[str, Any]


def fhir_routes(memory: Memory, *, base: str = "/fhir") -> list[BaseRoute]:
    """Serve *memory* under *base*: metadata, read, type search by GET and POST, create."""
    server = _Server(memory, base)
    return [
        Route(f"{base}/metadata", server.metadata, methods=["GET"]),
        Route(f"{base}/{{type}}", server.search_by_get, methods=["GET"]),
        Route(f"{base}/{{type}}", server.create, methods=["POST"]),
        Route(f"{base}/{{type}}/_search", server.search_by_post, methods=["POST"]),
        Route(f"{base}/{{type}}/{{id}}", server.read, methods=["GET"]),
    ]


class _Server:
    def __init__(self, memory: Memory, base: str) -> None:
        self._memory, self._base = memory, base
        self._capabilities = _capability_statement(datetime.now(UTC))

    async def metadata(self, _: Request) -> Response:
        return _fhir(self._capabilities)

    async def read(self, request: Request) -> Response:
        resource_type = request.path_params["type"]
        if resource_type not in PARAMETERS:
            return _not_served()
        resource = self._memory.read(resource_type, request.path_params["id"])
        return (
            _outcome(404, "not-found", f"No {resource_type} of this id", "Search for it by type")
            if resource is None
            else _fhir(resource)
        )

    async def search_by_get(self, request: Request) -> Response:
        return self._search(request, parse_qsl(request.url.query, keep_blank_values=True))

    async def search_by_post(self, request: Request) -> Response:
        body = await _body(request)
        if body is None:
            return _outcome(413, "too-long", "The form is too long", f"Send at most {BODY_MAX_BYTES} bytes")
        query = parse_qsl(request.url.query, keep_blank_values=True) + parse_qsl(
            body.decode("utf-8", "replace"), keep_blank_values=True
        )
        return self._search(request, query)

    def _search(self, request: Request, query: list[tuple[str, str]]) -> Response:
        resource_type = request.path_params["type"]
        if resource_type not in PARAMETERS:
            return _not_served()
        control = {name: value for name, value in query if name in ("_count", "_offset", "_sort")}
        filters = [(name, value) for name, value in query if name not in (*control, "_format")]
        try:
            count = min(_number(control, "_count", PAGE_DEFAULT), PAGE_MAX)
            offset = _number(control, "_offset", 0)
            conditions = read_conditions(resource_type, filters)
            found = matching(self._candidates(resource_type, filters), conditions)
            found = ordered(resource_type, found, control.get("_sort", ""))
        except BadRequest as refused:
            return _outcome(
                400,
                "not-supported",
                *(text for fault in refused.faults for text in (f"{fault.where}: {fault.what}", fault.do)),
            )
        return _fhir(self._searchset(request, query, found, count, offset))

    def _candidates(self, resource_type: str, filters: list[tuple[str, str]]) -> list[Resource]:
        """Start from one patient's resources where the query names one: the search then reads tens, not thousands."""
        for name, value in filters:
            if name in ("patient", "subject") and "," not in value:
                return self._memory.of_type(resource_type, value.rpartition("/")[2])
        return self._memory.of_type(resource_type)

    def _searchset(
        self, request: Request, query: list[tuple[str, str]], found: list[Resource], count: int, offset: int
    ) -> Resource:
        here = f"{request.url.scheme}://{request.url.netloc}{self._base}"
        path = f"{here}/{request.path_params['type']}?"
        links = [{"relation": "self", "url": path + urlencode(query)}]
        if count and offset + count < len(found):
            rest = [pair for pair in query if pair[0] not in ("_offset", "_count")]
            following = [*rest, ("_count", str(count)), ("_offset", str(offset + count))]
            links.append({"relation": "next", "url": path + urlencode(following)})
        bundle: Resource = {"resourceType": "Bundle", "type": "searchset", "total": len(found), "link": links}
        page = found[offset : offset + count]
        if page:  # FHIR has no empty arrays
            bundle["entry"] = [
                {
                    "fullUrl": f"{here}/{resource['resourceType']}/{resource['id']}",
                    "resource": resource,
                    "search": {"mode": "match"},
                }
                for resource in page
            ]
        return bundle

    async def create(self, request: Request) -> Response:
        resource_type = request.path_params["type"]
        if resource_type not in PARAMETERS:
            return _not_served()
        body = await _body(request)
        if body is None:
            return _outcome(413, "too-long", "The resource is too long", f"Send at most {BODY_MAX_BYTES} bytes")
        if self._memory.created >= CREATED_MAX:
            return _outcome(507, "too-costly", f"The sandbox keeps {CREATED_MAX} new resources", "Start it anew")
        try:
            resource = json.loads(body)
        except ValueError:
            return _outcome(400, "invalid", "The body is not JSON", "Send one FHIR resource as JSON")
        if not isinstance(resource, dict) or resource.get("resourceType") != resource_type:
            return _outcome(
                400, "invalid", f"The body is not a {resource_type}", "Let resourceType equal the type in the URL"
            )
        faults = _faults(resource_type, resource)
        if faults:
            return _outcome(422, "invalid", *faults)
        patient = patient_of(resource)
        if patient is not None and self._memory.read("Patient", patient) is None:
            return _outcome(
                422, "business-rule", "The subject is not a patient of this server", "Name a Patient that it holds"
            )
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        kept = resource | {
            "id": str(uuid.uuid4()),
            "meta": {**resource.get("meta", {}), "versionId": "1", "lastUpdated": now},
        }
        self._memory.add(kept)
        return _fhir(kept, status=201, headers={"Location": f"{self._base}/{resource_type}/{kept['id']}"})


def _number(control: Mapping[str, str], name: str, default: int) -> int:
    text = control.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise BadRequest.of("not a count", where=name, do="Send a whole number of 0 or more")
    return int(text)


async def _body(request: Request) -> bytes | None:
    """Read the body up to the limit; None when it is longer."""
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_MAX_BYTES:
            return None
    return body


def _faults(resource_type: str, resource: Resource) -> list[str]:
    """Validate against R4B; each fault as what and do, naming elements and never values."""
    from fhir.resources.R4B import get_fhir_model_class  # slow to import: the first order pays, not the start

    try:
        get_fhir_model_class(resource_type).model_validate(resource)
    except ValidationError as refused:
        pairs = [(".".join(str(step) for step in fault["loc"]), fault["type"]) for fault in refused.errors()]
        return [
            text
            for where, kind in pairs
            for text in (f"{where or resource_type}: {kind}", "Send it as FHIR R4 defines it")
        ]
    return []


def _fhir(resource: Resource, *, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    content = json.dumps(resource, ensure_ascii=False, separators=(",", ":")).encode()
    return Response(content, status, headers={"Cache-Control": "no-store", **(headers or {})}, media_type=FHIR_JSON)


def _not_served() -> Response:
    return _outcome(404, "not-supported", "This resource type is not served", "See /fhir/metadata for the types")


def _outcome(status: int, code: str, *what_and_do: str) -> Response:
    """Answer with an OperationOutcome: pairs of what is wrong and what to do about it."""
    issues = [
        {"severity": "error", "code": code, "details": {"text": what}, "diagnostics": do}
        for what, do in zip(what_and_do[::2], what_and_do[1::2], strict=True)
    ]
    return _fhir({"resourceType": "OperationOutcome", "issue": issues}, status=status)


def _capability_statement(now: datetime) -> Resource:
    interactions = [{"code": "read"}, {"code": "search-type"}, {"code": "create"}]
    return {
        "resourceType": "CapabilityStatement",
        "status": "active",
        "date": now.date().isoformat(),
        "kind": "instance",
        "fhirVersion": "4.0.1",
        "format": ["json"],
        "implementation": {"description": "Sandbox: invented and synthetic patients in memory. Not for real patients."},
        "rest": [
            {
                "mode": "server",
                "documentation": "Dates eq ge le gt lt; tokens system|code, code, |code, system|; _sort, _count, POST _search. No modifiers.",
                "resource": [
                    {
                        "type": resource_type,
                        "interaction": interactions,
                        "searchParam": [{"name": parameter.name, "type": parameter.kind} for parameter in parameters],
                    }
                    for resource_type, parameters in PARAMETERS.items()
                ],
            }
        ],
    }
