"""The contract test finds what is planted in a broken service, and nothing in a clean one."""

import json
import threading
import time

import pytest
import uvicorn

from cds_service.contract import Report, print_table, run_contract
from tests.contract.broken_service import FAULTS, BrokenService, create_app


class Served:
    """The broken service behind real HTTP on a loopback port."""

    def __init__(self) -> None:
        self.service = BrokenService()
        config = uvicorn.Config(create_app(self.service), host="127.0.0.1", port=0, log_level="error", lifespan="off")
        self.server = uvicorn.Server(config)
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()
        while not self.server.started:
            time.sleep(0.01)
        port = self.server.servers[0].sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"

    def stop(self) -> None:
        self.server.should_exit = True
        self.thread.join()

    def contract(self, *faults: str) -> Report:
        self.service.faults = set(faults)
        return run_contract(self.url)


@pytest.fixture(scope="module")
def served():
    server = Served()
    yield server
    server.stop()


@pytest.fixture(scope="module")
def clean(served):
    return served.contract()


def test_a_clean_service_has_no_fault(clean):
    assert [(finding.ids, finding.title, finding.sentence) for finding in clean.failed] == []
    assert clean.exit_code == 0


def test_a_clean_service_is_looked_at_closely(clean):
    """Cards were shown and feedback was taken, so hardly anything is left untried."""
    assert sum(finding.verdict == "pass" for finding in clean.findings) > 90
    skipped = {finding.title for finding in clean.findings if finding.verdict == "not applicable"}
    assert skipped <= {
        "delete names Type/id in resourceId",
        "extension is an object",
        "hookVersion is the published hook's",
        "source.icon is absolute",
        "source.topic has code and system",
        "usageRequirements is a text",
        "version is a semantic version",
    }


@pytest.mark.parametrize("fault", FAULTS)
def test_each_planted_fault_is_found(served, clean, fault):
    report = served.contract(fault)
    found = {identifier for finding in report.failed for identifier in finding.ids}
    assert FAULTS[fault] in found
    levels = {finding.level for finding in report.failed if FAULTS[fault] in finding.ids}
    assert report.exit_code == (1 if "SHALL" in levels or report.broken else 0)


def test_an_address_where_nobody_answers():
    report = run_contract("http://127.0.0.1:1")
    assert report.exit_code == 1
    assert "no answer" in print_table(report)


@pytest.mark.parametrize("url", ["ftp://x.example", "cds.example.org", ""])
def test_an_address_that_is_none(url):
    with pytest.raises(ValueError, match="absolute"):
        run_contract(url)


def test_the_table_and_the_json_say_the_same(served, clean):
    report = served.contract("indicator hard-stop")
    table = print_table(report)
    assert table.splitlines()[2].startswith("fail  SHALL   CH-171")
    read = json.loads(report.as_json())
    assert read["broken"] == 1
    assert [finding["ids"] for finding in read["findings"] if finding["verdict"] == "fail"] == [["CH-171"]]
    assert len(print_table(report, all_rows=False).splitlines()) == 6


def test_a_run_is_bounded(clean):
    assert clean.requests < 150
    assert clean.seconds < 60
