"""The document describes what is really served, is valid OpenAPI 3.1, and its examples work."""

import json
import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator

OPENAPI = json.loads((Path(__file__).parents[1] / "data" / "openapi" / "schema-3.1-2022-10-07.json").read_text())


@pytest.fixture
def document(ask):
    return ask("GET", "/openapi.json").json()


def test_it_is_valid(document):
    assert [error.message for error in Draft202012Validator(OPENAPI).iter_errors(document)] == []
    for schema in walked_schemas(document):
        Draft202012Validator.check_schema(schema)


def walked_schemas(node):
    if isinstance(node, dict):
        if "schema" in node:
            yield node["schema"]
        yield from node.get("components", {}).get("schemas", {}).values()
        for value in node.values():
            yield from walked_schemas(value)
    elif isinstance(node, list):
        for value in node:
            yield from walked_schemas(value)


def test_every_reference_leads_somewhere(document):
    for reference in re.findall(r'"\$ref": "([^"]+)"', json.dumps(document)):
        assert reference.startswith("#/components/schemas/")
        assert reference.rsplit("/", 1)[1] in document["components"]["schemas"]


def test_every_route_is_described_and_every_path_exists(document, door):
    served = {
        (re.sub(r"^/predict/\{model\}$", "/predict/dysglycaemia", route.path), method)
        for route in door._app.routes
        for method in route.methods - {"HEAD"}
        if not route.path.startswith("/docs") and route.path != "/openapi.json"
    }
    described = {
        (path, method.upper())
        for path, item in document["paths"].items()
        for method in item
        if method in {"get", "post"} and not path.startswith("/cds-services")
    }
    assert described == served


def test_operation_ids_are_unique(document):
    names = [item[m]["operationId"] for item in document["paths"].values() for m in item if m in {"get", "post"}]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("path", ["/predict/dysglycaemia", "/v2/models/{model}/infer"])
def test_examples_work_as_they_stand(ask, document, path):
    content = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    response = ask("POST", path.replace("{model}", "dysglycaemia"), json=content["example"])
    assert response.status_code == 200, response.text
    schema = document["paths"][path]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    Draft202012Validator({**schema, "components": document["components"]}).validate(response.json())
    Draft202012Validator({**content["schema"], "components": document["components"]}).validate(content["example"])


@pytest.mark.parametrize("body", [{"age_years": "x"}, {"nothing": 1}, {"age_years": 62, "bmi": 3}])
def test_the_schema_refuses_what_the_service_refuses(document, body):
    schema = document["paths"]["/predict/dysglycaemia"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert list(Draft202012Validator(schema).iter_errors(body))


def test_errors_are_as_described(ask, document):
    response = ask("POST", "/predict/dysglycaemia", json={})
    schema = {"$ref": "#/components/schemas/OperationOutcome", "components": document["components"]}
    Draft202012Validator(schema).validate(response.json())
    assert json.dumps(document)  # no NaN, nothing that JSON lacks
