"""The real application with the shipped service, a clock that stands still and a state of its own."""

import asyncio
import json
import os
import re
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from cds_service.service_app import Parts, create_app, open_parts
from cds_service.settings import AUTH_OFF, read_settings, shipped

NOW = datetime(2026, 6, 1, tzinfo=UTC)
SERVICE = "dysglycaemia-screening"
STRICT = "dysglycaemia-strict"
"""The shipped service with ``on_missing = "412"``."""
ENCOUNTER = "dysglycaemia-encounter"
"""The shipped service under another hook."""
ORIGIN = "https://sandbox.cds-hooks.org"
PATIENT = "pat-7"
GLUCOSE, HBA1C = ("http://loinc.org", "2345-7"), ("http://loinc.org", "4548-4")


@dataclass
class Clock:
    """Stands still until it is set."""

    now: datetime = NOW

    def __call__(self) -> datetime:
        return self.now


class Http:
    """Asks the application in process, one request after the other or many at once."""

    def __init__(self, door) -> None:
        self._runner = asyncio.Runner()
        transport = httpx.ASGITransport(door, raise_app_exceptions=False)
        self._client = httpx.AsyncClient(transport=transport, base_url="http://testserver")

    def request(self, method: str, path: str, **sent: Any) -> httpx.Response:
        return self._runner.run(self._client.request(method, path, **sent))

    def get(self, path: str, **sent: Any) -> httpx.Response:
        return self.request("GET", path, **sent)

    def post(self, path: str, **sent: Any) -> httpx.Response:
        return self.request("POST", path, **sent)

    def together(self, path: str, bodies: list[dict]) -> list[httpx.Response]:
        async def ask() -> list[httpx.Response]:
            return await asyncio.gather(*(self._client.post(path, json=body) for body in bodies))

        return self._runner.run(ask())

    def close(self) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()


@dataclass
class App:
    """The application and what stands behind it."""

    http: Http
    door: Any
    parts: Parts
    clock: Clock

    def close(self) -> None:
        self.http.close()
        self.parts.store.close()

    def discovery(self):
        return self.http.get("/cds-services")

    def call(self, body: object, service: str = SERVICE, **headers: str):
        return self.http.post(f"/cds-services/{service}", json=body, headers=headers)

    def send(self, content: bytes, service: str = SERVICE, **headers: str):
        named = {"Content-Type": "application/json"} | {
            name.replace("_", "-"): value for name, value in headers.items()
        }
        return self.http.post(f"/cds-services/{service}", content=content, headers=named)

    def feedback(self, *items: object, service: str = SERVICE):
        return self.http.post(f"/cds-services/{service}/feedback", json={"feedback": items})

    def events(self, *types: str):
        """All events so far, or those of some types."""
        found = [stored.event for stored in self.parts.store.read_all()]
        return [event for event in found if not types or type(event).__name__ in types]


def make_hooks(folder: Path) -> Path:
    """The shipped service, and two that differ from it in one line each: no Python is added."""
    source = shipped("hooks") / SERVICE
    for name, pattern, line in (
        (SERVICE, r"\Z", ""),
        (STRICT, r'on_missing\s*=\s*"card"', 'on_missing = "412"'),
        (ENCOUNTER, r'hook\s*=\s*"patient-view"', 'hook = "encounter-start"'),
    ):
        shutil.copytree(source, folder / name)
        file = folder / name / "service.toml"
        text, changed = re.subn(pattern, line, file.read_text(encoding="utf-8"), count=1)
        assert changed == 1
        file.write_text(text, encoding="utf-8")
    return folder


def start(state: Path, hooks: Path, **settings: object) -> App:
    clock = Clock()
    chosen = {key: value for key, value in os.environ.items() if key == "CDS_ASSETS"}
    values = {"auth": AUTH_OFF, "cors_origins": (ORIGIN,), "public_base_url": "http://testserver"} | settings
    parts = open_parts(read_settings(environment=chosen, state=state, hooks=hooks, **values), clock=clock)
    door = create_app(parts)
    return App(Http(door), door, parts, clock)


@pytest.fixture(scope="session")
def hooks(tmp_path_factory):
    return make_hooks(tmp_path_factory.mktemp("hooks"))


@pytest.fixture(scope="session")
def _session_app(tmp_path_factory, hooks):
    app = start(tmp_path_factory.mktemp("state"), hooks)
    yield app
    app.close()


@pytest.fixture
def app(_session_app):
    """One application for all rows; each row uses patients of its own, or does not mind the others."""
    _session_app.clock.now = NOW
    return _session_app


@pytest.fixture
def fresh(tmp_path, hooks):
    """An application whose event log is empty."""
    app = start(tmp_path / "state", hooks)
    yield app
    app.close()


def observation(code: tuple[str, str], value: float, unit: str, *, days_ago: float = 3, patient: str = PATIENT) -> dict:
    categories = "http://terminology.hl7.org/CodeSystem/observation-category"
    return {
        "resourceType": "Observation",
        "id": f"o-{code[1]}-{value:g}",
        "status": "final",
        "category": [{"coding": [{"system": categories, "code": "laboratory"}]}],
        "code": {"coding": [{"system": code[0], "code": code[1]}]},
        "subject": {"reference": f"Patient/{patient}"},
        "effectiveDateTime": (NOW - timedelta(days=days_ago)).isoformat(),
        "valueQuantity": {"value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit},
    }


def searchset(*resources: dict) -> dict:
    return {
        "resourceType": "Bundle",
        "type": "searchset",
        "total": len(resources),
        "entry": [{"resource": resource} for resource in resources],
    }


def chart(glucose: float | None = 214, of: str = PATIENT, **keys: Any) -> dict[str, Any]:
    """The prefetch of an adult without diabetes; by default with a glucose that a rule speaks about."""
    labs = [observation(GLUCOSE, glucose, "mg/dL", patient=of)] if glucose is not None else []
    filled = {
        "patient": {"resourceType": "Patient", "id": of, "gender": "female", "birthDate": "1961-05-02"},
        "problems": None,
        "medications": None,
        "hba1c": None,
        "labs": searchset(*labs),
        "vitals": None,
        "encounter": None,
        "procedures": None,
        "pregnancy": None,
    } | keys
    return {key: value for key, value in filled.items() if value is not ...}


def call(prefetch: dict[str, Any] | None = None, patient: str = PATIENT, **changes: Any) -> dict[str, Any]:
    """A valid call; ``...`` removes a field."""
    body = {
        "hook": "patient-view",
        "hookInstance": str(uuid4()),
        "context": {"userId": "Practitioner/u-1", "patientId": patient},
        "prefetch": chart(of=patient) if prefetch is None else prefetch,
    } | changes
    return {key: value for key, value in body.items() if value is not ...}


def card_of(answer) -> dict[str, Any]:
    """The one card of an answer."""
    assert answer.status_code == 200, answer.text
    (card,) = answer.json()["cards"]
    return card


def outcome_of(answer) -> list[str]:
    """The paths that an error names, after a look at its shape (CH-165)."""
    assert answer.headers["content-type"].split(";")[0] == "application/json"
    body = json.loads(answer.content)
    assert body["resourceType"] == "OperationOutcome"
    for issue in body["issue"]:
        assert issue["severity"] == "error"
        assert issue["code"]
        assert issue["details"]["text"]
        assert issue["diagnostics"]
    return [path for issue in body["issue"] for path in issue["expression"]]
