"""What the service answers, as an OpenAPI 3.1 document made from what it really serves."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from cds_service import __version__
from cds_service.api.caller import Authenticate, Caller, guarded
from cds_service.api.inference import MOST_ROWS
from cds_service.api.openapi_cdshooks import cds_hooks_paths, cds_hooks_schemas
from cds_service.api.predict import NOTICE
from cds_service.clinical.feature_spec import FeatureSpec
from cds_service.model.runtime import Model

__all__ = ["example_values", "openapi_document", "openapi_routes"]

Json = dict[str, Any]


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
            **_predict_paths(models),
            **cds_hooks_paths(services),
            **_inference_paths(models),
            **_operations_paths(),
        },
        "components": {"schemas": {**_schemas(), **cds_hooks_schemas()}},
    }
    if authenticated:
        document["components"]["securitySchemes"] = {
            "jwt": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT", "description": "CDS client JWT"}
        }
        document["security"] = [{"jwt": []}]
    return document


def example_values(model: Model) -> Json:
    """The shortest telling body: what the model can't do without, sex and a few measured values.

    The values are near the upper end of the model's own training data, which is public, and no patient's.
    """
    inputs = model.features.inputs
    measured = [spec for spec in inputs if spec.origin == "observation" and not spec.values]
    # What a laboratory measures tells more of the format than height and weight: substances come first.
    few = sorted(measured, key=lambda spec: spec.molar_mass_g_per_mol is None)[:_FEW]
    example: Json = {}
    for spec in inputs:
        deciles = model.bundle.reference.inputs[spec.name].deciles
        value = float(f"{deciles[-2]:.3g}") if deciles else 0.0
        if spec.origin == "patient.age":
            example[spec.name] = int(value)
        elif spec.origin == "patient.sex":
            example[spec.name] = "female"
        elif spec in few or (spec in measured and spec.missing == "abstain"):
            example[spec.name] = {"value": value, "unit": spec.unit}
    return example


_FEW = 4


def _predict_paths(models: Mapping[str, Model]) -> Json:
    return {
        f"/predict/{name}": {
            "post": {
                "tags": ["predict"],
                "operationId": f"predict_{name.replace('-', '_')}",
                "summary": f"Ask {name} {model.version} about one person",
                "description": (
                    "Every value is optional unless the schema requires it; null or absent means not known. "
                    "Units are UCUM; any that can become the declared one is read. All faults are told at once."
                ),
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {"schema": _values_schema(model), "example": example_values(model)}
                    },
                },
                "responses": {
                    "200": _answer("A prediction, or the reason for none", {"$ref": "#/components/schemas/Prediction"}),
                    **_problems(400, 413, 415, 503),
                },
            }
        }
        for name, model in models.items()
    }


def _values_schema(model: Model) -> Json:
    inputs = model.features.inputs
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": {spec.name: _value_schema(spec) for spec in inputs},
        "required": [spec.name for spec in inputs if spec.missing == "abstain"],
    }


def _value_schema(spec: FeatureSpec) -> Json:
    if spec.origin == "patient.age":
        return {"type": ["integer", "null"], "minimum": 0, "maximum": 150, "description": "Whole years."}
    if spec.origin == "patient.sex":
        return {"enum": ["male", "female", None], "description": "As recorded in the chart."}
    if spec.origin == "fasting_state":
        return {"type": ["boolean", "null"], "description": f"Whether {spec.fasting_of} was taken fasting."}
    if spec.values:
        return {"enum": [*spec.values, None], "description": "A coded result."}
    plausible = "" if spec.plausible is None else f" Plausible: {spec.plausible[0]:g} to {spec.plausible[1]:g}."
    return {
        "type": ["object", "null"],
        "additionalProperties": False,
        "properties": {"value": {"type": "number"}, "unit": {"type": "string", "examples": [spec.unit]}},
        "required": ["value"] if spec.unit == "1" else ["value", "unit"],
        "description": f"Declared unit: {spec.unit}.{plausible}",
    }


def _inference_paths(models: Mapping[str, Model]) -> Json:
    tag = ["Open Inference Protocol"]
    model = {"name": "model", "in": "path", "required": True, "schema": {"enum": list(models)}}
    version = {
        "name": "version",
        "in": "path",
        "required": True,
        "schema": {"enum": sorted({one.version for one in models.values()})},
    }
    error = {"$ref": "#/components/schemas/InferenceError"}
    paths: Json = {
        "/v2": {"get": _get(tag, "inferenceServer", "Server metadata")},
        "/v2/health/live": {"get": _get(tag, "inferenceLive", "Whether the server lives")},
        "/v2/health/ready": {"get": _get(tag, "inferenceReady", "Whether the server has models")},
    }
    for base, parameters, suffix in (
        ("/v2/models/{model}", [model], ""),
        ("/v2/models/{model}/versions/{version}", [model, version], "Version"),
    ):
        unknown = {"404": _answer("There is no such model or version", error)}
        paths[base] = {
            "parameters": parameters,
            "get": _get(tag, f"modelMetadata{suffix}", "Tensors, datatypes and units", unknown),
        }
        paths[f"{base}/ready"] = {
            "parameters": parameters,
            "get": _get(tag, f"modelReady{suffix}", "Whether the model is ready", unknown),
        }
        paths[f"{base}/infer"] = {
            "parameters": parameters,
            "post": {
                "tags": tag,
                "operationId": f"modelInfer{suffix}",
                "summary": f"Ask about 1 to {MOST_ROWS} rows",
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {
                            "schema": {"$ref": "#/components/schemas/InferenceRequest"},
                            **({"example": _inference_example(next(iter(models.values())))} if models else {}),
                        }
                    },
                },
                "responses": {
                    "200": _answer("One value for each row", {"$ref": "#/components/schemas/InferenceResponse"}),
                    **{str(status): _answer("What is wrong", error) for status in (400, 404, 413, 415, 503)},
                },
            },
        }
    return paths


def _inference_example(model: Model) -> Json:
    sexes = {"male": 1, "female": 0}
    inputs = [
        {
            "name": name,
            "datatype": "FP64",
            "shape": [1],
            "data": [value["value"] if isinstance(value, dict) else sexes.get(value, value)],
        }
        for name, value in example_values(model).items()
    ]
    return {"id": "1", "inputs": inputs}


def _operations_paths() -> Json:
    tag = ["operations"]
    text = {"200": {"description": "Prometheus text format", "content": {"text/plain": {"schema": {"type": "string"}}}}}
    not_ready = {"503": _answer("A part can't do its work", {"type": "object"})}
    return {
        "/health/live": {"get": _get(tag, "live", "Whether the process lives")},
        "/health/ready": {"get": _get(tag, "ready", "Whether it may be given work", not_ready)},
        "/metrics": {"get": {"tags": tag, "operationId": "metrics", "summary": "Metrics", "responses": text}},
    }


def _get(tags: list[str], name: str, summary: str, more: Json | None = None) -> Json:
    return {
        "tags": tags,
        "operationId": name,
        "summary": summary,
        "responses": {"200": _answer(summary, {"type": "object"}), **(more or {})},
    }


def _answer(description: str, schema: Json) -> Json:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


def _problems(*statuses: int) -> Json:
    return {str(one): _answer("What is wrong", {"$ref": "#/components/schemas/OperationOutcome"}) for one in statuses}


def _schemas() -> Json:
    number = {"type": "number", "minimum": 0, "maximum": 1}
    tensor = {
        "type": "object",
        "required": ["name", "datatype", "shape", "data"],
        "properties": {
            "name": {"type": "string"},
            "datatype": {"enum": ["FP32", "FP64", "BYTES"]},
            "shape": {"type": "array", "items": {"type": "integer"}},
            "parameters": {"type": "object", "description": "unit: UCUM, where it is not the declared one"},
            "data": {"type": "array"},
        },
    }
    return {
        "Prediction": {
            "type": "object",
            "required": ["id", "model", "version", "abstained", "used", "missing", "notice"],
            "properties": {
                "id": {"type": "string", "description": "Of the event in the log."},
                "model": {"type": "string"},
                "version": {"type": "string"},
                "abstained": {
                    "type": ["object", "null"],
                    "properties": {
                        "reason": {"enum": ["not_enough_inputs", "out_of_distribution", "non_finite"]},
                        "features": {"type": "array", "items": {"type": "string"}},
                    },
                },
                "probabilities": {
                    "type": "object",
                    "additionalProperties": {
                        "type": "object",
                        "properties": {
                            "means": {"type": "string"},
                            "value": number,
                            "relation": {
                                "enum": ["=", "<", ">"],
                                "description": "< or >: the probability lies beyond this value, where too few cases stand behind a number",
                            },
                        },
                    },
                },
                "operating_point": {"type": ["string", "null"]},
                "prevalence": {"enum": ["site", "calibration set"]},
                "used": {"type": "object"},
                "missing": {"type": "array", "items": {"type": "string"}},
                "notice": {"type": "string"},
            },
        },
        "InferenceRequest": {
            "type": "object",
            "required": ["inputs"],
            "properties": {
                "id": {"type": "string"},
                "inputs": {"type": "array", "items": tensor},
                "outputs": {"type": "array", "items": {"type": "object", "properties": {"name": {"type": "string"}}}},
            },
        },
        "InferenceResponse": {
            "type": "object",
            "required": ["model_name", "outputs"],
            "properties": {
                "model_name": {"type": "string"},
                "model_version": {"type": "string"},
                "id": {"type": "string"},
                "outputs": {"type": "array", "items": tensor},
            },
        },
        "InferenceError": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}},
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
