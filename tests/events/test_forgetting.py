"""Forgetting a patient: what is blanked, what stays, and that nothing comes back (SEC-091, F81)."""

import asyncio
import multiprocessing
import sqlite3
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from cds_service.errors import StoreUnavailable
from cds_service.events.forgetting import Forgotten, Tombstones, forget
from cds_service.events.ids import new_id
from cds_service.events.left_out import leave_out
from cds_service.events.schema import CallRefused, PatientLeftOut, decode
from cds_service.events.store import open_store
from cds_service.events.table import CREATE
from cds_service.events.used_tokens import used_token
from tests.events.feedback_items import card_feedback

GOLDEN = [decode(line) for line in (Path(__file__).parent / "golden_events.jsonl").read_bytes().splitlines()]
MADE, WITHHELD, _, RULE, ACCEPTED, OVERRIDDEN, *_ = GOLDEN
NOW = datetime(2026, 6, 1, tzinfo=UTC)
HERS, HIS = "v1:aaaaaaaaaaaaaaaaaaaaaaaaaa", "v1:bbbbbbbbbbbbbbbbbbbbbbbbbb"
HER_LIST = Tombstones(frozenset({HERS}), frozenset())


def card(number: int) -> str:
    return f"7c1c9a52-3f4b-4a51-9d2e-{number:012d}"


def made(number: int, patient: str, **fields):
    fields = {"card": card(number), "patient": patient} | fields
    return msgspec.structs.replace(MADE, id=new_id(NOW), at=NOW, **fields)


def said(number: int, outcome="overridden", minutes=5):
    at = NOW + timedelta(minutes=minutes)
    return card_feedback(
        tenant=MADE.tenant, service=MADE.service, card=card(number), outcome=outcome, at=at, received=at,
        suggestions=[card(number + 5000)] if outcome == "accepted" else [],
    )  # fmt: skip


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events" / "events.db"


@pytest.fixture
def store(path):
    store = open_store(path)
    yield store
    store.close()


def kept(store):
    return [stored.event for stored in store.read_all()]


# what is kept of an event


@pytest.mark.sec("SEC-091")
@pytest.mark.parametrize(
    ("event", "fields"),
    [
        pytest.param(MADE, {"id", "at", "tenant", "client", "service", "what", "hook", "model", "version"}, id="a prediction"),
        pytest.param(WITHHELD, {"id", "at", "tenant", "client", "service", "what", "hook"}, id="an abstention: not even why"),
        pytest.param(RULE, {"id", "at", "tenant", "client", "service", "what", "hook"}, id="a rule: not even that one spoke"),
        pytest.param(ACCEPTED, {"id", "at", "tenant", "client", "service", "what"}, id="what was accepted"),
        pytest.param(OVERRIDDEN, {"id", "at", "tenant", "client", "service", "what"}, id="why it was overridden"),
    ],
)  # fmt: skip
def test_what_is_kept_of_an_event(event, fields):
    left = leave_out(event)
    told = msgspec.to_builtins(left)
    assert set(told) - {"type"} == fields
    assert told["type"] == "patient_left_out"
    for name in fields - {"what", "id"}:
        assert getattr(left, name) == getattr(event, name)


def test_what_is_about_nobody_is_left_alone():
    refused = next(event for event in GOLDEN if isinstance(event, CallRefused))
    assert leave_out(refused) is refused
    assert leave_out(leave_out(MADE)) == leave_out(MADE)


# blanking


@pytest.mark.sec("SEC-091")
def test_forgetting_blanks_answers_and_feedback_of_one_patient_beside_the_running_service(store, path):
    store.append_and_wait([made(1, HERS), made(2, HIS), made(3, HERS, card=None, suggestions=()), said(1), said(2)])
    before = kept(store)
    done = forget(path, HER_LIST, NOW)
    assert done == Forgotten(patients=1, answers=2, feedback=1, journal_is_clean=True)
    assert kept(store) == [leave_out(before[0]), before[1], leave_out(before[2]), leave_out(before[3]), before[4]]
    assert store.history(MADE.tenant, MADE.service, HERS, NOW - timedelta(days=1)) == ()
    assert store.find_card(MADE.tenant, MADE.service, card(1)) is None
    assert len(store.history(MADE.tenant, MADE.service, HIS, NOW - timedelta(days=1))) == 1


@pytest.mark.sec("SEC-091")
def test_the_rows_stay_sound_and_the_store_opens_again(path):
    store = open_store(path)
    store.append_and_wait([made(1, HERS), said(1), said(1, "accepted", 9)])
    store.close()
    assert forget(path, HER_LIST, NOW).feedback == 2
    store = open_store(path)
    assert [event.what for event in kept(store)] == ["answer", "feedback"], "all feedback about a card is one event"
    store.close()


@pytest.mark.sec("SEC-091")
def test_no_byte_of_the_patient_stays_in_the_files(store, path):
    for number in range(40):
        store.append_and_wait([made(number, HERS, features={"glucose": 77777.25 + number}), made(100 + number, HIS)])
    (path.parent / "events.db-wal.cut-1").write_bytes(HERS.encode())
    assert forget(path, HER_LIST, NOW).journal_is_clean
    files = {file.name: file.read_bytes() for file in path.parent.iterdir()}
    assert sum(content.count(b"77777.25") + content.count(b"777") for content in files.values()) == 0
    assert "events.db-wal.cut-1" not in files
    connection = sqlite3.connect(path)
    assert connection.execute("SELECT patient FROM forgotten_patient").fetchall() == [(HERS,)]
    connection.close()


@pytest.mark.sec("SEC-091")
def test_a_repetition_changes_nothing(store, path):
    store.append_and_wait([made(1, HERS), said(1)])
    forget(path, HER_LIST, NOW)
    before = kept(store)
    assert forget(path, HER_LIST, NOW) == Forgotten(patients=0, answers=0, feedback=0)
    assert kept(store) == before


def test_a_damaged_row_is_named_and_not_rewritten(store, path):
    store.append_and_wait([made(1, HERS)])
    connection = sqlite3.connect(path)
    connection.execute("UPDATE event SET body = replace(body, '62', '63')")
    connection.commit()
    connection.close()
    with pytest.raises(StoreUnavailable, match="event 1 does not match its checksum"):
        forget(path, HER_LIST, NOW)


def test_where_no_store_is_none_is_made(path):
    with pytest.raises(StoreUnavailable, match="there is no event store here"):
        forget(path, HER_LIST, NOW)
    assert not path.exists()


# afterwards


@pytest.mark.sec("SEC-091")
@pytest.mark.parametrize("token", [None, used_token("https://ehr.example", "once", 2_000_000_000)])
def test_a_forgotten_patient_is_answered_and_leaves_nothing(store, path, token):
    forget(path, HER_LIST, NOW)
    mine, other = made(1, HERS), made(2, HIS)

    async def append():
        return await store.append([mine, other], token)

    assert asyncio.run(append()) == (1, 2)
    assert kept(store) == [leave_out(mine), other]


@pytest.mark.sec("SEC-091")
def test_late_feedback_about_a_forgotten_patients_card_is_kept_as_a_count(store, path):
    store.append_and_wait([made(1, HERS)])
    forget(path, HER_LIST, NOW)
    store.append_and_wait([made(2, HERS)])
    first = store.append_and_wait([said(1), said(2, "accepted")])
    assert store.append_and_wait([said(1), said(2, "overridden", 9)]) == first, "a repeat is no second one"
    assert [type(event) for event in kept(store)] == [PatientLeftOut] * 4
    assert {event.what for event in kept(store)} == {"answer", "feedback"}


@pytest.mark.sec("SEC-091")
def test_an_opted_out_patient_has_no_part_in_the_card_rate(store, path):
    forget(path, HER_LIST, NOW)
    store.append_and_wait([made(1, HERS), made(2, HIS)])
    assert store.opens_and_cards(MADE.tenant, MADE.service, 100) == (1, 1)


@pytest.mark.sec("SEC-091")
def test_no_other_program_can_add_a_row_about_a_forgotten_patient(store, path):
    forget(path, HER_LIST, NOW)
    connection = sqlite3.connect(path)
    with pytest.raises(sqlite3.IntegrityError, match="left out"):
        connection.execute(
            "INSERT INTO event (id, type, at, patient, open, crc, body) VALUES ('x', 'y', 0, ?, 0, 0, '')", (HERS,)
        )
    connection.close()


def _append_for_ever(path, written, stop):
    store = open_store(path)
    while not stop.is_set():
        store.append_and_wait([made(written.value, HERS), said(written.value)])
        written.value += 1
    store.close()


@pytest.mark.sec("SEC-091")
def test_what_is_written_while_the_command_runs_is_blank_too(path):
    """A second process appends about the patient all the time; wherever the command stands, no row slips through."""
    context = multiprocessing.get_context("spawn")
    written, stop = context.Value("i", 0), context.Event()
    writing = context.Process(target=_append_for_ever, args=(path, written, stop))

    def wait_for(number):
        until = time.monotonic() + 60
        while written.value < number:
            assert writing.is_alive()
            assert time.monotonic() < until
            time.sleep(0.005)

    writing.start()
    try:
        wait_for(10)
        assert forget(path, HER_LIST, NOW).answers >= 10
        for _ in range(4):
            wait_for(written.value + 10)
            assert forget(path, HER_LIST, NOW).answers == 0, "the list came first"
    finally:
        stop.set()
        writing.join(60)
    store = open_store(path)
    assert {type(event) for event in kept(store)} == {PatientLeftOut}
    store.close()


def test_a_store_of_an_earlier_version_gets_the_list(path):
    path.parent.mkdir(mode=0o700)
    connection = sqlite3.connect(path)
    connection.executescript(CREATE)
    connection.executescript("DROP TRIGGER left_out; DROP TABLE forgotten_patient; DROP TABLE forgotten_card")
    connection.executescript("PRAGMA user_version = 2; PRAGMA journal_mode = WAL")
    connection.close()
    store = open_store(path)
    store.append_and_wait([made(1, HERS)])
    assert forget(path, HER_LIST, NOW).answers == 1
    store.close()
