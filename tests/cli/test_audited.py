"""What the commands leave in the audit log, and what an auditor is told."""

import asyncio
import json
import os

import pytest
import structlog
import uvicorn
from click.testing import CliRunner

from cds_service.cli import main
from cds_service.events.audit import AuditLog, operator_actor
from cds_service.events.audit_entry import decode_entry, read_lines
from cds_service.events.audit_watch import watch_audit
from cds_service.events.pseudonym import create_key
from tests.attacks.real import ROOT
from tests.bundles import write_tiny_bundle


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state"


@pytest.fixture
def write_settings(tmp_path, state):
    """``write_settings(…)`` → a settings file; the tiny model is served."""
    write_tiny_bundle(
        tmp_path / "assets", "dysglycaemia", ROOT / "recipes/dysglycaemia/features.toml",
        outputs=("ge57", "ge60", "ge65"), point="high",
    )  # fmt: skip

    def write(**more):
        values = {"auth": "off-for-development", "state": str(state), "assets": str(tmp_path / "assets")} | more
        (tmp_path / "settings.toml").write_text("\n".join(f"{k} = {json.dumps(v)}" for k, v in values.items()))
        return str(tmp_path / "settings.toml")

    return write


def run(*command, given=None):
    return CliRunner().invoke(main, [str(word) for word in command], input=given, catch_exceptions=False)


def entries(state):
    lines = b"".join(path.read_bytes() for path in sorted((state / "audit").glob("*.jsonl")))
    return [decode_entry(line.entry) for line in read_lines(lines)]


@pytest.mark.sec("SEC-100", "SEC-101")
def test_each_command_that_changes_something_leaves_how_it_began_and_ended(write_settings, state):
    settings = write_settings()
    assert run("keys", "drop", "https://ehr.example", "2026-04", "--settings", settings).exit_code == 0
    (state / "events").mkdir(mode=0o700)
    refused = run("patient", "forget", "--tenant", "x", "--id-stdin", "--settings", settings, given="1")
    assert refused.exit_code == 2
    refused = run("patient", "forget", "--tenant", "development", "--id-stdin", "--settings", settings, given="1 2")
    assert refused.exit_code == 2
    assert [(one.did, one.on, one.result) for one in entries(state)] == [
        ("key_dropped", "https://ehr.example#2026-04", "begun"),
        ("key_dropped", "https://ehr.example#2026-04", "done"),
        ("patient_forgotten", "tenant:development", "begun"),
        ("patient_forgotten", "tenant:development", "refused"),
    ], "a state without a store has no log to forget in"
    assert {one.role for one in entries(state)} == {"operator"}
    assert {one.who for one in entries(state)} == {operator_actor().who}


@pytest.mark.sec("SEC-101")
@pytest.mark.fault("F80")
def test_a_key_is_not_dropped_where_that_can_not_be_put_on_record(write_settings, state):
    settings = write_settings()
    state.mkdir()
    (state / "audit").write_text("in the way")
    done = run("keys", "drop", "https://ehr.example", "2026-04", "--settings", settings)
    assert done.exit_code == 2
    assert "so nothing was done" in done.output
    assert not (state / "denied_keys.json").exists()


@pytest.fixture
def serve(monkeypatch, write_settings):
    """Start a service that ends at once."""
    from cds_service import service_app

    opened = []
    original = service_app.open_parts
    monkeypatch.setattr(service_app, "open_parts", lambda settings: opened.append(original(settings)) or opened[-1])
    monkeypatch.setattr(uvicorn, "run", lambda app, **options: None)

    def start(**more):
        done = run("serve", "--settings", write_settings(**more))
        while opened:
            opened.pop().store.close()
        return done

    yield start
    structlog.reset_defaults()


@pytest.mark.sec("SEC-100")
def test_a_start_says_which_settings_were_changed(serve, state):
    for more in ({}, {}, {"deadline_ms": 900}, {"deadline_ms": 900, "port": 8001}):
        assert serve(**more).exit_code == 0
    found = [(one.did, one.role, one.changed) for one in entries(state)]
    assert found == [
        ("service_started", "service", ()),
        ("service_started", "service", ("pseudonym_key_content",)),
        ("service_started", "service", ("deadline_ms",)),
        ("service_started", "service", ("port",)),
    ]
    digests = entries(state)[0].settings.values()
    assert {len(digest) for digest in digests} == {4, 16}, "hashes, no values; none where there is no file"


@pytest.mark.sec("SEC-101")
@pytest.mark.fault("F10", "F80")
def test_a_full_disk_keeps_no_unchanged_service_from_starting(serve, state, monkeypatch):
    assert serve().exit_code == 0
    assert serve().exit_code == 0

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    assert serve().exit_code == 0
    changed = serve(deadline_ms=900)
    assert changed.exit_code == 2
    assert "No space left on device" in changed.output


@pytest.mark.sec("SEC-102")
def test_an_auditor_verifies_the_chain_with_heads_that_were_printed(write_settings, state, tmp_path):
    settings = write_settings()
    create_key(state / "audit.key")
    log = AuditLog(state / "audit", operator_actor())
    heads = tmp_path / "heads.txt"
    for _ in range(3):
        log.write("restored")
        with heads.open("a") as file:
            file.write(run("audit", "head", "--settings", settings).output)
    done = run("audit", "verify", "--settings", settings, "--heads", heads)
    assert done.exit_code == 0
    assert done.output.startswith("3 entries hold, 1 to 3, and 3 signed heads with them.\nThe head is ")
    path = next((state / "audit").glob("*.jsonl"))
    whole = path.read_bytes()
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:2]))
    assert run("audit", "verify", "--settings", settings).exit_code == 0
    done = run("audit", "verify", "--settings", settings, "--heads", heads)
    assert done.exit_code == 1
    assert done.output == f"{path.name}:2: the chain ends at entry 2, and entry 3 was once its head.\n"
    path.write_bytes(whole.replace(b'"seq":2', b'"seq":1'))
    done = run("audit", "verify", "--settings", settings)
    assert (done.exit_code, done.output) == (1, f"{path.name}:2: entry 1 stands where 2 should.\n")


@pytest.mark.parametrize("command", ["verify", "head"])
def test_without_an_entry_an_auditor_is_told_so(write_settings, state, command):
    settings = write_settings()
    create_key(state / "audit.key")
    done = run("audit", command, "--settings", settings)
    assert done.exit_code in (1, 2)
    assert "there is no entry" in done.output


@pytest.mark.sec("SEC-102", "SEC-103")
@pytest.mark.fault("F20")
def test_a_running_service_says_where_the_chain_stands_and_that_the_clock_was_set(state, monkeypatch):
    create_key(state / "audit.key")
    AuditLog(state / "audit", operator_actor()).write("restored")
    from cds_service.events import audit_watch

    ahead = iter([0.0, 0.0, 3600.0, 3600.0, 3600.0])
    monkeypatch.setattr(audit_watch, "_wall_ahead", lambda: next(ahead, 3600.0))

    async def watch():
        task = asyncio.create_task(watch_audit(state / "audit", state / "audit.key", look_s=0.01, head_s=0.05))
        await asyncio.sleep(0.3)
        task.cancel()

    with structlog.testing.capture_logs() as said:
        asyncio.run(watch())
    kinds = [line["event"] for line in said]
    assert kinds.count("audit_head") >= 2
    assert kinds.count("clock_stepped") == 1
    assert {line["seq"] for line in said if line["event"] == "audit_head"} == {1}
