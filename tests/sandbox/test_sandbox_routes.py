"""The sandbox's own routes: the page and its headers, files by name only, patients, a view of the event log."""

import asyncio
from datetime import date
from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette

from cds_service.errors import DeclarationError
from cds_service.sandbox.routes import EVENTS_MAX, sandbox_routes

FOLDER = Path(__file__).resolve().parents[2] / "sandbox"
TODAY = date(2026, 11, 25)
LOG = [{"seq": seq, "type": "prediction_made"} for seq in range(1, 1205)]


def read_events(after, limit):
    return [event for event in LOG if event["seq"] > after][:limit]


@pytest.fixture(scope="module")
def get():
    app = Starlette(
        routes=sandbox_routes(folder=FOLDER, today=TODAY, read_events=read_events, hooks=FOLDER.parent / "hooks")
    )

    def ask(path, **headers):
        async def run():
            async with httpx.AsyncClient(
                transport=httpx.ASGITransport(app), base_url="http://sandbox.example"
            ) as client:
                return await client.get(path, headers=headers)

        return asyncio.run(run())

    return ask


@pytest.mark.sec("SEC-062")
def test_the_page_allows_nothing_but_its_own(get):
    answer = get("/")
    policy = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert policy == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "img-src": "'self' data:",
        "connect-src": "'self'",
        "form-action": "'self'",
        "base-uri": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",
        "trusted-types": "'none'",
    }
    assert answer.headers["cross-origin-opener-policy"] == "same-origin"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert get("/sandbox/app.js").headers["content-security-policy"] == answer.headers["content-security-policy"]


@pytest.mark.parametrize(
    "path",
    [
        "/sandbox/../pyproject.toml",
        "/sandbox/%2e%2e/pyproject.toml",
        "/sandbox/..%2fpyproject.toml",
        "/sandbox/clients.toml",
        "/sandbox/patients/README.md",
        "/sandbox/patients/jp-style/jp-001.json",
    ],
)
def test_only_the_files_of_the_page_are_served(get, path):
    assert get(path).status_code == 404


def test_an_unchanged_file_is_not_sent_again(get):
    tag = get("/sandbox/theme.css").headers["etag"]
    assert get("/sandbox/theme.css", **{"if-none-match": tag}).status_code == 304


@pytest.mark.ch("CH-193")
def test_the_icon_may_be_shown_by_any_ehr(get):
    answer = get("/icon.png")
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["cross-origin-resource-policy"] == "cross-origin"


def test_the_patients_of_all_sources_are_listed(get):
    answer = get("/sandbox/api/patients").json()
    assert answer["today"] == "2026-11-25"
    assert {person["source"] for person in answer["patients"]} == {"example", "jp-style", "synthea", "us-core"}


@pytest.mark.parametrize(
    ("query", "sequence"),
    [
        pytest.param("after=1200", [1201, 1202, 1203, 1204], id="after a number"),
        pytest.param("after=1204", [], id="nothing new"),
        pytest.param("last=3", [1202, 1203, 1204], id="the newest"),
        pytest.param("last=0", [], id="none asked for"),
        pytest.param("", list(range(1, EVENTS_MAX + 1)), id="from the start, at most so many"),
        pytest.param("after=-1", list(range(1, EVENTS_MAX + 1)), id="what is no number counts as none"),
    ],
)
def test_events(get, query, sequence):
    assert [event["seq"] for event in get(f"/sandbox/api/events?{query}").json()["events"]] == sequence


def test_a_folder_without_a_page_is_refused(tmp_path):
    with pytest.raises(DeclarationError, match=r"no index\.html"):
        sandbox_routes(folder=tmp_path, today=TODAY, read_events=read_events)
