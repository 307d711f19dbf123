"""docs/reference/http-api.md: its requests, sent to the shipped model, give its answers."""

import asyncio
import json
import re
from pathlib import Path

import httpx
import pytest
from starlette.routing import Router

from cds_service.api.inference import inference_routes
from cds_service.api.predict import Window, predict_routes
from cds_service.cdshooks.check_all import open_champion
from cds_service.web.asgi import Door
from cds_service.web.cors import CORS
from cds_service.web.metrics import Registry
from tests.attacks.real import NOW

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "reference" / "http-api.md").read_text(encoding="utf-8")
BLOCKS = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL)]


@pytest.fixture(scope="module")
def ask():
    async def keep(_):
        return None

    window = Window({"dysglycaemia": open_champion(ROOT / "model_assets", "dysglycaemia")}, keep, lambda: NOW)
    routes = [*predict_routes(window), *inference_routes(window)]
    door = Door(
        Router(routes, redirect_slashes=False), routes=routes, hosts=["testserver"], cors=CORS([]), registry=Registry()
    )

    async def asked(path, body):
        async with httpx.AsyncClient(transport=httpx.ASGITransport(door), base_url="http://testserver") as client:
            return await client.post(path, json=body)

    return lambda path, body: asyncio.run(asked(path, body))


def close(found, shown):
    """Equal, numbers to the golden tolerance: another CPU may differ in the last digits."""
    if isinstance(shown, dict):
        assert list(found) == list(shown)
        for name, value in shown.items():
            close(found[name], value)
    elif isinstance(shown, list):
        assert len(found) == len(shown)
        for one, other in zip(found, shown, strict=True):
            close(one, other)
    elif isinstance(shown, float):
        assert found == pytest.approx(shown, abs=1e-4)
    else:
        assert found == shown


def test_the_page_has_the_blocks_that_are_tried_here():
    assert len(BLOCKS) == 5


def test_the_shortest_example_gives_the_answer_on_the_page(ask):
    values, answer, *_ = BLOCKS
    response = ask("/predict/dysglycaemia", values)
    assert response.status_code == 200
    found = response.json()
    assert re.fullmatch("[0-9A-HJKMNP-TV-Z]{26}", found["id"])
    close({**found, "id": answer["id"]}, answer)


def test_the_faults_on_the_page(ask):
    response = ask("/predict/dysglycaemia", BLOCKS[2])
    assert response.status_code == 400
    told = [(issue["expression"][0], issue["details"]["text"]) for issue in response.json()["issue"]]
    assert told == re.findall(r"^\| `([a-z_.]+)` \| (\1: .*) \|$", PAGE, re.MULTILINE)


def test_the_inference_example_gives_the_answer_on_the_page(ask):
    response = ask("/v2/models/dysglycaemia/infer", BLOCKS[3])
    assert response.status_code == 200
    close(response.json(), BLOCKS[4])
