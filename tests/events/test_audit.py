"""The audit log: what an entry says, that it is durable before the action, and that no change of it goes unseen."""

import json
import multiprocessing
import os
import re
from datetime import UTC, datetime, timedelta

import msgspec
import pytest
from msgspec import inspect

from cds_service.errors import SettingsError, StoreUnavailable
from cds_service.events.audit import AuditLog, Clocks
from cds_service.events.audit_check import Broken, Head, Verified, public_key, read_heads, sign_head, verify
from cds_service.events.audit_entry import Actor, Entry, object_name
from tests.events.test_event_schema import walk

NOW = datetime(2026, 6, 1, tzinfo=UTC)
SEED = bytes(range(32))
ALICE = Actor("alice", "operator", "bob", "cds-1")
NAME = "v1:aaaaaaaaaaaaaaaaaaaaaaaaaa"


class Time:
    """Two clocks: one that can be set, one that runs since boot."""

    def __init__(self):
        self.now, self.boot_s, self.boot = NOW, 1000.0, "0" * 16

    def passes(self, seconds, *, wall=None):
        self.boot_s += seconds
        self.now += timedelta(seconds=seconds if wall is None else wall)

    def clocks(self):
        return Clocks(lambda: self.now, lambda: self.boot_s, self.boot)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "audit"


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def log(folder, time):
    return AuditLog(folder, ALICE, time.clocks())


def entries(folder):
    lines = b"".join(path.read_bytes() for path in sorted(folder.glob("*.jsonl"))).splitlines()
    return [msgspec.json.decode(msgspec.json.encode(json.loads(line)["entry"]), type=Entry) for line in lines]


# what an entry says


@pytest.mark.sec("SEC-100")
def test_an_entry_says_who_what_when_where_and_with_what_result(log, folder):
    log.write("patient_forgotten", on="tenant:hospital-a", patients=(NAME,), counts={"answers": 3})
    (line,) = (folder / "audit-2026.jsonl").read_text().splitlines()
    assert json.loads(line)["entry"] == {
        "seq": 1, "at": "2026-06-01T00:00:00Z", "since_boot_s": 1000.0, "boot": "0" * 16, "who": "alice", "role": "operator",
        "via": "bob", "where": "cds-1", "did": "patient_forgotten", "on": "tenant:hospital-a", "patients": [NAME],
        "result": "done", "counts": {"answers": 3},
    }  # fmt: skip


@pytest.mark.sec("SEC-080", "SEC-100")
def test_every_text_of_an_entry_has_a_shape():
    texts = [
        (path, kind) for path, kind in walk(inspect.type_info(Entry), "entry") if isinstance(kind, inspect.StrType)
    ]
    assert len(texts) > 8
    for path, kind in texts:
        assert kind.pattern is not None, path
        assert kind.pattern.endswith(r"\Z"), path
        assert re.search(kind.pattern, "Yamada Hanako") is None, path


def test_what_breaks_a_shape_is_not_written(log, folder):
    with pytest.raises(msgspec.ValidationError):
        log.write("restored", on="Yamada Hanako")
    assert not list(folder.glob("*.jsonl"))


@pytest.mark.parametrize(
    ("typed", "is_kept"),
    [
        pytest.param("https://ehr.example#2026-04", True, id="an issuer and a key"),
        pytest.param("tenant:hospital-a", True, id="a tenant"),
        pytest.param("Yamada Hanako", False, id="what has a space is no name of ours"),
        pytest.param("", False, id="nothing"),
        pytest.param("山田", False, id="another script"),
        pytest.param("x" * 301, False, id="too long"),
    ],
)
def test_what_does_not_look_like_a_name_stands_as_its_hash(typed, is_kept):
    name = object_name(typed)
    assert (name == typed) is is_kept
    assert is_kept or re.fullmatch("sha256:[0-9a-f]{32}", name)


# an action


@pytest.mark.sec("SEC-101")
def test_that_it_begins_is_on_disk_before_it_does_and_how_it_ended_before_anybody_is_told(log, folder):
    with log.action("key_dropped", on="k") as noted:
        assert [entry.result for entry in entries(folder)] == ["begun"]
        noted.counts["keys"] = 1
    assert [(entry.result, entry.counts) for entry in entries(folder)] == [("begun", {}), ("done", {"keys": 1})]


@pytest.mark.sec("SEC-100", "SEC-101")
@pytest.mark.parametrize(("failure", "result"), [(SettingsError(), "refused"), (ValueError(), "failed"), (KeyboardInterrupt(), "failed")])  # fmt: skip
def test_a_refused_attempt_and_a_failure_are_entries_too(log, folder, failure, result):
    with pytest.raises(type(failure)), log.action("key_dropped", on="k"):
        raise failure
    assert [entry.result for entry in entries(folder)] == ["begun", result]


@pytest.mark.sec("SEC-101")
@pytest.mark.fault("F80", "F11")
@pytest.mark.parametrize("call", ["write", "fsync"])
def test_where_no_entry_can_be_written_nothing_happens(log, folder, monkeypatch, call):
    log.write("restored")
    before = (folder / "audit-2026.jsonl").read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, call, fail)
    happened = False
    says = r"can't be written \(No space left on device\), so nothing was done"
    with pytest.raises(StoreUnavailable, match=says), log.action("key_dropped", on="k"):
        happened = True
    assert not happened
    assert (folder / "audit-2026.jsonl").read_bytes() == before


@pytest.mark.sec("SEC-101")
@pytest.mark.fault("F80")
def test_on_a_damaged_log_nothing_happens(log, folder):
    for _ in range(3):
        log.write("restored")
    path = folder / "audit-2026.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"seq":2', b'"seq":7'))
    with pytest.raises(StoreUnavailable, match=r"damaged\. Run cds-service audit verify"):
        log.write("restored")


@pytest.mark.sec("SEC-101")
@pytest.mark.fault("F80", "F01")
def test_a_write_that_was_cut_short_is_set_aside_and_said(log, folder):
    log.write("restored")
    with (folder / "audit-2026.jsonl").open("ab") as file:
        file.write(b'{"entry":{"seq":2,"at"')
    log.write("key_dropped")
    assert [entry.did for entry in entries(folder)] == ["restored", "tail_repaired", "key_dropped"]
    assert entries(folder)[1].counts == {"bytes": 22}
    assert isinstance(verify(folder), Verified)


def _write_some(folder, who):
    log = AuditLog(folder, Actor(who, "operator"))
    for _ in range(25):
        log.write("restored")


@pytest.mark.sec("SEC-102")
def test_several_processes_make_one_chain(folder):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_some, args=(folder, who)) for who in ("a", "b", "c")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert verify(folder) == Verified(75, 1, 75, sign_head(folder, SEED).head, 0)
    assert {entry.who for entry in entries(folder)} == {"a", "b", "c"}


@pytest.mark.sec("SEC-102")
def test_a_year_is_a_file_and_the_chain_goes_on(log, folder, time):
    log.write("restored")
    time.passes(300 * 86_400)
    log.write("restored")
    assert [path.name for path in sorted(folder.iterdir())] == ["audit-2026.jsonl", "audit-2027.jsonl"]
    assert verify(folder).entries == 2
    assert oct(folder.stat().st_mode & 0o777) == "0o700"
    assert {oct(path.stat().st_mode & 0o777) for path in folder.iterdir()} == {"0o600"}


# whoever changes it is found


@pytest.fixture
def kept(log, folder, time):
    """Ten entries, and a head that was signed at each."""
    heads = []
    for number in range(10):
        time.passes(60)
        log.write("events_expired", counts={"events": number})
        heads.append(sign_head(folder, SEED))
    return heads


def lines_of(folder):
    return (folder / "audit-2026.jsonl").read_bytes().splitlines(keepends=True)


def flip(content, place):
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.sec("SEC-102")
@pytest.mark.parametrize(
    ("change", "line"),
    [
        pytest.param(lambda lines: [*lines[:4], lines[4].replace(b'"events":4', b'"events":9'), *lines[5:]], 5, id="a changed entry"),
        pytest.param(lambda lines: [*lines[:4], *lines[5:]], 5, id="a deleted entry"),
        pytest.param(lambda lines: [*lines[:4], lines[5], lines[4], *lines[6:]], 5, id="two entries in another order"),
        pytest.param(lambda lines: [*lines[:4], lines[3], *lines[4:]], 5, id="an entry twice"),
        pytest.param(lambda lines: lines[1:], 1, id="the first entry gone"),
        pytest.param(lambda lines: [b"x\n", *lines], 1, id="a line of something else"),
        pytest.param(lambda lines: [], 0, id="everything gone"),
    ],
)  # fmt: skip
def test_each_change_is_found_at_its_line(kept, folder, change, line):
    (folder / "audit-2026.jsonl").write_bytes(b"".join(change(lines_of(folder))))
    found = verify(folder)
    assert isinstance(found, Broken)
    assert found.where == (f"audit-2026.jsonl:{line}" if line else str(folder))


@pytest.mark.sec("SEC-102")
def test_one_flipped_bit_anywhere_is_found(kept, folder):
    path = folder / "audit-2026.jsonl"
    content = path.read_bytes()
    heads = kept[-1:]
    for place in range(0, len(content), 7):
        path.write_bytes(flip(content, place))
        assert isinstance(verify(folder, heads=heads, key=public_key(SEED)), Broken), place


@pytest.mark.sec("SEC-102")
@pytest.mark.parametrize(
    ("change", "says"),
    [
        pytest.param(lambda lines: lines[:7], "audit-2026.jsonl:7: the chain ends at entry 7, and entry 8 was once its head", id="a cut tail"),
        pytest.param(lambda lines: lines[:9], "audit-2026.jsonl:9: the chain ends at entry 9, and entry 10 was once its head", id="an old copy put back"),
    ],
)  # fmt: skip
def test_a_cut_tail_is_found_by_a_head_that_was_kept_elsewhere(kept, folder, change, says):
    (folder / "audit-2026.jsonl").write_bytes(b"".join(change(lines_of(folder))))
    assert isinstance(verify(folder), Verified), "from within nobody can tell"
    found = verify(folder, heads=kept, key=public_key(SEED))
    assert ": ".join(found) == says


@pytest.mark.sec("SEC-102")
def test_a_chain_that_was_made_anew_does_not_fit_the_heads(kept, folder, time):
    (folder / "audit-2026.jsonl").unlink()
    for number in range(12):
        AuditLog(folder, ALICE, time.clocks()).write("restored", counts={"events": number})
    assert isinstance(verify(folder), Verified)
    assert "another than the one that was signed" in verify(folder, heads=kept, key=public_key(SEED)).what


@pytest.mark.sec("SEC-102")
@pytest.mark.parametrize(
    "head",
    [
        pytest.param(lambda head: msgspec.structs.replace(head, seq=3), id="another number"),
        pytest.param(lambda head: msgspec.structs.replace(head, head="0" * 64), id="another hash"),
        pytest.param(lambda head: msgspec.structs.replace(head, signature="AAAA"), id="no signature"),
        pytest.param(lambda head: msgspec.structs.replace(head, signature="~"), id="no base64"),
    ],
)
def test_a_head_that_somebody_else_made_is_refused(kept, folder, head):
    found = verify(folder, heads=[head(kept[4])], key=public_key(SEED))
    assert found.what == "it is not signed by this key"
    assert verify(folder, heads=kept, key=public_key(SEED)) == Verified(10, 1, 10, kept[-1].head, 10)
    assert "not signed" in verify(folder, heads=kept, key=public_key(bytes(32))).what


def test_heads_are_found_among_the_lines_of_a_log(kept):
    lines = [
        '{"event":"service_started"}',
        "not JSON",
        '{"at":"x","level":"info",' + msgspec.json.encode(kept[3]).decode()[1:],
    ]
    assert read_heads(lines) == [kept[3]]
    with pytest.raises(SettingsError, match="no line is a signed head"):
        read_heads(["{}"])
    assert isinstance(kept[3], Head)


# clocks


@pytest.mark.sec("SEC-103")
@pytest.mark.fault("F20")
@pytest.mark.parametrize(
    ("wall_s", "step_s"),
    [
        pytest.param(60, None, id="time that passes is no step"),
        pytest.param(64, None, id="a few seconds are none"),
        pytest.param(66, 6.0, id="more than five seconds are one"),
        pytest.param(3660, 3600.0, id="an hour ahead"),
        pytest.param(-3540, -3600.0, id="an hour back"),
    ],
)
def test_a_clock_that_was_set_is_an_entry_of_its_own(log, folder, time, wall_s, step_s):
    log.write("restored")
    time.passes(60, wall=wall_s)
    log.write("restored")
    log.write("restored")
    steps = [entry.step_s for entry in entries(folder) if entry.did == "clock_stepped"]
    assert steps == ([] if step_s is None else [step_s]), "said once"
    assert isinstance(verify(folder), Verified)


@pytest.mark.sec("SEC-103")
@pytest.mark.fault("F20")
@pytest.mark.parametrize(("hours", "step_s"), [(5, None), (-1, -3600.0)])
def test_after_a_boot_only_a_clock_that_runs_backwards_is_known(log, folder, time, hours, step_s):
    log.write("restored")
    time.now += timedelta(hours=hours)
    time.boot_s, time.boot = 5.0, "1" * 16
    entry = AuditLog(folder, ALICE, time.clocks()).note_clock()
    assert (entry and entry.step_s) == step_s


def test_where_nothing_was_ever_written_the_clock_is_not_noted(log, folder):
    assert log.note_clock() is None
    assert not folder.exists()
