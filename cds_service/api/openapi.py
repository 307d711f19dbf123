"""What the service answers, as an OpenAPI 3.1 document made from what it really serves."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cds_service import __version__
from cds_service.api.caller import Authenticate, Caller, guarded
from cds_service.api.openapi_answers import Json, answer_of, get_of, problem_schemas
from cds_service.api.openapi_cdshooks import cds_hooks_paths, cds_hooks_schemas
from cds_service.api.openapi_inference import inference_paths, inference_schemas
from cds_service.api.openapi_predict import predict_paths, predict_schemas
from cds_service.api.predict import NOTICE
from cds_service.model.runtime import Model

__all__ = ["openapi_document", "openapi_routes"]


def openapi_routes(
    models: Mapping[str, Model], services: Sequence[Mapping[str, Any]], *, authenticate: Authenticate | None = None
) -> list[Route]:
    """``/openapi.json``, written once; with authentication once for each client, who sees what it may ask.

    Args:
        models: Name → open model.
        services: The entries of the discovery document.
        authenticate: Who is calling; None: nobody is asked.
    """
    if authenticate is None:
        body = msgspec.json.encode(openapi_document(models, services, authenticated=False))

        async def document(_: Request) -> Response:
            return Response(body, media_type="application/json")

        return [Route("/openapi.json", document)]
    bodies: dict[str, bytes] = {}

    async def own_document(_: Request, caller: Caller) -> Response:
        client = caller.client
        if client.name not in bodies:
            asked = {name: model for name, model in models.items() if name in client.models}
            called = [service for service in services if service["id"] in client.services]
            bodies[client.name] = msgspec.json.encode(openapi_document(asked, called, authenticated=True))
        return Response(bodies[client.name], media_type="application/json")

    return [Route("/openapi.json", guarded(own_document, authenticate))]


def openapi_document(
    models: Mapping[str, Model], services: Sequence[Mapping[str, Any]], *, authenticated: bool
) -> Json:
    """Describe every address of the service: the CDS services, the plain windows, operations."""
    document: Json = {
        "openapi": "3.1.0",
        "info": {
            "title": "cds-service",
            "version": __version__,
            "summary": "A CDS Hooks service around a distilled medical model.",
            "description": NOTICE,
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": [
            {"name": "predict", "description": "Named values in, calibrated probabilities out."},
            {"name": "CDS Hooks", "description": "HL7 CDS Hooks 2.0.1: what an EHR calls."},
            {"name": "Open Inference Protocol", "description": "Version 2, REST: what inference clients call."},
            {"name": "operations", "description": "Health and metrics."},
        ],
        "paths": {
            **predict_paths(models),
            **cds_hooks_paths(services),
            **inference_paths(models),
            **_operations_paths(),
        },
        "components": {
            "schemas": {**predict_schemas(), **inference_schemas(), **problem_schemas(), **cds_hooks_schemas()}
        },
    }
    if authenticated:
        document["components"]["securitySchemes"] = {
            "jwt": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "CDS client JWT"}
        }
        document["security"] = [{"jwt": []}]
    return document


def _operations_paths() -> Json:
    tag = ["operations"]
    text = {"200": {"description": "Prometheus text format", "content": {"text/plain": {"schema": {"type": "string"}}}}}
    not_ready = {"503": answer_of("A part can't do its work", {"type": "object"})}
    return {
        "/health/live": {"get": get_of(tag, "live", "Whether the process lives")},
        "/health/ready": {"get": get_of(tag, "ready", "Whether it may be given work", not_ready)},
        "/metrics": {"get": {"tags": tag, "operationId": "metrics", "summary": "Metrics", "responses": text}},
    }
