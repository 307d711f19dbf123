"""F01 and F02 at the whole service: the real process is killed while it is asked."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from cds_service.events.schema import PredictionMade, PredictionWithheld, RuleFired
from cds_service.events.store import open_store

ROOT = Path(__file__).parents[2]
LOOP = Path(__file__).with_name("kill_loop.py")
KILLS = os.environ.get("CDS_SERVICE_KILLS", "200" if os.environ.get("CI") else "20")
ARMED = "import sys; from cds_service.events import faults; from cds_service.cli import main; faults.arm(sys.argv.pop(1)); main()"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.slow
@pytest.mark.fault("F01", "F40")
@pytest.mark.ch("CH-259")
def test_the_service_loses_no_feedback_to_kills(tmp_path):
    ran = subprocess.run(
        [sys.executable, LOOP, "--kills", KILLS, "--port", str(free_port()), "--state", tmp_path / "state"],
        cwd=ROOT, capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    print(ran.stdout)
    assert ran.returncode == 0, ran.stdout + ran.stderr[-3000:]


def ask_and_die(tmp_path: Path, point: str) -> Path:
    """Send the service its own example while a kill waits at a point; returns the store."""
    port = free_port()
    state = tmp_path / "state"
    with (tmp_path / "log").open("wb") as log:
        service = subprocess.Popen(
            [sys.executable, "-c", ARMED, f"{point}:kill", "serve", "--port", str(port), "--state", str(state)],
            cwd=ROOT, stdout=log, stderr=log, env=os.environ | {"CDS_AUTH": "off-for-development"},
        )  # fmt: skip
    example = json.loads((ROOT / "hooks" / "dysglycaemia-screening" / "examples" / "card.request.json").read_bytes())
    transport = httpx.HTTPTransport(retries=8)  # connecting only, with growing pauses: until it listens
    with (
        httpx.Client(transport=transport, timeout=30, trust_env=False) as client,
        pytest.raises(httpx.RemoteProtocolError),
    ):
        client.post(f"http://127.0.0.1:{port}/cds-services/dysglycaemia-screening", json=example)
    assert service.wait(30) == -9
    return state / "events" / "events.db"


@pytest.mark.fault("F02")
@pytest.mark.parametrize(
    ("point", "is_stored"),
    [
        pytest.param("before_write", False, id="before the event is written: no card, no event"),
        pytest.param("after_commit", True, id="the event is on disk: no card, and the event claims none arrived"),
        pytest.param("after_event", True, id="just before the card leaves"),
    ],
)
def test_no_card_without_its_event(tmp_path, point, is_stored):
    store = open_store(ask_and_die(tmp_path, point))
    spoken = [
        stored.event
        for stored in store.read_all()
        if isinstance(stored.event, (PredictionMade, PredictionWithheld, RuleFired))
    ]
    store.close()
    assert bool(spoken) is is_stored
    assert all(event.sent == "unknown" for event in spoken if not isinstance(event, RuleFired))
