"""``serve`` with one worker or with several: the same server, the same limits."""

import asyncio
import gc
import json
import pickle

import pytest
import uvicorn
from click.testing import CliRunner

from cds_service import service_app
from cds_service.cli import main
from cds_service.service_app import open_parts
from tests.attacks.real import ROOT
from tests.bundles import write_tiny_bundle

OF_WORKERS = {"factory", "workers"}
"""What only several workers need said."""


@pytest.fixture
def started(tmp_path, monkeypatch):
    """``started(workers)`` → what uvicorn was told, and what was opened for it; nothing is run."""
    write_tiny_bundle(
        tmp_path / "assets", "dysglycaemia", ROOT / "recipes/dysglycaemia/features.toml",
        outputs=("ge57", "ge60", "ge65"), point="high",
    )  # fmt: skip
    settings = {"auth": "off-for-development", "deadline_ms": 700, "hooks": str(ROOT / "hooks")}
    settings |= {"state": str(tmp_path / "state"), "assets": str(tmp_path / "assets")}
    (tmp_path / "settings.toml").write_text(
        "\n".join(f"{key} = {json.dumps(value)}" for key, value in settings.items())
    )
    monkeypatch.setenv("CDS_WORKER_SETTINGS", "")

    opened = []

    def open_and_note(settings):
        opened.append(open_parts(settings))
        return opened[-1]

    monkeypatch.setattr(service_app, "open_parts", open_and_note)

    def start(workers):
        told = {}
        monkeypatch.setattr(uvicorn, "run", lambda app, **options: told.update(options))
        command = ["serve", "--settings", str(tmp_path / "settings.toml"), "--workers", str(workers)]
        done = CliRunner().invoke(main, command, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return told, opened

    yield start
    gc.enable()  # the command leaves it to the server that it starts
    for parts in opened:
        parts.store.close()


def connection(told):
    """One connection of the server that uvicorn was told to run, in a process that was sent the options."""
    protocol = pickle.loads(pickle.dumps(told["http"]))

    async def connect():
        config = uvicorn.Config(lambda: None, log_config=None)
        config.load()
        return protocol(config, uvicorn.server.ServerState(), {}, asyncio.get_running_loop())

    return asyncio.run(connect())


def test_several_workers_run_as_one_does(started):
    one, (parts,) = started(1)
    several, _ = started(2)
    assert set(several) - set(one) == OF_WORKERS
    assert {key for key in one if key != "http" and one[key] != several[key]} == set()
    assert connection(one).limits == connection(several).limits == parts.limits
    assert parts.limits.deadline_s == 0.7
