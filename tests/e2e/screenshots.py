"""Takes the pictures of the sandbox that the READMEs show: ``python -m tests.e2e.screenshots`` writes ``docs/images``."""

import subprocess
import tempfile
from pathlib import Path

import httpx
from playwright.sync_api import sync_playwright

from tests.e2e.conftest import CHROMIUM, FLAGS, ROOT, SANDBOX, _free_port, _wait_for

PICTURES = (
    ("sandbox-card-en", "en", "Carl Example", (1440, 900), 1, False),
    ("sandbox-card-ja", "ja", "架空 太郎", (1440, 900), 1, False),
    ("sandbox-developer", "en", "Carl Example", (1440, 1000), 1, True),
    ("sandbox-small", "ja", "架空 太郎", (390, 844), 2, False),
)
"""Name, language, patient, window, pixels a point, whether the developer's view is open."""


def main() -> None:
    port = _free_port()
    with tempfile.TemporaryDirectory() as state:
        log = Path(state) / "server.log"
        with log.open("wb") as sink:
            server = subprocess.Popen(
                [*SANDBOX, "--port", str(port), "--state", state], cwd=ROOT, stdout=sink, stderr=sink
            )
            try:
                with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
                    _wait_for(client, server, log)
                _take(f"http://127.0.0.1:{port}")
            finally:
                server.terminate()
                server.wait(20)


def _take(url: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=FLAGS)
        for name, language, person, (width, height), scale, developer in PICTURES:
            context = browser.new_context(
                viewport={"width": width, "height": height}, device_scale_factor=scale, reduced_motion="reduce",
                locale="ja-JP" if language == "ja" else "en-GB",
            )  # fmt: skip
            page = context.new_page()
            page.goto(f"{url}/?lang={language}")
            page.locator(".person", has_text=person).first.click()
            page.wait_for_selector(".card")
            if developer:
                page.locator("#developer button, #developer summary").first.click()
                page.wait_for_timeout(300)
            page.screenshot(path=str(ROOT / "docs" / "images" / f"{name}.png"))
            context.close()
        browser.close()


if __name__ == "__main__":
    main()
