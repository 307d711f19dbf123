"""The CDS Hooks part of the OpenAPI document, from the discovery entries and the card types themselves."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from cds_service.api.openapi_answers import Json, answer_of, problems
from cds_service.cdshooks.cards_wire import Card

__all__ = ["cds_hooks_paths", "cds_hooks_schemas"]

_TAG = ["CDS Hooks"]


def cds_hooks_paths(services: Sequence[Mapping[str, Any]]) -> Json:
    """Discovery, and for each service id its call and its feedback.

    Args:
        services: The entries of the discovery document.
    """
    paths: Json = {
        "/cds-services": {
            "get": {
                "tags": _TAG,
                "operationId": "discovery",
                "summary": "Which services there are, and what each wants prefetched",
                "responses": {"200": answer_of("The discovery document", {"$ref": "#/components/schemas/Discovery"})},
            }
        }
    }
    by_id: dict[str, list[Mapping[str, Any]]] = {}
    for service in services:
        by_id.setdefault(service["id"], []).append(service)
    for name, entries in by_id.items():
        paths[f"/cds-services/{name}"] = {"post": _call(name, entries)}
        paths[f"/cds-services/{name}/feedback"] = {"post": _feedback(name)}
    return paths


def _call(name: str, entries: Sequence[Mapping[str, Any]]) -> Json:
    first = entries[0]
    prefetch: Mapping[str, str] = first.get("prefetch", {})
    return {
        "tags": _TAG,
        "operationId": f"call_{name.replace('-', '_')}",
        "summary": first.get("title", name),
        "description": "\n\n".join(filter(None, (first.get("description"), first.get("usageRequirements")))),
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {
                    "schema": {
                        "allOf": [
                            {"$ref": "#/components/schemas/CDSRequest"},
                            {
                                "properties": {
                                    "hook": {"enum": [entry["hook"] for entry in entries]},
                                    "prefetch": {
                                        "properties": {key: {"description": query} for key, query in prefetch.items()}
                                    },
                                }
                            },
                        ]
                    },
                    "example": _example(first),
                }
            },
        },
        "responses": {
            "200": answer_of("Cards, or none", {"$ref": "#/components/schemas/CDSResponse"}),
            **problems(400, 412, 413, 415, 503),
        },
    }


def _example(entry: Mapping[str, Any]) -> Json:
    """A call without data: enough to see how the service answers when nothing is sent."""
    return {
        "hook": entry["hook"],
        "hookInstance": "d1577c69-dfbe-44ad-ba6d-3e05e953b2ea",
        "context": {"userId": "Practitioner/example", "patientId": "example"},
        "prefetch": dict.fromkeys(entry.get("prefetch", {})),
    }


def _feedback(name: str) -> Json:
    return {
        "tags": _TAG,
        "operationId": f"feedback_{name.replace('-', '_')}",
        "summary": "What a clinician did with a card",
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Feedback"}}},
        },
        "responses": {"200": {"description": "Kept on disk"}, **problems(400, 413, 415, 503)},
    }


def cds_hooks_schemas() -> Json:
    """The schemas that the paths refer to; cards as the types of ``cdshooks/cards_wire.py`` say."""
    (_,), cards = msgspec.json.schema_components((Card,), ref_template="#/components/schemas/{name}")
    coding = {
        "type": "object",
        "properties": {"system": {"type": "string"}, "code": {"type": "string"}, "display": {"type": "string"}},
    }
    service = {
        "type": "object",
        "required": ["hook", "description", "id"],
        "properties": {
            "hook": {"type": "string"},
            "title": {"type": "string"},
            "description": {"type": "string"},
            "id": {"type": "string"},
            "prefetch": {"type": "object", "additionalProperties": {"type": "string"}},
            "usageRequirements": {"type": "string"},
        },
    }
    one_feedback = {
        "type": "object",
        "required": ["card", "outcome", "outcomeTimestamp"],
        "properties": {
            "card": {"type": "string"},
            "outcome": {"enum": ["accepted", "overridden"]},
            "acceptedSuggestions": {
                "type": "array",
                "items": {"type": "object", "required": ["id"], "properties": {"id": {"type": "string"}}},
            },
            "overrideReason": {
                "type": "object",
                "properties": {"reason": coding, "userComment": {"type": "string"}},
            },
            "outcomeTimestamp": {"type": "string", "format": "date-time"},
        },
    }
    return {
        **cards,
        "Discovery": {
            "type": "object",
            "required": ["services"],
            "properties": {"services": {"type": "array", "items": service}},
        },
        "CDSRequest": {
            "type": "object",
            "required": ["hook", "hookInstance", "context"],
            "properties": {
                "hook": {"type": "string"},
                "hookInstance": {"type": "string", "format": "uuid"},
                "fhirServer": {"type": "string", "format": "uri"},
                "fhirAuthorization": {"type": "object"},
                "context": {"type": "object"},
                "prefetch": {"type": "object"},
                "extension": {"type": "object"},
            },
        },
        "CDSResponse": {
            "type": "object",
            "required": ["cards"],
            "properties": {"cards": {"type": "array", "items": {"$ref": "#/components/schemas/Card"}}},
        },
        "Feedback": {
            "type": "object",
            "required": ["feedback"],
            "properties": {"feedback": {"type": "array", "minItems": 1, "items": one_feedback}},
        },
    }
