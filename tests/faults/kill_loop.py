"""Kill the real service at random moments while several clients post feedback, and look whether its log is true.

    python tests/faults/kill_loop.py --kills 200 --port 8377 --state /tmp/kill-loop

Each client posts one item after another; an item that got no answer is posted again, word for word, as the
specification lets clients do. After the last kill every item that was answered 200 must be in the store, and every
item once (F01, F40, CH-259).
"""

import argparse
import os
import queue
import random
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from cds_service.events.store import open_store

START = datetime(2026, 6, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Report:
    """What the loop found."""

    kills: int
    asked: int
    acknowledged: int
    unanswered: int
    """Attempts that a kill cut off; each was repeated."""
    lost: frozenset[int]
    doubled: frozenset[int]
    refused: Counter[int]
    """Answers other than 200, by status; 503 while starting is fine."""
    slowest_start_s: float

    @property
    def is_clean(self) -> bool:
        return not self.lost and not self.doubled and set(self.refused) <= {503}

    def __str__(self) -> str:
        return (
            f"{self.kills} kills: {self.asked} items, {self.acknowledged} acknowledged, {self.unanswered} attempts cut off, "
            f"{len(self.lost)} lost, {len(self.doubled)} doubled, refused {dict(self.refused)}, slowest start {self.slowest_start_s:.2f} s"
        )


def feedback(number: int) -> dict[str, object]:
    """The item that a number stands for, the same at every attempt."""
    card = f"0f6d1a7c-1111-4a51-9d2e-{number:012d}"
    item: dict[str, object] = {
        "card": card,
        "outcomeTimestamp": (START + timedelta(seconds=number)).isoformat().replace("+00:00", "Z"),
    }
    if number % 3:
        return item | {"outcome": "accepted", "acceptedSuggestions": [{"id": card.replace("1111", "2222")}]}
    return item | {"outcome": "overridden"}


class Clients:
    """Connections that post feedback until told to stop."""

    def __init__(self, url: str, service: str, connections: int) -> None:
        self._address = f"{url}/cds-services/{service}/feedback"
        self._lock = threading.Lock()
        self._again: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._stop = threading.Event()
        self.asked = 0
        self.unanswered = 0
        self.acknowledged: set[int] = set()
        self.refused: Counter[int] = Counter()
        self._threads = [threading.Thread(target=self._post, daemon=True) for _ in range(connections)]
        for thread in self._threads:
            thread.start()

    def _next(self) -> int:
        try:
            return self._again.get_nowait()
        except queue.Empty:
            with self._lock:
                self.asked += 1
                return self.asked - 1

    def _post(self) -> None:
        with httpx.Client(timeout=10.0, trust_env=False) as client:
            while not self._stop.is_set():
                self._post_one(client, self._next())

    def _post_one(self, client: httpx.Client, number: int) -> None:
        try:
            answer = client.post(self._address, json={"feedback": [feedback(number)]})
        except httpx.TransportError as cut:
            self._again.put(number)
            if isinstance(cut, httpx.ConnectError):
                time.sleep(0.02)
            else:
                with self._lock:
                    self.unanswered += 1
            return
        with self._lock:
            if answer.status_code == 200:
                self.acknowledged.add(number)
            else:
                self.refused[answer.status_code] += 1
        if answer.status_code != 200:
            self._again.put(number)
            time.sleep(0.02)

    def finish(self, url: str) -> None:
        """Stop, then post what is still open."""
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
        with httpx.Client(timeout=10.0, trust_env=False, base_url=url) as client:
            until = time.monotonic() + 60
            while not self._again.empty() and time.monotonic() < until:
                self._post_one(client, self._again.get())


def start(command: Sequence[str], url: str, log: Path) -> tuple["subprocess.Popen[bytes]", str, float]:
    """Start the service and wait until it lists its services; returns one of their ids."""
    with log.open("ab") as lines:
        process = subprocess.Popen(
            command, stdout=lines, stderr=lines, env=os.environ | {"CDS_AUTH": "off-for-development"}
        )
    began = time.monotonic()
    while time.monotonic() - began < 60:
        if process.poll() is not None:
            raise RuntimeError(f"the service ended with status {process.returncode}: {log.read_text()[-2000:]}")
        try:
            services = httpx.get(f"{url}/cds-services", trust_env=False).json()["services"]
        except httpx.TransportError:
            time.sleep(0.01)
        else:
            return process, services[0]["id"], time.monotonic() - began
    process.kill()
    raise RuntimeError("the service did not start within a minute")


def kill_loop(
    *, state: Path, port: int, kills: int, connections: int = 8, life_s: float = 0.3, seed: int = 1,
    command: Sequence[str] | None = None, database: Path | None = None,
) -> Report:  # fmt: skip
    """Run it.

    Args:
        state: An empty folder for the service.
        port: On the loopback address.
        kills: How often.
        connections: Clients that post at the same time.
        life_s: Each life ends at a random moment up to so long after the service answers.
        seed: Of the moments.
        command: How to start the service; ``python -m cds_service serve`` by default.
        database: The event store; ``events/events.db`` under *state* by default.
    """
    url = f"http://127.0.0.1:{port}"
    log = state.with_name(f"{state.name}.log")
    command = command or [
        sys.executable, "-m", "cds_service", "serve", "--host", "127.0.0.1", "--port", str(port), "--state", str(state),
    ]  # fmt: skip
    chance = random.Random(seed)
    process, service, slowest = start(command, url, log)
    clients = Clients(url, service, connections)
    try:
        for _ in range(kills):
            time.sleep(chance.uniform(0, life_s))
            process.kill()
            process.wait()
            process, _, took_s = start(command, url, log)
            slowest = max(slowest, took_s)
        clients.finish(url)
    finally:
        process.terminate()
        process.wait(30)
    store = open_store(database or state / "events" / "events.db")
    try:
        cards = Counter(
            int(stored.event.card[-12:])
            for stored in store.read_all()
            if type(stored.event).__name__.startswith("Card")
        )
    finally:
        store.close()
    return Report(
        kills, clients.asked, len(clients.acknowledged), clients.unanswered,
        lost=frozenset(clients.acknowledged - set(cards)),
        doubled=frozenset(number for number, times in cards.items() if times > 1),
        refused=clients.refused, slowest_start_s=slowest,
    )  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--life", type=float, default=0.3, help="seconds, at most, that each life lasts")
    parser.add_argument("--port", type=int, default=8377)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--state", type=Path, required=True)
    given = parser.parse_args()
    report = kill_loop(
        state=given.state,
        port=given.port,
        kills=given.kills,
        connections=given.connections,
        life_s=given.life,
        seed=given.seed,
    )
    print(report)
    sys.exit(0 if report.is_clean else 1)


if __name__ == "__main__":
    main()
