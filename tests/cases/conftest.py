"""The test service that the cases assume (README.md beside this file), and how their inputs are read."""

import json
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from cds_service.service_app import create_app, open_parts
from cds_service.settings import read_settings
from tests.bundles import write_tiny_bundle

HERE = Path(__file__).parent
DATA = HERE.parent / "data"
NOW = datetime(2026, 6, 1, tzinfo=UTC)


def cases(kind):
    """The cases of one kind, one (id, variant, input, expectation) each."""
    read = []
    for line in (HERE / f"{kind}.jsonl").read_text(encoding="utf-8").splitlines():
        case = json.loads(line)
        given, expect = case["input"], case["expect"]
        if given["type"] != "variants":
            read.append((case["id"], None, given, expect))
            continue
        by_name = expect.get("by_variant", {})
        common = {key: value for key, value in expect.items() if key not in ("by_variant", "rule")}
        for variant in given["variants"]:
            what = variant.get("input") or variant.get("request")
            more = {"fhir_server": variant["fhir_server"]} if "fhir_server" in variant else {}
            read.append((case["id"], variant["name"], {**what, **more}, {**common, **by_name.get(variant["name"], {})}))
    return read


def named(case):
    return f"{case[0]}: {case[1]}" if case[1] else case[0]


class Clock:
    """A clock that stands until a test sets it."""

    now = NOW

    def __call__(self):
        return self.now


def open_case_parts(folder):
    """The parts of the service `case-labs` at the cases' clock, with its CORS list."""
    write_tiny_bundle(folder / "assets", "case-labs", DATA / "recipes" / "case-labs" / "features.toml")
    settings = read_settings(
        environment={},
        auth="off-for-development",
        state=folder / "state",
        hooks=DATA / "hooks",
        assets=folder / "assets",
        cors_origins=("https://sandbox.example.org",),
    )
    return open_parts(settings, clock=Clock())


@contextmanager
def open_service(folder):
    """(client, parts): the service, running."""
    parts = open_case_parts(folder)
    with TestClient(create_app(parts)) as client:
        yield client, parts


@pytest.fixture
def service(tmp_path):
    """A service of one's own, to look at its events."""
    with open_service(tmp_path) as opened:
        yield opened


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    """One service for all cases of a file that look at the answer alone."""
    with open_service(tmp_path_factory.mktemp("service")) as (client, _):
        yield client


@pytest.fixture
def events(service):
    _, parts = service
    return lambda: [stored.event for stored in parts.store.read(0, 1000)]
