"""Our own contract test finds no fault in our own service, over real HTTP."""

import threading
import time

import pytest
import uvicorn

from cds_service.contract import run_contract
from cds_service.web.protocol import limited_protocol
from tests.conformance.conftest import ORIGIN, start


@pytest.fixture(scope="module")
def url(tmp_path_factory, hooks):
    app = start(tmp_path_factory.mktemp("state"), hooks)
    config = uvicorn.Config(
        app.door, host="127.0.0.1", port=0, log_level="error", lifespan="off", http=limited_protocol(app.parts.limits)
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join()
    app.close()


def test_our_own_service_keeps_the_contract(url):
    report = run_contract(url, origin=ORIGIN)
    assert [(finding.ids, finding.service, finding.title, finding.sentence) for finding in report.failed] == []
    assert sum(finding.verdict == "pass" for finding in report.findings) > 150
