"""A running sandbox and a browser that notices everything: console errors, page errors, requests to other hosts."""

import importlib.util
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

ROOT = Path(__file__).resolve().parents[2]
CHROMIUM = Path(os.environ.get("CDS_CHROMIUM", "/usr/bin/chromium"))
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
SANDBOX = [sys.executable, "-m", "cds_service", "sandbox"]
START_S = 30


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@pytest.fixture(scope="session")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A client for the running sandbox; its ``base_url`` is the page's address."""
    port = _free_port()
    state = tmp_path_factory.mktemp("state")
    log = (state / "server.log").open("wb")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    server = subprocess.Popen(
        [*SANDBOX, "--port", str(port), "--state", str(state)],
        cwd=ROOT,
        env=environment,
        stdout=log,
        stderr=subprocess.STDOUT,
    )
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
        try:
            _wait_for(client, server, state / "server.log")
            yield client
        finally:
            server.terminate()
            server.wait(timeout=20)
            log.close()


def _wait_for(client: httpx.Client, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        if server.poll() is not None:
            pytest.fail(f"the sandbox ended with {server.returncode}:\n{log.read_text()[-4000:]}")
        try:
            if client.get("/sandbox/api/patients").is_success:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    pytest.fail(f"the sandbox was not ready after {START_S} s:\n{log.read_text()[-4000:]}")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """One browser a module: while it runs, Playwright holds this thread's event loop and no other may start."""
    if not CHROMIUM.exists() or importlib.util.find_spec("playwright") is None:
        what = f"{CHROMIUM} and the playwright package are needed: apt-get install chromium, pip install '.[dev]'"
        if os.environ.get("CI"):
            pytest.fail(what)
        pytest.skip(what)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any, sandbox: httpx.Client) -> Iterator[Callable[..., Any]]:
    """Open the sandbox; at the end, nothing may have gone wrong and nobody else may have been asked."""
    complaints: list[str] = []
    contexts = []

    def page(path: str = "/?lang=en", *, width: int = 1440, height: int = 900, expect: tuple[str, ...] = ()) -> Any:
        context = chromium.new_context(
            viewport={"width": width, "height": height}, reduced_motion="reduce", locale="en-GB"
        )
        contexts.append(context)
        opened = context.new_page()
        own = str(sandbox.base_url).rstrip("/")

        def on_console(message: Any) -> None:
            if message.type in ("error", "warning") and not any(word in message.text for word in expect):
                complaints.append(f"console: {message.text}")

        def on_request(request: Any) -> None:
            if not request.url.startswith((own, "data:", "blob:")):
                complaints.append(f"request to {request.url}")

        opened.on("console", on_console)
        opened.on("pageerror", lambda error: complaints.append(f"page error: {error}"))
        opened.on("request", on_request)
        opened.goto(own + path)
        opened.wait_for_selector(".person, .card, .no-card")
        return opened

    yield page
    for context in contexts:
        context.close()
    assert complaints == []


@pytest.fixture
def new_patient(sandbox: httpx.Client) -> Callable[..., str]:
    """Make a patient whom a card concerns: 62 years, heavy, glucose raised, no HbA1c. Returns the patient's id."""

    def make(family: str = "Testcase", age_years: int = 62) -> str:
        day = datetime.now(UTC).date() - timedelta(days=20)
        born = day.replace(year=day.year - age_years, day=1)
        patient = {"resourceType": "Patient", "name": [{"family": family, "given": ["Alex"]}], "gender": "male"}
        patient_id = _create(sandbox, patient | {"birthDate": born.isoformat()})
        for code, value, unit, category in [
            ("1558-6", 123, "mg/dL", "laboratory"),
            ("2345-7", 123, "mg/dL", "laboratory"),
            ("2093-3", 231, "mg/dL", "laboratory"),
            ("2085-9", 31, "mg/dL", "laboratory"),
            ("2571-8", 310, "mg/dL", "laboratory"),
            ("39156-5", 38.2, "kg/m2", "vital-signs"),
            ("8280-0", 127, "cm", "vital-signs"),
            ("8302-2", 172, "cm", "vital-signs"),
        ]:
            _create(sandbox, _observation(patient_id, day.isoformat(), category, code) | _quantity(value, unit))
        components = [
            {"code": _coding("8480-6")} | _quantity(158, "mm[Hg]"),
            {"code": _coding("8462-4")} | _quantity(94, "mm[Hg]"),
        ]
        _create(
            sandbox, _observation(patient_id, day.isoformat(), "vital-signs", "85354-9") | {"component": components}
        )
        return patient_id

    return make


def _create(client: httpx.Client, resource: dict[str, Any]) -> str:
    answer = client.post(f"/fhir/{resource['resourceType']}", json=resource)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


def _coding(code: str) -> dict[str, Any]:
    return {"coding": [{"system": "http://loinc.org", "code": code}]}


def _quantity(value: float, unit: str) -> dict[str, Any]:
    return {"valueQuantity": {"value": value, "unit": unit, "system": "http://unitsofmeasure.org", "code": unit}}


def _observation(patient_id: str, day: str, category: str, code: str) -> dict[str, Any]:
    system = "http://terminology.hl7.org/CodeSystem/observation-category"
    return {
        "resourceType": "Observation",
        "status": "final",
        "category": [{"coding": [{"system": system, "code": category}]}],
        "code": _coding(code),
        "subject": {"reference": f"Patient/{patient_id}"},
        "effectiveDateTime": f"{day}T08:30:00+00:00",
    }


@pytest.fixture
def events(sandbox: httpx.Client) -> Callable[[], list[dict[str, Any]]]:
    """Read the newest events of the log, oldest first."""
    return lambda: sandbox.get("/sandbox/api/events", params={"last": 100}).json()["events"]
