"""The Open Inference Protocol's part of the OpenAPI document: ``/v2`` and what is asked of it."""

from collections.abc import Mapping

from cds_service.api.inference_tensors import MOST_ROWS
from cds_service.api.openapi_answers import Json, answer_of, get_of
from cds_service.api.openapi_predict import example_values
from cds_service.model.runtime import Model

__all__ = ["inference_paths", "inference_schemas"]


def inference_paths(models: Mapping[str, Model]) -> Json:
    """Server and model metadata, health, and the question itself, with and without the version in the path."""
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
        "/v2": {"get": get_of(tag, "inferenceServer", "Server metadata")},
        "/v2/health/live": {"get": get_of(tag, "inferenceLive", "Whether the server lives")},
        "/v2/health/ready": {"get": get_of(tag, "inferenceReady", "Whether the server has models")},
    }
    for base, parameters, suffix in (
        ("/v2/models/{model}", [model], ""),
        ("/v2/models/{model}/versions/{version}", [model, version], "Version"),
    ):
        unknown = {"404": answer_of("There is no such model or version", error)}
        paths[base] = {
            "parameters": parameters,
            "get": get_of(tag, f"modelMetadata{suffix}", "Tensors, datatypes and units", unknown),
        }
        paths[f"{base}/ready"] = {
            "parameters": parameters,
            "get": get_of(tag, f"modelReady{suffix}", "Whether the model is ready", unknown),
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
                    "200": answer_of("One value for each row", {"$ref": "#/components/schemas/InferenceResponse"}),
                    **{str(status): answer_of("What is wrong", error) for status in (400, 404, 413, 415, 503)},
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


def inference_schemas() -> Json:
    """The schemas that the paths refer to."""
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
    }
