"""What every part of the OpenAPI document says alike: answers in JSON, and what is wrong with a call."""

from typing import Any

__all__ = ["Json", "answer_of", "get_of", "problem_schemas", "problems"]

Json = dict[str, Any]


def answer_of(description: str, schema: Json) -> Json:
    """An answer whose JSON this schema describes."""
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def problems(*statuses: int) -> Json:
    """The answers of these statuses, each an OperationOutcome that names every fault."""
    return {str(one): answer_of("What is wrong", {"$ref": "#/components/schemas/OperationOutcome"}) for one in statuses}


def get_of(tags: list[str], name: str, summary: str, more: Json | None = None) -> Json:
    """A GET that is answered with an object; *more* are its other answers, by status."""
    return {
        "tags": tags,
        "operationId": name,
        "summary": summary,
        "responses": {"200": answer_of(summary, {"type": "object"}), **(more or {})},
    }


def problem_schemas() -> Json:
    """The OperationOutcome that :func:`problems` refers to."""
    return {
        "OperationOutcome": {
            "type": "object",
            "required": ["resourceType", "issue"],
            "properties": {
                "resourceType": {"const": "OperationOutcome"},
                "issue": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "required": ["severity", "code"],
                        "properties": {
                            "severity": {"enum": ["fatal", "error", "warning", "information"]},
                            "code": {"type": "string"},
                            "details": {"type": "object", "properties": {"text": {"type": "string"}}},
                            "diagnostics": {"type": "string"},
                            "expression": {"type": "array", "items": {"type": "string"}},
                        },
                    },
                },
            },
        },
    }
