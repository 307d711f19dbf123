"""Backup and restore: what is copied, checked and sealed, and what a restored place is held to (SEC-114, SEC-111, F81)."""

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from cds_service.errors import SettingsError, StoreUnavailable
from cds_service.events import backup as backup_module
from cds_service.events.audit import AuditLog
from cds_service.events.audit_check import verify
from cds_service.events.backup import Source, make_backup, over
from cds_service.events.backup_archive import unpack
from cds_service.events.forgetting import Tombstones, forget, tombstones_of
from cds_service.events.forgotten_list import LIST, add_to_list, read_list
from cds_service.events.ids import new_id
from cds_service.events.left_out import leave_out
from cds_service.events.restoring import Place, restore_backup
from cds_service.events.schema import decode
from cds_service.events.store import open_store
from cds_service.events.used_tokens import used_token
from tests.events.test_audit import ALICE

MADE = decode((Path(__file__).parent / "golden_events.jsonl").read_bytes().splitlines()[0])
NOW = datetime(2026, 6, 1, 3, tzinfo=UTC)
KEY = bytes(range(32))
HERS = "v1:aaaaaaaaaaaaaaaaaaaaaaaaaa"
NOBODY = Tombstones(frozenset(), frozenset())


def made(number, **fields):
    fields = {"card": f"7c1c9a52-3f4b-4a51-9d2e-{number:012d}"} | fields
    return msgspec.structs.replace(MADE, id=new_id(NOW), at=NOW, **fields)


@pytest.fixture
def state(tmp_path):
    state = tmp_path / "state"
    store = open_store(state / "events" / "events.db")
    store.append_and_wait([made(number) for number in range(20)])
    AuditLog(state / "audit", ALICE).write("key_dropped", on="k")
    (state / "denied_keys.json").write_text("[]")
    yield state
    store.close()


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "backups"
    folder.mkdir()
    return folder


def files(state):
    return {"denied_keys.json": state / "denied_keys.json"}


def backup(state, folder, **more):
    source = Source(state / "events" / "events.db", state / "audit", files(state), "fits")
    given = {"key": KEY, "now": NOW, "generations": 3, "days": 0} | more
    return make_backup(source, folder, **given)


def restore(path, state, **more):
    place = Place(state, state / "events" / "events.db", state / "audit", files(state), more.pop("fits", "fits"))
    given = {"key": KEY, "forgotten": NOBODY, "now": NOW} | more
    return restore_backup(path, place, **given)


def events_of(state):
    store = open_store(state / "events" / "events.db")
    try:
        return [(stored.seq, stored.event) for stored in store.read_all()]
    finally:
        store.close()


# making


@pytest.mark.sec("SEC-114")
def test_a_backup_is_restored_row_by_row_and_file_by_file(state, folder, tmp_path):
    done = backup(state, folder)
    assert done.manifest.rows == {"event": 20, "used_token": 0, "forgotten_patient": 0, "forgotten_card": 0}
    assert (done.manifest.last_seq, done.manifest.audit_entries, done.manifest.audit_holds) == (20, 1, True)
    assert set(done.manifest.files) == {"events/events.db", "audit/audit-2026.jsonl", "denied_keys.json"}
    other = tmp_path / "other"
    restored = restore(done.path, other)
    assert restored.manifest == done.manifest
    assert restored.kept == ()
    assert events_of(other) == events_of(state)
    assert verify(other / "audit") == verify(state / "audit")
    assert (other / "denied_keys.json").read_text() == "[]"
    modes = {path.relative_to(other).as_posix(): oct(path.stat().st_mode & 0o777) for path in other.rglob("*")}
    assert {mode for name, mode in modes.items() if name in ("events", "audit")} == {"0o700"}
    assert {modes["events/events.db"], modes["audit/audit-2026.jsonl"]} == {"0o600"}


@pytest.mark.sec("SEC-114", "SEC-111")
def test_a_backup_is_named_by_its_hash_and_says_nothing_to_who_has_no_key(state, folder):
    path = backup(state, folder).path
    assert backup_module._NAME.fullmatch(path.name)
    content = path.read_bytes()
    assert not [word for word in (b"hospital-a", b"prediction_made", b"SQLite", b"alice") if word in content]
    assert oct(path.stat().st_mode & 0o777) == "0o600"


@pytest.mark.sec("SEC-114", "SEC-090")
def test_nothing_but_the_sealed_file_and_the_list_is_left(state, folder):
    (state / "events" / ".backup-killed").mkdir()
    (folder / ".backup-killed").write_bytes(b"x")
    path = backup(state, folder).path
    assert {one.name for one in folder.iterdir()} == {path.name, LIST, f".{LIST}.lock"}
    assert not list((state / "events").glob(".backup-*"))


@pytest.mark.sec("SEC-114")
@pytest.mark.parametrize(
    ("generations", "days", "kept"),
    [
        pytest.param(3, 0, [9, 8, 7], id="the newest"),
        pytest.param(3, 2, [9, 8, 7, 4], id="and the last of each of two days"),
        pytest.param(3, 9, [9, 8, 7, 4, 1], id="days without a backup do not count"),
        pytest.param(99, 0, list(range(9, -1, -1)), id="all"),
    ],
)
def test_which_generations_stay(generations, days, kept):
    """Ten backups: two on the first day, three on the third, five on the fourth."""
    moments = [(1, 0), (1, 12), (3, 0), (3, 1), (3, 2), (4, 0), (4, 1), (4, 2), (4, 3), (4, 4)]
    names = [f"backup-202606{day:02}T{hour:02}0000Z-{'0' * 16}.cds" for day, hour in moments]
    gone = over([*names, LIST, "notes"], generations=generations, days=days)
    assert sorted(set(names) - set(gone), reverse=True) == [names[place] for place in kept]


@pytest.mark.sec("SEC-114")
def test_the_oldest_go_only_after_a_new_one_is_there(state, folder, monkeypatch):
    paths = [backup(state, folder, now=NOW + timedelta(minutes=minute)).path for minute in range(4)]
    assert [path.exists() for path in paths] == [False, True, True, True]

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(backup_module, "pack", fail)
    with pytest.raises(StoreUnavailable, match="the backup can't be made"):
        backup(state, folder, now=NOW + timedelta(minutes=9))
    assert [path.exists() for path in paths] == [False, True, True, True]


@pytest.mark.sec("SEC-114")
@pytest.mark.fault("F13")
def test_a_damaged_store_makes_no_backup(state, folder):
    connection = sqlite3.connect(state / "events" / "events.db")
    connection.execute("UPDATE event SET body = replace(body, '62', '63') WHERE seq = 3")
    connection.commit()
    connection.close()
    with pytest.raises(StoreUnavailable, match="the event store is damaged, and no backup was made"):
        backup(state, folder)
    assert [path for path in folder.iterdir() if path.suffix == ".cds"] == []


def test_a_broken_audit_log_keeps_no_event_from_its_backup(state, folder):
    path = state / "audit" / "audit-2026.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"seq":1', b'"seq":2'))
    assert not backup(state, folder).manifest.audit_holds


@pytest.mark.sec("SEC-114")
@pytest.mark.parametrize(
    ("where", "says"),
    [("absent", "there is no such folder"), ("state/copies", "it lies in the state folder")],
)
def test_where_a_backup_may_not_go(state, tmp_path, where, says):
    (state / "copies").mkdir()
    with pytest.raises(SettingsError, match=says):
        backup(state, tmp_path / where)


# restoring


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)


@pytest.mark.sec("SEC-114")
@pytest.mark.parametrize(
    ("spoil", "more", "says"),
    [
        pytest.param(lambda path: flip(path, 5000), {}, "was changed, damaged or cut off", id="a flipped bit"),
        pytest.param(lambda path: path.write_bytes(path.read_bytes()[:-100]), {}, "was changed, damaged or cut off", id="a cut end"),
        pytest.param(lambda path: None, {"key": bytes(32)}, "it was sealed with key", id="another key"),
        pytest.param(lambda path: None, {"fits": "other"}, "the backup needs the key fits, in place is other", id="another pseudonym key"),
    ],
)  # fmt: skip
def test_what_is_not_whole_or_does_not_fit_leaves_nothing(state, folder, tmp_path, spoil, more, says):
    path = backup(state, folder).path
    spoil(path)
    with pytest.raises((SettingsError, StoreUnavailable), match=says):
        restore(path, tmp_path / "other", **more)
    assert list((tmp_path / "other").iterdir()) == []


@pytest.mark.sec("SEC-114")
def test_a_place_with_an_event_store_is_left_alone(state, folder):
    path = backup(state, folder).path
    before = events_of(state)
    with pytest.raises(SettingsError, match="there is an event store already"):
        restore(path, state)
    assert events_of(state) == before


@pytest.mark.sec("SEC-114", "SEC-102")
def test_what_is_newer_in_place_is_kept(state, folder, tmp_path):
    path = backup(state, folder).path
    other = tmp_path / "other"
    log = AuditLog(other / "audit", ALICE)
    log.write("service_started")
    log.write("service_started")
    (other / "denied_keys.json").write_text("newer")
    assert restore(path, other).kept == ("audit", "denied_keys.json")
    assert verify(other / "audit").entries == 2
    assert (other / "denied_keys.json").read_text() == "newer"


def test_counts_are_compared(state, folder, tmp_path, monkeypatch):
    count = backup_module.count_rows
    monkeypatch.setattr(backup_module, "count_rows", lambda connection: (count(connection)[0] | {"event": 21}, 20))
    path = backup(state, folder).path
    with pytest.raises(StoreUnavailable, match="what came out of the backup is not what it says"):
        restore(path, tmp_path / "other")


@pytest.mark.sec("SEC-091", "SEC-114")
@pytest.mark.fault("F81")
def test_who_was_forgotten_after_the_backup_stays_forgotten(state, folder, tmp_path):
    """Forget, search, restore an old backup, search again: gone (SEC-091)."""
    database = state / "events" / "events.db"
    store = open_store(database)
    store.append_and_wait([made(99, patient=HERS, features={"glucose": 77777.25})])
    store.close()
    path = backup(state, folder).path
    forget(database, Tombstones(frozenset({HERS}), frozenset()), NOW)
    add_to_list(folder, tombstones_of(database))
    assert leave_out(events_of(state)[-1][1]) == events_of(state)[-1][1]
    other = tmp_path / "other"
    restored = restore(path, other, forgotten=read_list(folder / LIST))
    assert restored.left_out.answers == 1
    assert events_of(other) == events_of(state)
    assert not any(b"77777.25" in one.read_bytes() for one in other.rglob("*") if one.is_file())
    store = open_store(other / "events" / "events.db")
    store.append_and_wait([made(100, patient=HERS)])
    store.close()
    assert type(events_of(other)[-1][1]).__name__ == "PatientLeftOut"


@pytest.mark.sec("SEC-012", "SEC-114")
def test_used_tokens_come_back_too(state, folder, tmp_path):
    import asyncio

    store = open_store(state / "events" / "events.db")
    asyncio.run(append(store, used_token("https://ehr.example", "once", 2_000_000_000)))
    store.close()
    restore(backup(state, folder).path, tmp_path / "other")
    connection = sqlite3.connect(tmp_path / "other" / "events" / "events.db")
    assert connection.execute("SELECT count(*) FROM used_token").fetchone() == (1,)
    connection.close()


async def append(store, token):
    return await store.append([], token)


# the list


@pytest.mark.sec("SEC-091")
def test_the_list_only_grows(folder):
    card = "7c1c9a52-3f4b-4a51-9d2e-000000000001"
    add_to_list(folder, Tombstones(frozenset({HERS}), frozenset({card})))
    add_to_list(folder, Tombstones(frozenset(), frozenset({"sha256:" + "0" * 32})))
    found = read_list(folder / LIST)
    assert found == Tombstones(frozenset({HERS}), frozenset({card, "sha256:" + "0" * 32}))
    assert (folder / LIST).read_text().splitlines()[0] == f"patient {HERS}"


@pytest.mark.parametrize("line", ["patient 12345", "Yamada Hanako", "", "patient " + HERS + " "])
def test_a_list_that_can_be_read_in_part_only_is_not_read(folder, line):
    (folder / LIST).write_text(f"patient {HERS}\n{line}\n")
    with pytest.raises(StoreUnavailable, match=f"{LIST}:2: no name of the list"):
        read_list(folder / LIST)


def test_a_file_that_its_manifest_does_not_name_is_no_backup(state, folder, tmp_path, monkeypatch):
    written = backup_module.Manifest

    def with_a_way_out(**fields):
        fields["files"] = {
            f"../{name}" if name == "denied_keys.json" else name: sums for name, sums in fields["files"].items()
        }
        return written(**fields)

    monkeypatch.setattr(backup_module, "Manifest", with_a_way_out)
    (state / "events" / "denied_keys.json").write_text("[]")
    with pytest.raises(StoreUnavailable, match="a file that its manifest does not name"):
        backup(state, folder)


def test_a_backup_reads_back_without_being_unpacked(state, folder):
    done = backup(state, folder)
    assert unpack(done.path, KEY) == done.manifest
