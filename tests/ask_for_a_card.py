"""Ask a running service for the card of its first documented example that has one; ends with 1 if none comes."""

import json
import re
import sys
import time
import urllib.error
import urllib.request
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

DEADLINE_S = 30
STATED_CLOCK = date(2026, 6, 1)
"""The day on which the examples are written to happen; their dates are shifted from there to today."""


def post(url: str, body: bytes) -> dict:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=5) as response:
        return json.load(response)


def wait_until_ready(base: str) -> None:
    end = time.monotonic() + DEADLINE_S
    while True:
        try:
            with urllib.request.urlopen(f"{base}/health/ready", timeout=2):
                return
        except (urllib.error.URLError, ConnectionError):
            if time.monotonic() > end:
                sys.exit(f"{base} was not ready within {DEADLINE_S} s")
            time.sleep(0.1)


def as_of_today(text: str) -> bytes:
    days = (datetime.now(UTC).date() - STATED_CLOCK).days

    def shifted(match: re.Match[str]) -> str:
        return (date.fromisoformat(match[0]) + timedelta(days=days)).isoformat()

    return re.sub(r"\b[0-9]{4}-[0-9]{2}-[0-9]{2}", shifted, text).encode()


def main(base: str, hooks: Path) -> int:
    wait_until_ready(base)
    for path in sorted(hooks.glob("*/examples/*.request.json")):
        expected = json.loads(path.with_name(path.name.replace(".request.", ".response.")).read_text())
        if not expected.get("cards"):
            continue
        cards = post(f"{base}/cds-services/{path.parts[-3]}", as_of_today(path.read_text(encoding="utf-8")))["cards"]
        print(f"{path.name}: {len(cards)} card(s)")
        for card in cards:
            print(f"  {card['summary']}")
        return 0 if cards else 1
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
