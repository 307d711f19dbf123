"""A real server process in production mode on a given state: ``python -m tests.auth.server_child FOLDER PORT``."""

import sys
from pathlib import Path

import uvicorn

from cds_service.logs import configure_logging
from cds_service.service_app import create_app, open_parts
from cds_service.web.protocol import limited_protocol
from tests.auth import tokens


def main(folder: Path, port: int) -> None:
    configure_logging()
    parts = open_parts(tokens.production(folder, folder / "clients.toml"))
    uvicorn.run(
        create_app(parts), host="127.0.0.1", port=port, loop="uvloop", http=limited_protocol(parts.limits),
        lifespan="on", access_log=False, log_config=None, timeout_graceful_shutdown=5,
    )  # fmt: skip


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
