"""What the disk can do to the store: full, broken, locked, flipped, read-only, gone. F10 to F16."""

import asyncio
import errno
import fcntl
import os
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
import structlog

from cds_service.errors import SettingsError, StoreUnavailable
from cds_service.events import opening, table, writer
from cds_service.events.faults import injected
from cds_service.events.ids import new_id
from cds_service.events.schema import decode
from cds_service.events.store import open_store

GOLDEN = [
    decode(line) for line in (Path(__file__).parents[1] / "events" / "golden_events.jsonl").read_bytes().splitlines()
]
NOW = datetime(2026, 6, 1, tzinfo=UTC)
is_root = os.geteuid() == 0


def made():
    return msgspec.structs.replace(GOLDEN[0], id=new_id(NOW))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events" / "events.db"


@pytest.fixture
def store(path):
    store = open_store(path, busy_ms=200)
    yield store
    store.close()


# F10: the disk is full


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 2 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if (
        not is_root
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=2m,mode=0700", "tmpfs", str(disk)], check=False
        ).returncode
    ):
        pytest.skip("mounting a small file system needs root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def fill(store) -> list[str]:
    """Append until the disk is full; returns the ids that were acknowledged."""
    acknowledged: list[str] = []
    for _ in range(1000):
        events = [made() for _ in range(10)]
        try:
            store.append_and_wait(events)
        except StoreUnavailable as failure:
            assert "full" in str(failure)  # noqa: PT017 - the loop ends here
            return acknowledged
        acknowledged += [event.id for event in events]
    raise AssertionError("2 MB took 10,000 events")


@pytest.mark.fault("F10")
def test_a_full_disk_refuses_and_the_store_goes_on_when_there_is_room(small_disk):
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(600_000))
    store = open_store(small_disk / "events" / "events.db")
    acknowledged = fill(store)
    assert len(acknowledged) > 50
    assert not store.ready
    with pytest.raises(StoreUnavailable, match="Free space on this disk"):
        store.append_and_wait([made() for _ in range(10)])
    assert [stored.event.id for stored in store.read_all()] == acknowledged, "nothing lost, nothing half"

    ballast.unlink()
    late = made()
    store.append_and_wait([late])
    assert store.ready
    store.close()
    store = open_store(small_disk / "events" / "events.db")
    assert [stored.event.id for stored in store.read_all()] == [*acknowledged, late.id]
    store.close()


@pytest.mark.fault("F10")
def test_a_disk_that_is_full_at_start_is_a_clear_refusal(small_disk):
    (small_disk / "ballast").write_bytes(bytes(2 * 1024 * 1024 - 16 * 1024))
    with pytest.raises((StoreUnavailable, SettingsError), match=r"(?i)full|space"):
        open_store(small_disk / "events" / "events.db")
    (small_disk / "ballast").unlink()
    store = open_store(small_disk / "events" / "events.db")
    assert store.append_and_wait([made()]) == (1,)
    store.close()


@pytest.mark.fault("F10")
def test_memory_does_not_grow_while_the_disk_stands_still(store, monkeypatch):
    monkeypatch.setattr(writer, "QUEUED_APPENDS_MAX", 10)
    goes_on = threading.Event()

    def stand_still(point: str) -> None:
        if point == "before_write":
            goes_on.wait(10)

    async def main() -> list[object]:
        return await asyncio.gather(*(store.append([made()]) for _ in range(40)), return_exceptions=True)

    with injected(stand_still):
        waiting = threading.Timer(0.2, goes_on.set)
        waiting.start()
        results = asyncio.run(main())
        waiting.join()
    refused = [result for result in results if isinstance(result, StoreUnavailable)]
    assert len(refused) >= 28
    assert all("too many events wait" in str(result) for result in refused)
    assert len(store.read(0, 100)) == len(results) - len(refused)


# F11: a call to the disk fails


@pytest.mark.fault("F11")
@pytest.mark.parametrize(
    "failure", [sqlite3.OperationalError("disk I/O error"), OSError(errno.EIO, "Input/output error")], ids=str
)
@pytest.mark.parametrize("point", ["before_write", "after_commit"])
@pytest.mark.parametrize("nth", range(1, 9))
def test_the_nth_commit_fails(store, point, nth, failure):
    """Whichever it is: that caller is told, all others are kept, and the store goes on by itself."""
    passed = 0

    def strike(name: str) -> None:
        nonlocal passed
        passed += name == point
        if name == point and passed == nth:
            raise failure

    acknowledged, refused = [], []
    with injected(strike):
        for _ in range(8):
            event = made()
            try:
                store.append_and_wait([event])
            except StoreUnavailable:
                assert not store.ready
                refused.append(event)
            else:
                acknowledged.append(event.id)
    assert len(refused) == 1
    stored = [stored.event.id for stored in store.read_all()]
    assert set(acknowledged) <= set(stored)
    store.append_and_wait(refused)
    assert sorted(stored.event.id for stored in store.read_all()) == sorted([*acknowledged, refused[0].id])


@pytest.mark.fault("F11")
def test_after_a_fault_the_store_is_ready_again_without_a_call(store):
    """I6: a gateway that sends nothing to a service that is not ready would otherwise wait for ever."""

    def strike(name: str) -> None:
        if name == "before_write":
            raise sqlite3.OperationalError("disk I/O error")

    with injected(strike), pytest.raises(StoreUnavailable):
        store.append_and_wait([made()])
    assert not store.ready
    until = time.monotonic() + 5
    while not store.ready:
        assert time.monotonic() < until
        time.sleep(0.05)


@pytest.mark.fault("F11")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("point", ["before_write", "before_answer"])
def test_a_fault_of_our_own_in_the_writer_leaves_nobody_waiting(store, point):
    def strike(name: str) -> None:
        if name == point:
            raise RuntimeError("a fault of our own")

    async def main() -> list[object]:
        return await asyncio.gather(*(store.append([made()]) for _ in range(200)), return_exceptions=True)

    with injected(strike):
        results = asyncio.run(asyncio.wait_for(main(), 5))
    assert {type(result) for result in results} == {StoreUnavailable}
    assert not store.ready
    with pytest.raises(StoreUnavailable, match="closed"):
        store.append_and_wait([made()])


SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <stdio.h>
#include <unistd.h>
static int left = -1, armed = 0;
static int is_store(int fd) {
    char link[64], path[512]; ssize_t n;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    n = readlink(link, path, sizeof path - 1);
    if (n <= 0) return 0;
    path[n] = 0;
    return strstr(path, "events.db") != NULL && strstr(path, ".lock") == NULL;
}
static int strikes(int fd) {
    if (!armed) { const char *v = getenv("FAIL_AT"); left = v ? atoi(v) : -1; armed = 1; }
    if (left < 0 || access(getenv("FAIL_FROM"), F_OK) != 0 || !is_store(fd)) return 0;
    if (--left != 0) return 0;
    close(open(getenv("FAIL_HIT"), O_CREAT | O_WRONLY, 0600));
    return 1;
}
#define CALL(type, name, parameters, arguments) \
    type name parameters { static type (*real) parameters; if (!real) real = dlsym(RTLD_NEXT, #name); \
        if (strikes(fd)) { errno = EIO; return -1; } return real arguments; }
CALL(ssize_t, pwrite, (int fd, const void *b, size_t n, off_t o), (fd, b, n, o))
CALL(ssize_t, pwrite64, (int fd, const void *b, size_t n, off64_t o), (fd, b, n, o))
CALL(ssize_t, write, (int fd, const void *b, size_t n), (fd, b, n))
CALL(int, fsync, (int fd), (fd))
CALL(int, fdatasync, (int fd), (fd))
CALL(int, ftruncate, (int fd, off_t n), (fd, n))
CALL(int, ftruncate64, (int fd, off64_t n), (fd, n))
"""

WRITES = """
import sys
from pathlib import Path
import msgspec
from cds_service.errors import StoreUnavailable
from cds_service.events.store import open_store
from cds_service.events.schema import decode
from cds_service.events.ids import new_id
line = decode(Path(sys.argv[2]).read_bytes().splitlines()[0])
store = open_store(Path(sys.argv[1]))
Path(sys.argv[3]).touch()
for _ in range(6):
    event = msgspec.structs.replace(line, id=new_id(line.at))
    try:
        store.append_and_wait([event])
        print("kept", event.id)
    except StoreUnavailable as refusal:
        print("refused", event.id)
        store.append_and_wait([event])
        print("kept", event.id)
store.close()
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("failing system calls needs a C compiler")
    folder = tmp_path_factory.mktemp("shim")
    (folder / "shim.c").write_text(SHIM)
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", folder / "shim.so", folder / "shim.c", "-ldl"], check=True
    )
    return folder / "shim.so"


@pytest.mark.slow
@pytest.mark.fault("F11")
def test_the_nth_system_call_fails(shim, tmp_path):
    """EIO from the n-th write, fsync or truncate, for every n that six appends and a close make."""
    golden = Path(__file__).parents[1] / "events" / "golden_events.jsonl"
    refused = 0
    for nth in range(1, 500):
        folder = tmp_path / str(nth)
        database = folder / "events" / "events.db"
        ran = subprocess.run(
            [sys.executable, "-c", WRITES, str(database), str(golden), str(folder / "armed")],
            env=os.environ | {"LD_PRELOAD": str(shim), "FAIL_AT": str(nth), "FAIL_FROM": str(folder / "armed"), "FAIL_HIT": str(folder / "hit")},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert ran.returncode == 0, (nth, ran.stderr[-800:])
        said = [line.split() for line in ran.stdout.splitlines()]
        kept = [name for word, name in said if word == "kept"]
        assert len(kept) == len(set(kept)) == 6, nth
        store = open_store(database)
        assert sorted(stored.event.id for stored in store.read_all()) == sorted(kept), nth
        store.close()
        refused += len(said) > 6
        if not (folder / "hit").exists():
            break
    print(f"{nth - 1} system calls failed in turn: {refused} appends refused and kept at the second attempt, none lost")
    assert refused > 20, "the shim must hit"


# F13: bytes are flipped, files are cut or gone


@pytest.mark.fault("F13")
def test_flipped_bytes_are_refused_or_harmless_and_never_a_shorter_history(tmp_path):
    """At 300 places of the closed file: the store refuses to start, or a reader is told, or every event is there."""
    original = tmp_path / "original" / "events.db"
    store = open_store(original)
    store.append_and_wait(GOLDEN + [made() for _ in range(40)])
    whole = [stored.event for stored in store.read_all()]
    store.close()
    content = original.read_bytes()
    chance = random.Random(13)
    refused: list[str] = []
    told: list[str] = []
    harmless = 0
    path = tmp_path / "flipped" / "events.db"
    path.parent.mkdir(mode=0o700)
    for _ in range(300):
        place = chance.randrange(len(content))
        path.write_bytes(content[:place] + bytes([content[place] ^ (1 << chance.randrange(8))]) + content[place + 1 :])
        try:
            store = open_store(path)
        except StoreUnavailable as failure:
            refused.append(str(failure))
            continue
        try:
            assert [stored.event for stored in store.read_all()] == whole, place
            harmless += 1
        except StoreUnavailable as failure:
            told.append(str(failure))
        finally:
            store.close()
    print(
        f"300 flips: {len(refused)} refused at start, {len(told)} told to the reader, {harmless} harmless (unused bytes)"
    )
    assert len(refused) > 100
    assert told == [], "a small file is checked row by row at start"
    assert [
        text for text in refused if not re.search("restore the last backup|another place|newer version", text)
    ] == []
    assert [text for text in refused if "prediction_made" in text] == [], "no error quotes a row"


@pytest.mark.fault("F13")
@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(b"", "no event store", id="an empty file"),
        pytest.param(b"not a database at all" * 500, "not a database", id="another kind of file"),
    ],
)
def test_a_foreign_file_is_refused_and_left_alone(path, content, says):
    path.parent.mkdir(mode=0o700)
    path.write_bytes(content)
    with pytest.raises(StoreUnavailable, match=says):
        open_store(path)
    assert path.read_bytes() == content


@pytest.mark.fault("F13")
def test_a_foreign_database_and_a_newer_format_are_refused(path):
    path.parent.mkdir(mode=0o700)
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE t (x)")
    other.close()
    with pytest.raises(StoreUnavailable, match="no event store of ours"):
        open_store(path)
    path.unlink()
    path.with_name("events.db.lock").unlink()
    open_store(path).close()
    newer = sqlite3.connect(path)
    newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(StoreUnavailable, match="format 99"):
        open_store(path)


@pytest.mark.fault("F13")
def test_a_deleted_shared_memory_file_is_made_again(tmp_path):
    database = tmp_path / "events" / "events.db"
    leave_journal(database, 5)
    database.with_name("events.db-shm").unlink()
    store = open_store(database)
    assert len(store.read(0, 10)) == 5
    store.close()


LEAVES = """
import os, signal, sys
from pathlib import Path
import msgspec
from cds_service.events.store import open_store
from cds_service.events.schema import decode
from cds_service.events.ids import new_id
line = decode(Path(sys.argv[2]).read_bytes().splitlines()[0])
store = open_store(Path(sys.argv[1]))
for _ in range(int(sys.argv[3])):
    store.append_and_wait([msgspec.structs.replace(line, id=new_id(line.at))])
os.kill(os.getpid(), signal.SIGKILL)
"""


def leave_journal(database: Path, commits: int) -> None:
    """Leave a store behind whose last events are only in the journal, as a kill does."""
    golden = Path(__file__).parents[1] / "events" / "golden_events.jsonl"
    subprocess.run([sys.executable, "-c", LEAVES, str(database), str(golden), str(commits)], check=False, timeout=60)
    assert database.with_name("events.db-wal").stat().st_size > 0


def warnings_of(path: Path) -> tuple[int | None, list[str]]:
    """How many events a start finds (None: it refuses), and what it said loudly."""
    with structlog.testing.capture_logs() as lines:
        try:
            store = open_store(path)
        except StoreUnavailable as refusal:
            return None, [str(refusal)]
    found = len(list(store.read_all()))
    store.close()
    return found, [line["event"] for line in lines if line["log_level"] == "warning"]


@pytest.fixture(scope="module")
def killed(tmp_path_factory):
    """A store that was killed with 12 commits in its journal."""
    database = tmp_path_factory.mktemp("killed") / "events" / "events.db"
    leave_journal(database, 12)
    return database.parent


@pytest.mark.fault("F13")
def test_a_flipped_byte_in_the_journal_is_never_silent(killed, tmp_path):
    """At 150 places: every event is there, or the start says so, or it refuses because more than one commit is gone."""
    journal = (killed / "events.db-wal").read_bytes()
    chance = random.Random(13)
    outcomes = Counter()
    for number in range(150):
        folder = tmp_path / str(number)
        shutil.copytree(killed, folder)
        place = chance.randrange(len(journal))
        flipped = journal[:place] + bytes([journal[place] ^ (1 << chance.randrange(8))]) + journal[place + 1 :]
        (folder / "events.db-wal").write_bytes(flipped)
        found, said = warnings_of(folder / "events.db")
        if found is None:
            assert "commits from there on can't be read" in said[0]
            outcomes["refused"] += 1
        elif said:
            assert said == ["journal_cut"], place
            assert found >= 10, place  # 10: the flipped bit was the mark that ends a commit
            assert [kept.read_bytes() for kept in folder.glob("events.db-wal.cut-*")] == [flipped]
            outcomes["said"] += 1
        else:
            assert found == 12, place
            outcomes["harmless"] += 1
    print(dict(outcomes))
    assert outcomes["refused"] > 75
    assert outcomes["said"] > 5


@pytest.mark.fault("F12", "F13")
@pytest.mark.parametrize(
    ("cut", "found", "said"),
    [
        pytest.param(0, 12, [], id="whole: a kill alone is no news"),
        pytest.param(1, 11, [], id="its last frame is incomplete, as a kill in a write leaves it"),
        pytest.param(None, 0, ["journal_missing"], id="it was deleted"),
    ],
)
def test_a_cut_journal(killed, tmp_path, cut, found, said):
    folder = tmp_path / "copy"
    shutil.copytree(killed, folder)
    journal = folder / "events.db-wal"
    if cut is None:
        journal.unlink()
    else:
        journal.write_bytes(journal.read_bytes()[: len(journal.read_bytes()) - cut])
    assert warnings_of(folder / "events.db") == (found, said)
    assert warnings_of(folder / "events.db") == (found, []), "closed in order, it is said once"


@pytest.mark.fault("F12")
def test_every_commit_is_synced_before_it_is_acknowledged(tmp_path):
    """By the system calls: after the last write to the journal comes its sync, and only then the answer."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    database = tmp_path / "events" / "events.db"
    trace = tmp_path / "trace"
    child = Path(__file__).with_name("store_child.py")
    subprocess.run(
        ["strace", "-f", "-y", "-e", "trace=pwrite64,write,fdatasync,fsync", "-o", trace, sys.executable, child, database],
        input=b"1 accepted\n", check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    steps = []
    for line in trace.read_text().splitlines():
        if "events.db-wal>" in line:
            steps.append("sync" if "sync(" in line else "write")
        elif '"1\\n"' in line:
            steps.append("answer")
    told = steps.index("answer")
    assert "write" in steps[:told]
    assert steps[told - 1] == "sync", steps


# F14: somebody else holds the database


@pytest.mark.fault("F14")
def test_a_short_lock_is_waited_for(path):
    store = open_store(path, busy_ms=5000)
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    threading.Timer(1.0, lambda: other.execute("ROLLBACK")).start()
    began = time.monotonic()
    assert store.append_and_wait([made()]) == (1,)
    assert time.monotonic() - began > 0.9
    other.close()
    store.close()


@pytest.mark.fault("F14")
def test_a_long_lock_is_a_refusal_and_reading_goes_on(store):
    first = made()
    store.append_and_wait([first])
    other = sqlite3.connect(store.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    began = time.monotonic()
    with pytest.raises(StoreUnavailable, match="another program holds the store"):
        store.append_and_wait([made()])
    assert 0.1 < time.monotonic() - began < 2
    assert [stored.event for stored in store.read_all()] == [first]
    other.execute("ROLLBACK")
    assert store.append_and_wait([made()]) == (2,)
    other.close()


# F15: the file is gone, somebody else's, or may not be written


@pytest.mark.fault("F15")
def test_a_lost_file_is_never_replaced_by_an_empty_one(path):
    open_store(path).close()
    path.unlink()
    with pytest.raises(StoreUnavailable, match=r"its database file is gone.*Restore it"):
        open_store(path)
    assert not path.exists()


@pytest.mark.fault("F15")
@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_file_that_goes_under_a_running_service_is_noticed_at_the_next_event(store, what):
    store.append_and_wait([made()])
    if what == "file":
        store.path.unlink()
    else:
        shutil.rmtree(store.path.parent)
    with pytest.raises(StoreUnavailable, match="Put the database file back"):
        store.append_and_wait([made()])
    assert not store.path.exists()


@pytest.mark.fault("F15")
def test_a_file_that_was_replaced_is_not_written_to(store):
    content = store.path.read_bytes()
    store.path.rename(store.path.with_name("moved.db"))
    store.path.write_bytes(content)
    with pytest.raises(StoreUnavailable, match="Restart the service"):
        store.append_and_wait([made()])


@pytest.mark.fault("F15")
@pytest.mark.skipif(not is_root, reason="mounting and changing owners needs root")
def test_a_read_only_disk_is_a_clear_start_error(small_disk):
    open_store(small_disk / "events" / "events.db").close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises((StoreUnavailable, SettingsError), match=r"write access|[Rr]ead-only"):
        open_store(small_disk / "events" / "events.db")


@pytest.mark.fault("F15")
@pytest.mark.skipif(not is_root, reason="changing owners needs root")
@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_wrong_owner_is_named(path, what):
    open_store(path).close()
    os.chown(path if what == "file" else path.parent, 12345, -1)
    with pytest.raises((StoreUnavailable, SettingsError), match="belongs to user 12345") as caught:
        open_store(path)
    assert str(path.parent) in str(caught.value)


@pytest.mark.fault("F15")
@pytest.mark.sec("SEC-115")
def test_a_folder_that_others_may_enter_is_refused(path):
    path.parent.mkdir(mode=0o755)
    with pytest.raises(SettingsError, match="chmod 700"):
        open_store(path)


@pytest.mark.fault("F16")
@pytest.mark.sec("SEC-115")
def test_a_network_file_system_is_refused(path, monkeypatch):
    monkeypatch.setattr(opening, "_file_system", lambda _folder: 0x6969)
    with pytest.raises(SettingsError, match="NFS"):
        open_store(path)


@pytest.mark.fault("F16")
def test_a_container_s_own_layer_is_said_loudly(path, monkeypatch):
    monkeypatch.setattr(opening, "_file_system", lambda _folder: 0x794C7630)
    assert warnings_of(path) == (0, ["store_on_overlay"])


@pytest.mark.fault("F16")
def test_the_kind_of_file_system_is_really_asked(small_disk):
    assert opening._file_system(small_disk) == 0x01021994, "tmpfs"


@pytest.mark.fault("F15")
def test_a_folder_that_can_not_be_made_is_named(path):
    path.parent.write_bytes(b"a file where the folder should be")
    with pytest.raises(SettingsError, match="folder can't be used") as caught:
        open_store(path)
    assert str(path.parent) in str(caught.value)


@pytest.mark.fault("F15")
def test_a_process_that_holds_the_store_alone_is_waited_for_and_then_named(path, monkeypatch):
    open_store(path).close()
    monkeypatch.setattr(opening, "LOCK_WAIT_S", 0.1)
    with path.with_name("events.db.lock").open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(StoreUnavailable, match="holds the event store alone"):
            open_store(path)
    store = open_store(path)
    store.close()


@pytest.mark.fault("F13", "F73")
def test_an_event_that_this_version_does_not_know_is_named_and_never_skipped(store):
    """A newer version wrote it, and the older one was put back."""
    store.append_and_wait([made()])
    columns = ("01KT0VDV500C5DBWW1MJFXR94N", "drift_found", 0, None, None, None, None, None, None, 0)
    body = '{"type":"drift_found"}'
    with sqlite3.connect(store.path) as newer:
        newer.execute(table.insert(1), (*columns, table.checksum(columns, body.encode()), body))
    newer.close()
    assert len(store.read(0, 1)) == 1
    with pytest.raises(StoreUnavailable, match="event 2 is no event that this version reads"):
        store.read(0, 10)


@pytest.mark.fault("F11")
def test_a_journal_that_can_not_be_moved_loses_nothing(store):
    """The disk fails while the store tidies up: the next event meets it, or finds the disk well again."""
    first, second = made(), made()
    store.append_and_wait([first])
    store._writer._connection.close()  # whatever it does next fails
    time.sleep(2 * writer.IDLE_S)
    store.append_and_wait([second])
    assert [stored.event for stored in store.read_all()] == [first, second]
