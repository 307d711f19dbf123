"""The real application with a tiny model, in this process or, to watch its memory, in one of its own."""

import asyncio
import json
import subprocess
import sys
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from cds_service.service_app import create_app, open_parts
from cds_service.settings import read_settings
from tests.bundles import write_tiny_bundle

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 6, 1, tzinfo=UTC)
ORIGIN = "https://ehr.example"
SERVICE = "/cds-services/dysglycaemia-screening"
EXAMPLE = json.loads((ROOT / "hooks/dysglycaemia-screening/examples/card.request.json").read_text(encoding="utf-8"))


def real_parts(folder):
    """Everything open but the server: the shipped service folder and a model that always speaks."""
    write_tiny_bundle(
        folder / "assets", "dysglycaemia", ROOT / "recipes/dysglycaemia/features.toml",
        outputs=("ge57", "ge60", "ge65"), point="high",
    )  # fmt: skip
    settings = read_settings(
        environment={},
        auth="off-for-development",
        state=folder / "state",
        hooks=ROOT / "hooks",
        assets=folder / "assets",
        cors_origins=(ORIGIN,),
        allowed_hosts=("127.0.0.1", "testserver"),
        deadline_ms=10_000,
    )
    return open_parts(settings, clock=lambda: NOW)


@contextmanager
def real_process(folder):
    """(port, pid) of a process that serves the real application until the block ends."""
    command = [sys.executable, "-m", "tests.attacks.real", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            yield int(process.stdout.readline()), process.pid
        finally:
            process.terminate()


def _serve(folder):
    import uvicorn

    from cds_service.logs import configure_logging
    from cds_service.web.protocol import limited_protocol

    configure_logging()
    parts = real_parts(folder)
    config = uvicorn.Config(
        create_app(parts), host="127.0.0.1", port=0, loop="uvloop", http=limited_protocol(parts.limits),
        access_log=False, server_header=False, log_config=None,
    )  # fmt: skip
    server = uvicorn.Server(config)

    async def run():
        task = asyncio.create_task(server.serve())
        while not server.started and not task.done():  # noqa: ASYNC110 - uvicorn has no event for this
            await asyncio.sleep(0.01)
        print(server.servers[0].sockets[0].getsockname()[1], flush=True)
        await task

    asyncio.run(run())


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
