"""The plain windows' part of the OpenAPI document: one path for each model, its schema from the model's features."""

from collections.abc import Mapping

from cds_service.api.openapi_answers import Json, answer_of, problems
from cds_service.clinical.feature_spec import FeatureSpec
from cds_service.model.runtime import Model

__all__ = ["example_values", "predict_paths", "predict_schemas"]


def predict_paths(models: Mapping[str, Model]) -> Json:
    """``/predict/<model>`` for each open model, by its name."""
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
                "parameters": [
                    {
                        "name": "explain",
                        "in": "query",
                        "required": False,
                        "description": "true: also say what each input adds to the estimate, exactly.",
                        "schema": {"type": "boolean"},
                    }
                ],
                "requestBody": {
                    "required": True,
                    "content": {
                        "application/json": {"schema": _values_schema(model), "example": example_values(model)}
                    },
                },
                "responses": {
                    "200": answer_of(
                        "A prediction, or the reason for none", {"$ref": "#/components/schemas/Prediction"}
                    ),
                    **problems(400, 413, 415, 503),
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


def predict_schemas() -> Json:
    """The schema of an answer, which the paths refer to."""
    number = {"type": "number", "minimum": 0, "maximum": 1}
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
                "explanation": {
                    "type": "object",
                    "description": "Where it was asked for: natural log odds, at the calibration set's prevalence.",
                    "additionalProperties": {
                        "type": "object",
                        "required": ["base", "contributions", "estimate"],
                        "properties": {
                            "base": {"type": "number"},
                            "contributions": {"type": "object", "additionalProperties": {"type": "number"}},
                            "estimate": {"type": "number"},
                        },
                    },
                },
            },
        },
    }
