"""F01 at the store: kill -9 at random moments and at named points; nothing acknowledged is lost or doubled."""

import os
import random
import selectors
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from cds_service.events.feedback_counts import Acceptance, read_acceptance
from cds_service.events.store import EventStore, open_store

CHILD = Path(__file__).with_name("store_child.py")
KILLS = int(os.environ.get("CDS_KILLS", "200"))
IN_FLIGHT = 32


class Child:
    """One life of the process under test."""

    def __init__(self, database: Path, *faults: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(CHILD), str(database), *faults],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        self._rest = b""
        assert self.lines(wait_s=30) == ["ready"]

    def ask(self, number: int) -> None:
        self.process.stdin.write(f"{number} {outcome(number)}\n".encode())

    def lines(self, wait_s: float) -> list[str]:
        """What it answered so far; waits at most so long for the first byte."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.process.stdout, selectors.EVENT_READ)
            if not selector.select(wait_s):
                return []
        *whole, self._rest = (self._rest + os.read(self.process.stdout.fileno(), 65536)).split(b"\n")
        return [line.decode() for line in whole]

    def kill(self) -> list[str]:
        """Kill it where it stands, and read what it had still said: said is acknowledged."""
        self.process.kill()
        return self.bury()

    def bury(self) -> list[str]:
        self.process.wait(30)
        rest = self._rest + self.process.stdout.read()
        self.process.stdin.close()
        self.process.stdout.close()
        return [line.decode() for line in rest.split(b"\n")[:-1]]


def outcome(number: int) -> str:
    return "accepted" if number % 3 else "overridden"


def stored_numbers(store: EventStore) -> Counter[int]:
    return Counter(int(stored.event.card[-12:]) for stored in store.read_all())


@pytest.mark.slow
@pytest.mark.fault("F01", "F40")
@pytest.mark.ch("CH-259")
def test_kill_loop(tmp_path):
    """A client posts, is cut off, and repeats what was not answered, two hundred times over."""
    database = tmp_path / "events" / "events.db"
    chance = random.Random(20261125)
    acknowledged: set[int] = set()
    open_questions: list[int] = []
    asked = killed_at_work = 0
    for _ in range(KILLS):
        child = Child(database)
        until = time.monotonic() + chance.uniform(0.0, 0.06)
        waiting: set[int] = set()
        while time.monotonic() < until:
            while len(waiting) < IN_FLIGHT:
                if open_questions:
                    number = open_questions.pop()
                elif acknowledged and chance.random() < 0.05:
                    number = chance.randrange(asked)  # a repeat of what may be stored already
                    if number in waiting:
                        continue
                else:
                    number, asked = asked, asked + 1
                child.ask(number)
                waiting.add(number)
            answered = {int(line) for line in child.lines(wait_s=0.002)}
            acknowledged |= answered
            waiting -= answered
        answered = {int(line) for line in child.kill()}
        acknowledged |= answered
        waiting -= answered
        killed_at_work += bool(waiting)
        open_questions.extend(sorted(waiting))

    store = open_store(database)
    stored = stored_numbers(store)
    lost = acknowledged - set(stored)
    doubled = [number for number, times in stored.items() if times > 1]
    print(
        f"{KILLS} kills, {killed_at_work} of them with work in flight: {len(acknowledged)} acknowledged, {len(lost)} lost, {len(doubled)} doubled"
    )
    store.close()
    assert (lost, doubled) == (set(), [])
    assert killed_at_work > KILLS / 2, "the kills must hit"

    child = Child(database)  # the client repeats what is still open: no number changes but by the new ones
    for number in open_questions:
        child.ask(number)
    child.process.stdin.close()
    child.bury()
    store = open_store(database)
    stored = stored_numbers(store)
    assert stored == dict.fromkeys(range(asked), 1)
    (counts,) = read_acceptance(store).values()
    assert counts == Acceptance(orphans=asked), "the cards of this test were never shown"
    store.close()


@pytest.mark.fault("F01")
@pytest.mark.parametrize(
    ("fault", "stored_first"),
    [
        pytest.param("before_write:kill:3", 2, id="before it is written: lost, and not acknowledged"),
        pytest.param("after_commit:kill:3", 3, id="between commit and answer: stored, and not acknowledged"),
        pytest.param("before_answer:kill:3", 3, id="before anybody is told"),
    ],
)
def test_a_crash_between_storing_and_answering_then_a_retry_changes_no_number(tmp_path, fault, stored_first):
    database = tmp_path / "events" / "events.db"
    child = Child(database, fault)
    answered: list[str] = []
    for number in range(3):
        child.ask(number)
        if number < 2:
            answered += child.lines(wait_s=30)
    answered += child.bury()
    assert answered == ["0", "1"]
    store = open_store(database)
    assert sum(stored_numbers(store).values()) == stored_first
    store.close()

    child = Child(database)
    for number in range(3):
        child.ask(number)
        assert child.lines(wait_s=30) == [str(number)]
    child.kill()
    store = open_store(database)
    assert stored_numbers(store) == {0: 1, 1: 1, 2: 1}
    store.close()
