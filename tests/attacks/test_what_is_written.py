"""SEC-090: nothing clinical on disk but the event log, shown by every file that the real processes open for writing."""

import gzip
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from tests.attacks.real import EXAMPLE, ROOT, SERVICE
from tests.attacks.test_canary import CORE, KINDS, Marker, hits, marked, with_marked_ids

STRACE = shutil.which("strace")
WRITES = "trace=open,openat,creat,rename,renameat,renameat2,link,linkat,memfd_create,connect"
PATH = re.compile(r'"((?:[^"\\]|\\.)*)"')
MAY_BE_WRITTEN = re.compile(
    r"state(?:/events(?:/\.?events\.db(?:\.new)?(?:-wal|-shm|-journal|\.lock)?|/\.backup-\w+(?:/.*)?)?"
    r"|/audit(?:/audit-\d{4}\.jsonl)?|/\.?(?:pseudonym|audit)\.key(?:\.\w+)?)?"
    r"|backups(?:/(?:\.backup-\w+|backup-[^/]+\.cds|\.?forgotten\.txt(?:\.\w+)?))?"
)
"""Under the test's folder, and nothing elsewhere; ``/dev`` has no disk behind it."""


@pytest.fixture
def folder(tmp_path):
    for name in ("temp", "home", "work", "backups"):
        (tmp_path / name).mkdir()
    (tmp_path / "backup.key").write_bytes(bytes(32))
    (tmp_path / "backup.key").chmod(0o600)
    (tmp_path / "settings.toml").write_text(
        f'auth = "off-for-development"\nstate = "{tmp_path}/state"\nbackup_folder = "{tmp_path}/backups"\n'
        f'backup_key_file = "{tmp_path}/backup.key"\nhooks = "{ROOT}/hooks"\nassets = "{ROOT}/model_assets"\n'
    )
    return tmp_path


def environment(folder):
    return os.environ | {
        "TMPDIR": str(folder / "temp"),
        "HOME": str(folder / "home"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PYTHONPATH": str(ROOT),
    }


def command(folder, *words):
    """The command as an operator runs it, watched where the machine has strace."""
    watched = (
        [] if STRACE is None else [STRACE, "-f", "-qq", "-s", "4096", "-e", WRITES, "-o", folder / f"trace-{words[0]}"]
    )
    return [*watched, sys.executable, "-m", "cds_service", *words, "--settings", folder / "settings.toml"]


def run(folder, *words, given=""):
    done = subprocess.run(
        command(folder, *words), input=given, cwd=folder / "work", env=environment(folder), capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (folder / f"said-{words[0]}").write_text(done.stdout + done.stderr)


@contextmanager
def served(folder):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with (folder / "said-serve").open("wb") as said:
        process = subprocess.Popen(
            command(folder, "serve", "--port", str(port)), cwd=folder / "work", env=environment(folder), stdout=said, stderr=said
        )  # fmt: skip
        try:
            with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, trust_env=False) as client:
                until = time.monotonic() + 120
                while True:
                    try:
                        client.get("/health/live")
                        break
                    except httpx.TransportError:
                        assert process.poll() is None, (folder / "said-serve").read_text()
                        assert time.monotonic() < until
                        time.sleep(0.1)
                yield client
        finally:
            os.kill(pid_of(process), signal.SIGTERM)
            process.wait(60)


def pid_of(process):
    """The service itself, also where strace started it."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(children[0]) if STRACE is not None else process.pid


def large(call, marker):
    """The same chart with six megabytes of results that hardly pack, a marker in each."""
    labs = [
        {"resource": {"resourceType": "Observation", "id": marker.plain("large"), "note": [{"text": marker("note")}],
                      "text": {"status": "generated", "div": CORE + secrets.token_urlsafe(3000)}}}
        for _ in range(1500)
    ]  # fmt: skip
    return {**call, "prefetch": {**call["prefetch"], "labs": {"resourceType": "Bundle", "entry": labs}}}


def connected(folder):
    """Every address that a watched process connected to, or tried to."""
    for trace in folder.glob("trace-*"):
        for line in trace.read_text(errors="replace").splitlines():
            if found := re.search(r'connect\(\d+, \{sa_family=AF_INET6?, .*?"([^"]+)"', line):
                yield found[1]


def written(folder):
    """Every path that a watched process opened for writing, made, or moved to."""
    for trace in folder.glob("trace-*"):
        for line in trace.read_text(errors="replace").splitlines():
            if " connect(" in line:
                continue
            if " = -1 " in line or "memfd_create" in line:
                assert "memfd_create" not in line or "= -1" in line, line
                continue
            if re.search(r"\b(?:rename|link|creat)", line) or re.search(r"O_(?:WRONLY|RDWR|CREAT)", line):
                yield PATH.findall(line)[-1]


@pytest.mark.slow
@pytest.mark.sec("SEC-090", "SEC-083")
def test_nothing_clinical_is_on_disk_but_the_event_log(folder):
    marker = Marker()
    call = with_marked_ids(marked(EXAMPLE, lambda name: name not in KINDS, marker), marker)
    body = gzip.compress(json.dumps(large(call, marker)).encode())
    assert len(body) > 3_000_000
    with served(folder) as client:
        card = client.post(SERVICE, json=call)
        assert card.json()["cards"], "the chart is answered with a card"
        said = {
            "card": card.json()["cards"][0]["uuid"],
            "outcome": "overridden",
            "outcomeTimestamp": "2026-06-01T00:00:00Z",
        }
        said["overrideReason"] = {
            "userComment": marker("comment"),
            "reason": {"code": marker.plain("code"), "system": "urn:x"},
        }
        assert client.post(f"{SERVICE}/feedback", json={"feedback": [said]}).status_code == 200
        assert client.post(SERVICE, content=marker("not JSON")).status_code in (400, 415)
        assert client.post(SERVICE, json={**call, "hook": marker.plain("hook")}).status_code == 400
        packed = client.post(
            SERVICE, content=body, headers={"content-type": "application/json", "content-encoding": "gzip"}
        )
        assert packed.status_code in (200, 413), packed.text
        too_large = client.post(SERVICE, content=b"x" * 9_000_000, headers={"content-type": "application/json"})
        assert too_large.status_code == 413
        run(folder, "backup")
        run(folder, "patient", "forget", "--tenant", "development", "--id-stdin", given=call["context"]["patientId"])
        run(folder, "events", "expire")
    assert b"service_stopped" in (folder / "said-serve").read_bytes(), "it ended in order"
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("trace-")]
    found = [hit for path in files for hit in hits(str(path.relative_to(folder)), path.read_bytes())]
    assert found == []
    assert {path.parent.name for path in files} >= {"events", "audit", "backups"}
    assert [path for name in ("temp", "home", "work") for path in (folder / name).iterdir()] == []
    if STRACE is None:
        pytest.skip("no strace here: files that were deleted again are not seen; the rest holds")
    elsewhere = {
        path
        for path in set(written(folder))
        if not path.startswith("/dev/")
        and not (path.startswith(f"{folder}/") and MAY_BE_WRITTEN.fullmatch(path.removeprefix(f"{folder}/")))
    }
    assert elsewhere == set()
    assert set(connected(folder)) == set(), "nobody is told anything"
    assert any(path.endswith("events.db-wal") for path in written(folder)), "the watch sees what it should see"


@pytest.mark.skipif(STRACE is None, reason="no strace here")
def test_a_file_that_is_written_and_deleted_and_a_connection_are_seen(folder):
    planted = "import tempfile; tempfile.TemporaryFile().write(b'x'); tempfile.NamedTemporaryFile().write(b'x')"
    planted += "; import socket; socket.socket().connect_ex(('127.0.0.9', 9))"
    subprocess.run(
        [STRACE, "-f", "-qq", "-s", "4096", "-e", WRITES, "-o", folder / "trace-x", sys.executable, "-c", planted],
        env=environment(folder), cwd=folder / "work", check=True, timeout=60,
    )  # fmt: skip
    assert list(connected(folder)) == ["127.0.0.9"]
    seen = [Path(path) for path in set(written(folder))]
    assert folder / "temp" in seen, "a file without a name, by its folder"
    assert folder / "temp" in {path.parent for path in seen}
