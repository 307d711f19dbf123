"""The interactive page: works in a real browser, under our CSP, and asks no outside host for anything."""

import asyncio
import threading

import pytest
import uvicorn

from cds_service.web.limits import Limits
from cds_service.web.protocol import limited_protocol


def test_the_page_and_its_files(ask):
    page = ask("GET", "/docs")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert "unsafe" not in page.headers["content-security-policy"]
    assert "http" not in page.text.replace("https://www.w3.org", "")
    for name in ("docs.js", "swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png"):
        response = ask("GET", f"/docs/{name}")
        assert response.status_code == 200
        assert response.headers["cache-control"] == "public, max-age=3600"
    assert ask("GET", "/docs/../openapi.py").status_code == 404
    assert ask("GET", "/docs/README.md").status_code == 404


@pytest.fixture
def address(door):
    config = uvicorn.Config(
        door, host="127.0.0.1", port=0, http=limited_protocol(Limits()), ws="none", lifespan="off", log_config=None
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()), daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.01)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(5)


@pytest.mark.browser
@pytest.mark.sec("SEC-062")
def test_try_it_out_in_chromium(address, tmp_path):
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1200, "height": 1400})
        said: list[str] = []
        asked: list[str] = []
        page.on("console", lambda message: said.append(message.text) if message.type in {"error", "warning"} else None)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: asked.append(request.url))
        page.goto(f"{address}/docs")
        page.locator("#operations-predict-predict_dysglycaemia .opblock-summary-control").click()
        page.get_by_role("button", name="Execute").click()
        answer = page.locator("#operations-predict-predict_dysglycaemia .live-responses-table .response-col_status")
        answer.filter(has_text="200").wait_for()
        page.screenshot(path=tmp_path / "docs.png")
        shown = page.locator("#operations-predict-predict_dysglycaemia .live-responses-table").inner_text()
        browser.close()
    assert "ge65" in shown
    assert said == []
    assert {url.split("/")[2] for url in asked if not url.startswith("data:")} == {address.split("/")[2]}
