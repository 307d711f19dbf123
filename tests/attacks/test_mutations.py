"""Real charts, damaged at random: never a 5xx, never a word of the patient in an error."""

import asyncio
import collections
import json
import random
import time

import pytest

from cds_service.service_app import create_app
from tests.attacks.charts import CANARY, calls, damaged
from tests.attacks.real import SERVICE, real_parts

MOST = 10_000
BUDGET_S = 40
LEAST = 1_000
AT_ONCE = 24


@pytest.fixture
def app(tmp_path):
    parts = real_parts(tmp_path)
    yield create_app(parts)
    parts.store.close()


async def post(app, path, body):
    """Straight through the door, without a socket: (status, body)."""
    heard = []
    scope = {
        "type": "http", "method": "POST", "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "",
        "scheme": "http", "http_version": "1.1", "server": ("127.0.0.1", 80), "client": ("127.0.0.1", 1), "state": {},
        "headers": [(b"host", b"127.0.0.1"), (b"content-type", b"application/json"),
                    (b"content-length", str(len(body)).encode())],
    }  # fmt: skip

    async def receive():
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message):
        heard.append(message)

    await app(scope, receive, send)
    return heard[0]["status"], b"".join(message.get("body", b"") for message in heard[1:])


def campaign(app, path, bodies):
    """Send bodies until they end or the time is over; status → how many. The first bad one is told."""
    statuses = collections.Counter()
    until = time.monotonic() + BUDGET_S

    async def worker():
        for body in bodies:
            if time.monotonic() > until:
                return
            status, answer = await post(app, path, body)
            statuses[status] += 1
            said = answer.lower()
            assert status < 500, f"{status} {answer[:300]!r} for {body[:2000]!r}"
            assert status == 200 or CANARY.encode() not in said, f"{status} {answer[:600]!r}"
            assert json.loads(answer) is not None

    async def run():
        await asyncio.gather(*(worker() for _ in range(AT_ONCE)))

    asyncio.run(run())
    return statuses


@pytest.mark.slow
@pytest.mark.sec("SEC-085", "SEC-045")
@pytest.mark.fault("F33")
def test_ten_thousand_damaged_charts(app):
    chance = random.Random(20261125)
    charts = list(calls())
    statuses = campaign(app, SERVICE, (damaged(chance.choice(charts), chance) for _ in range(MOST)))
    assert statuses.total() >= LEAST
    assert {200, 400} <= set(statuses)


@pytest.mark.sec("SEC-085", "SEC-045")
@pytest.mark.parametrize("path", [f"{SERVICE}/feedback", "/predict/dysglycaemia", "/v2/models/dysglycaemia/infer"])
def test_a_thousand_damaged_bodies_of_the_other_doors(app, path):
    chance = random.Random(7)
    whole = {
        f"{SERVICE}/feedback": {
            "feedback": [
                {
                    "card": "7c1c9a52-0000-4000-8000-00000000000a",
                    "outcome": "accepted",
                    "acceptedSuggestions": [{"id": "7c1c9a52-0000-4000-8000-00000000000b"}],
                    "outcomeTimestamp": "2026-05-31T23:00:00Z",
                },
                {
                    "card": "7c1c9a52-0000-4000-8000-00000000000c",
                    "outcome": "overridden",
                    "overrideReason": {"reason": {"code": "x", "system": "y"}, "userComment": CANARY},
                    "outcomeTimestamp": "2026-05-31T23:00:00+09:00",
                },
            ]
        },
        "/predict/dysglycaemia": {
            "age_years": 62,
            "sex": "female",
            "fasting": True,
            "bmi": {"value": 31.2, "unit": "kg/m2"},
            "glucose": {"value": 6.2, "unit": "mmol/L"},
        },
        "/v2/models/dysglycaemia/infer": {
            "id": "1",
            "inputs": [
                {"name": "age_years", "datatype": "FP64", "shape": [2], "data": [62, 40]},
                {"name": "bmi", "datatype": "FP32", "shape": [2, 1], "data": [[31.2], [22.0]]},
                {
                    "name": "glucose",
                    "datatype": "FP64",
                    "shape": [2],
                    "data": [5.1, None],
                    "parameters": {"unit": "mmol/L"},
                },
            ],
            "outputs": [{"name": "ge65"}],
        },
    }[path]
    statuses = campaign(app, path, (damaged(whole, chance) for _ in range(1000)))
    assert statuses.total() == 1000
    assert {200, 400} <= set(statuses)
