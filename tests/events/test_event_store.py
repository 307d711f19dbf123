"""The store keeps what it is given, once, in order, and answers what a chart open asks."""

import asyncio
import sqlite3
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from cds_service.errors import StoreUnavailable
from cds_service.events.ids import new_id
from cds_service.events.schema import (
    CardAccepted,
    CardOverridden,
    PredictionMade,
    PredictionWithheld,
    RuleFired,
    decode,
)
from cds_service.events.store import open_store
from cds_service.events.writer import BATCH_ROWS
from tests.events.feedback_items import card_feedback

GOLDEN = [decode(line) for line in (Path(__file__).parent / "golden_events.jsonl").read_bytes().splitlines()]
MADE, WITHHELD, RULE = GOLDEN[0], GOLDEN[1], GOLDEN[3]
NOW = datetime(2026, 6, 1, tzinfo=UTC)
SERVICE = MADE.service
PATIENT = MADE.patient


@pytest.fixture
def store(tmp_path):
    store = open_store(tmp_path / "events" / "events.db")
    yield store
    store.close()


def card(number: int) -> str:
    return f"7c1c9a52-3f4b-4a51-9d2e-{number:012d}"


def made(number: int, *, days_ago: float = 0, **fields) -> PredictionMade:
    at = NOW - timedelta(days=days_ago)
    fields = {"card": card(number), "suggestions": (card(number + 5000),)} | fields
    return msgspec.structs.replace(MADE, id=new_id(at), at=at, **fields)


def withheld(reason: str = "below_threshold", **fields) -> PredictionWithheld:
    return msgspec.structs.replace(WITHHELD, id=new_id(NOW), reason=reason, **fields)


def said(
    number: int, outcome: str, *, minutes: float = 5, received: float | None = None, tenant="hospital-a", **fields
):
    at = NOW + timedelta(minutes=minutes)
    suggestions = [card(number + 5000)] if outcome == "accepted" else []
    return card_feedback(
        tenant=tenant, service=SERVICE, card=card(number), outcome=outcome, at=at,
        received=at if received is None else NOW + timedelta(minutes=received), suggestions=suggestions,
    )  # fmt: skip


# keeping


def test_events_come_back_as_they_were_given_in_sequence(store):
    seqs = store.append_and_wait(GOLDEN)
    assert seqs == tuple(range(1, len(GOLDEN) + 1))
    assert [(stored.seq, stored.event) for stored in store.read(0, 100)] == list(zip(seqs, GOLDEN, strict=True))
    assert [stored.seq for stored in store.read(3, 2)] == [4, 5]
    assert store.read(len(GOLDEN), 10) == []
    assert [stored.event for stored in store.read_all(chunk=2)] == GOLDEN


def test_events_outlive_the_process(tmp_path):
    path = tmp_path / "events" / "events.db"
    store = open_store(path)
    store.append_and_wait(GOLDEN)
    store.close()
    again = open_store(path)
    assert [stored.event for stored in again.read_all()] == GOLDEN
    assert again.append_and_wait([made(1)]) == (len(GOLDEN) + 1,)
    again.close()


@pytest.mark.ch("CH-259")
@pytest.mark.fault("F40")
def test_an_exact_repeat_is_stored_once_and_has_its_first_number(store):
    first = store.append_and_wait([made(1), said(1, "accepted")])
    repeat, new, again = store.append_and_wait([said(1, "accepted", received=60), made(2), said(1, "accepted")])
    assert (first, repeat, again) == ((1, 2), 2, 2)
    assert new > 2, "a number may be left out, never given twice"
    assert len(store.read(0, 10)) == 3
    assert store.read(1, 1)[0].event.at == NOW + timedelta(minutes=5), "the first receipt counts"


@pytest.mark.fault("F40")
def test_repeats_at_the_same_time_are_stored_once(store):
    async def everybody() -> list[tuple[int, ...]]:
        return await asyncio.gather(*(store.append([said(1, "accepted")]) for _ in range(50)))

    assert set(asyncio.run(everybody())) == {(1,)}
    assert len(store.read(0, 10)) == 1


def test_many_callers_share_commits_and_each_gets_its_own_numbers(store):
    async def one(number: int) -> tuple[int, tuple[int, ...]]:
        return number, await store.append([made(number, invocation=None), withheld(detail=f"n{number}")])

    async def everybody() -> list[tuple[int, tuple[int, ...]]]:
        return await asyncio.gather(*(one(number) for number in range(300)))

    for number, (first, second) in asyncio.run(everybody()):
        assert second == first + 1, "what goes in together stands together"
        assert store.read(first - 1, 1)[0].event.card == card(number)
        assert store.read(second - 1, 1)[0].event.detail == f"n{number}"


def test_nothing_to_keep_is_kept_at_once(store):
    assert store.append_and_wait([]) == ()
    assert asyncio.run(store.append([])) == ()


@pytest.mark.parametrize("count", [1, BATCH_ROWS, 2 * BATCH_ROWS, 2 * BATCH_ROWS + 1, 1000])
def test_an_append_of_any_size_goes_in_whole(store, count):
    assert store.append_and_wait([withheld() for _ in range(count)]) == tuple(range(1, count + 1))
    assert len(store.read(0, 2000)) == count


@pytest.mark.sec("SEC-080")
def test_what_breaks_the_schema_is_refused_with_all_that_came_along(store):
    with pytest.raises(msgspec.ValidationError, match="tenant"):
        store.append_and_wait([made(1), made(2, tenant="Yamada Hanako")])
    assert store.read(0, 10) == []


def test_a_caller_that_goes_away_disturbs_nobody(store):
    async def main() -> tuple[int, ...]:
        gone = asyncio.create_task(store.append([made(1)]))
        await asyncio.sleep(0)
        gone.cancel()
        return await store.append([made(2)])

    assert asyncio.run(main()) == (2,)


def test_a_closed_loop_disturbs_nobody(store):
    async def leave() -> None:
        asyncio.create_task(store.append([made(1)]))  # noqa: RUF006 - left on purpose
        await asyncio.sleep(0)

    asyncio.run(leave())
    assert store.append_and_wait([made(2)]) == (2,)


def test_closing_writes_what_is_queued_and_then_refuses(tmp_path):
    store = open_store(tmp_path / "events" / "events.db")

    async def main() -> list[tuple[int, ...]]:
        waiting = [asyncio.create_task(store.append([made(number)])) for number in range(20)]
        await asyncio.sleep(0)
        await asyncio.to_thread(store.close)
        return await asyncio.gather(*waiting)

    assert len(asyncio.run(main())) == 20
    with pytest.raises(StoreUnavailable, match="closed"):
        store.append_and_wait([made(21)])
    store.close()


def test_the_journal_is_moved_when_the_store_is_idle(store):
    store.append_and_wait([withheld() for _ in range(200)])
    until = time.monotonic() + 5
    while events_without_journal(store.path) != 200:
        assert time.monotonic() < until
        time.sleep(0.05)


def events_without_journal(path):
    """What the database file alone holds; while the journal is being moved into it, that is no database."""
    alone = sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)
    try:
        return alone.execute("SELECT count(*) FROM event").fetchone()[0]
    except sqlite3.DatabaseError:
        return None
    finally:
        alone.close()


@pytest.mark.sec("SEC-115")
def test_the_file_is_private_and_durable(store):
    for name in ("events.db", "events.db-wal", "events.db-shm", "events.db.lock"):
        assert (store.path.parent / name).stat().st_mode & 0o777 == 0o600, name
    assert store.path.parent.stat().st_mode & 0o777 == 0o700
    settings = {
        name: store.query(f"PRAGMA {name}")[0][0]
        for name in ("journal_mode", "synchronous", "foreign_keys", "trusted_schema", "wal_autocheckpoint")
    }
    assert settings == {
        "journal_mode": "wal",
        "synchronous": 2,
        "foreign_keys": 1,
        "trusted_schema": 0,
        "wal_autocheckpoint": 0,
    }


def test_the_reading_side_can_not_write(store):
    with pytest.raises(StoreUnavailable):
        store.query("DELETE FROM event")


APPENDS = """
import sys
from pathlib import Path
import msgspec
from cds_service.events.store import open_store
from cds_service.events.schema import decode
from cds_service.events.ids import new_id
lines = [decode(line) for line in Path(sys.argv[2]).read_bytes().splitlines()]
store = open_store(Path(sys.argv[1]))
for number in range(100):
    seqs = store.append_and_wait([msgspec.structs.replace(lines[1], id=new_id(lines[1].at)), lines[4]])
    print(*seqs)
store.close()
"""


@pytest.mark.fault("F40")
def test_several_processes_write_one_log(tmp_path):
    """Sequence numbers only grow, none is given twice, and a repeat is a repeat in every worker."""
    path = tmp_path / "events" / "events.db"
    command = [sys.executable, "-c", APPENDS, str(path), str(Path(__file__).parent / "golden_events.jsonl")]
    workers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    printed = [worker.communicate(timeout=60)[0].split() for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0, 0]
    news = [list(map(int, words[::2])) for words in printed]
    assert all(own == sorted(set(own)) for own in news)
    assert len({seq for own in news for seq in own}) == 400
    assert len({words for own in printed for words in own[1::2]}) == 1, "the feedback has one number everywhere"
    store = open_store(path)
    assert len(list(store.read_all())) == 401
    store.close()


# looking up


@pytest.mark.parametrize(
    ("events", "shown"),
    [
        pytest.param([made(1)], [(1, None)], id="a card that nobody answered"),
        pytest.param([made(1), said(1, "accepted")], [(1, "accepted")], id="an accepted one"),
        pytest.param([said(1, "overridden", minutes=9), said(1, "accepted", minutes=7), made(1)], [(1, "overridden")],
                     id="the later word counts, whenever it came"),
        pytest.param([made(1), said(1, "overridden"), said(1, "accepted")], [(1, "overridden")], id="two words at one instant"),
        pytest.param([made(1), said(1, "overridden", minutes=5), said(1, "accepted", minutes=600, received=4)], [(1, "overridden")],
                     id="a client's clock that runs ahead does not win"),
        pytest.param([made(1), said(1, "accepted", tenant="hospital-b")], [(1, None)], id="another hospital's word does not count"),
        pytest.param([made(2, days_ago=3), made(1, days_ago=9)], [(1, None), (2, None)], id="oldest first"),
        pytest.param([made(1, days_ago=400)], [], id="before the window"),
        pytest.param([made(1, patient="v1:" + "b" * 26)], [], id="another patient"),
        pytest.param([made(1, tenant="hospital-b")], [], id="another hospital"),
        pytest.param([made(1, service="other")], [], id="another service"),
        pytest.param([made(1, card=None), withheld()], [], id="what made no card"),
        pytest.param([withheld("data_missing", card=card(7))], [(7, None)], id="an abstention that was told"),
        pytest.param([msgspec.structs.replace(RULE, patient=PATIENT, card=card(8))], [(8, None)], id="a rule's card"),
    ],
)  # fmt: skip
def test_history(store, events, shown):
    store.append_and_wait(events)
    found = store.history("hospital-a", SERVICE, PATIENT, NOW - timedelta(days=365))
    assert [(known.card, known.outcome) for known in found] == [(card(number), outcome) for number, outcome in shown]


def test_history_says_when_by_whom_and_in_which_opening(store):
    store.append_and_wait([made(1, days_ago=1), said(1, "accepted", minutes=7)])
    (known,) = store.history("hospital-a", SERVICE, PATIENT, NOW - timedelta(days=365))
    assert (known.at, known.type) == (NOW - timedelta(days=1), "prediction_made")
    assert (known.outcome_at, known.invocation) == (NOW + timedelta(minutes=7), MADE.invocation)


@pytest.mark.fault("F42")
@pytest.mark.parametrize(
    ("tenant", "service", "number", "is_known"),
    [
        pytest.param("hospital-a", SERVICE, 1, True, id="its own card"),
        pytest.param("hospital-b", SERVICE, 1, False, id="another hospital's card is as unknown as none"),
        pytest.param(None, SERVICE, 1, False, id="no hospital is no wild card"),
        pytest.param("hospital-a", "other", 1, False, id="another service's card"),
        pytest.param("hospital-a", SERVICE, 2, False, id="a card of which only feedback came"),
        pytest.param("hospital-a", SERVICE, 3, False, id="no card"),
    ],
)
def test_find_card(store, tenant, service, number, is_known):
    store.append_and_wait([said(1, "overridden"), made(1), said(1, "accepted"), said(2, "overridden")])
    found = store.find_card(tenant, service, card(number))
    assert (found is not None) is is_known
    assert found is None or (found.suggestions, found.at) == ({card(5001)}, NOW)


@pytest.mark.parametrize(
    ("events", "counted"),
    [
        pytest.param([], (0, 0), id="nothing yet"),
        pytest.param([withheld(), made(1), withheld("silent_site")], (3, 1), id="opens and cards"),
        pytest.param(
            [withheld("excluded_age"), withheld("viewer_not_clinician"), made(1)], (1, 1), id="only eligible opens"
        ),
        pytest.param([withheld("card_ceiling")], (1, 0), id="an open that the ceiling silenced is an open"),
        pytest.param(
            [made(1), msgspec.structs.replace(RULE, card=card(2)), withheld()], (2, 2), id="a rule's card is a card"
        ),
        pytest.param([made(1, tenant="hospital-b"), made(2, service="other")], (0, 0), id="only its own"),
        pytest.param([made(n) for n in range(4)] + [withheld() for _ in range(10)], (10, 0), id="only the newest"),
        pytest.param(
            [withheld() for _ in range(10)] + [made(n) for n in range(4)], (10, 4), id="only the newest, cards last"
        ),
    ],
)
def test_opens_and_cards(store, events, counted):
    """The same count at once, step by step, and by a process that comes later."""
    for event in events:
        store.append_and_wait([event])
        step_by_step = store.opens_and_cards("hospital-a", SERVICE, 10)
    if events:
        assert step_by_step == counted
    later = open_store(store.path)
    assert later.opens_and_cards("hospital-a", SERVICE, 10) == counted
    later.close()


def test_opens_and_cards_sees_what_other_workers_wrote(store):
    other = open_store(store.path)
    assert store.opens_and_cards("hospital-a", SERVICE, 10) == (0, 0)
    other.append_and_wait([made(1), withheld()])
    assert store.opens_and_cards("hospital-a", SERVICE, 10) == (2, 1)
    other.close()


@pytest.mark.parametrize(
    ("statement", "index"),
    [
        pytest.param("_HISTORY", "shown", id="history"),
        pytest.param("_CARD", "of_card", id="find_card"),
        pytest.param("_OPENED", "opened", id="opens_and_cards"),
        pytest.param("_LAST_OPENED", "opened", id="opens_and_cards at first"),
    ],
)
def test_a_chart_open_never_reads_the_whole_table(store, statement, index):
    import cds_service.events.store as module

    text = getattr(module, statement)
    plan = store._look_up(f"EXPLAIN QUERY PLAN {text}", ("x",) * text.count("?"))
    steps = [step[-1] for step in plan]
    assert f"INDEX {index}" in steps[0]
    assert not [step for step in steps if step.startswith("SCAN")]


def test_feedback_event_is_typed_by_its_outcome():
    assert isinstance(said(1, "accepted"), CardAccepted)
    assert isinstance(said(1, "overridden"), CardOverridden)
    assert isinstance(RULE, RuleFired)
