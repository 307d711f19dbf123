"""A backup while events come in, then a kill, then a restore: what was acknowledged before the backup is there (SEC-114)."""

import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from cds_service.events.backup import Source, make_backup
from cds_service.events.forgetting import Tombstones
from cds_service.events.restoring import Place, restore_backup
from cds_service.events.store import open_store

CHILD = Path(__file__).with_name("store_child.py")
KEY = bytes(range(32))


class Load:
    """A process that keeps feedback as fast as it can, and what it acknowledged until now."""

    def __init__(self, database):
        self.process = subprocess.Popen(
            [sys.executable, CHILD, database], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=CHILD.parents[2]
        )
        assert self.process.stdout.readline() == b"ready\n"
        self.acknowledged = set()
        self._asking = threading.Thread(target=self._ask, daemon=True)
        self._hearing = threading.Thread(target=self._hear, daemon=True)
        self._asking.start()
        self._hearing.start()

    def _ask(self):
        try:
            for number in range(10**9):
                self.process.stdin.write(f"{number} overridden\n".encode())
                if number % 20 == 0:
                    self.process.stdin.flush()
                    while number - len(self.acknowledged) > 400:
                        time.sleep(0.001)
        except (BrokenPipeError, ValueError):
            return  # killed

    def _hear(self):
        for line in self.process.stdout:
            self.acknowledged.add(int(line))

    def wait_for(self, more):
        until, least = time.monotonic() + 60, len(self.acknowledged) + more
        while len(self.acknowledged) < least:
            assert self.process.poll() is None
            assert time.monotonic() < until
            time.sleep(0.002)

    def kill(self):
        self.process.kill()
        self.process.wait()
        self._hearing.join(10)
        self._asking.join(10)


@pytest.mark.sec("SEC-114")
@pytest.mark.fault("F14", "F01")
def test_what_was_acknowledged_before_a_backup_began_is_in_it(tmp_path):
    state, folder, other = tmp_path / "state", tmp_path / "backups", tmp_path / "other"
    database = state / "events" / "events.db"
    folder.mkdir()
    load = Load(database)
    taken = []
    try:
        for _ in range(3):
            load.wait_for(300)
            before = set(load.acknowledged)
            source = Source(database, state / "audit", {}, "fits")
            done = make_backup(source, folder, key=KEY, now=datetime.now(UTC), generations=9, days=0)
            taken.append((done, before))
            load.wait_for(1)
    finally:
        load.kill()
    for number, (done, before) in enumerate(taken):
        place = Place(
            other / str(number), other / str(number) / "events" / "events.db", other / str(number) / "audit", {}, "fits"
        )
        restore_backup(done.path, place, key=KEY, forgotten=Tombstones(frozenset(), frozenset()), now=datetime.now(UTC))
        store = open_store(place.store)
        kept = Counter(int(stored.event.card[-12:]) for stored in store.read_all())
        store.close()
        assert before - set(kept) == set(), "acknowledged before the backup began, and not in it"
        assert max(kept.values()) == 1
        assert sum(kept.values()) == done.manifest.rows["event"], "count by count"
    assert len(taken[-1][1]) > len(taken[0][1]), "the service went on meanwhile"
