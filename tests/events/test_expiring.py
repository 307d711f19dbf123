"""How long things are kept: whole days and years go, in time, and never because a clock was wrong (SEC-092)."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner

from cds_service.cli import main
from cds_service.errors import SettingsError
from cds_service.events.audit import AuditLog
from cds_service.events.audit_check import Broken, Verified, verify
from cds_service.events.audit_entry import decode_entry, read_lines
from cds_service.events.expiring import Expired, expire_audit, expire_events, refuse_set_clock
from cds_service.events.ids import new_id
from cds_service.events.schema import decode
from cds_service.events.store import open_store
from tests.events.test_audit import ALICE, Time

MADE = decode((Path(__file__).parent / "golden_events.jsonl").read_bytes().splitlines()[0])
NOW = datetime(2026, 6, 1, 15, 30, tzinfo=UTC)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "events" / "events.db"


@pytest.fixture
def store(path):
    store = open_store(path)
    yield store
    store.close()


def made(days_ago, hour=12):
    at = (NOW - timedelta(days=days_ago)).replace(hour=hour, minute=0)
    return msgspec.structs.replace(MADE, id=new_id(at), at=at, card=None, suggestions=())


def ages(store):
    return [(NOW.date() - stored.event.at.date()).days for stored in store.read_all()]


@pytest.mark.sec("SEC-092")
@pytest.mark.parametrize(
    ("days_ago", "left"),
    [
        pytest.param([402, 401, 400, 399, 0], [400, 399, 0], id="only days that are over"),
        pytest.param([3, 2, 1], [3, 2, 1], id="nothing is over"),
        pytest.param([401] * 2000 + [1], [1], id="a whole day of many events"),
        pytest.param([1, 401, -3000, 401, 0], [1, -3000, 0], id="a clock that ran ahead for a while stops nothing"),
        pytest.param([], [], id="an empty log"),
    ],
)
def test_whole_days_go_beside_the_running_service(store, path, days_ago, left):
    store.append_and_wait([made(days) for days in days_ago])
    expire_events(path, now=NOW, keep_days=400)
    assert ages(store) == left
    assert store.append_and_wait([made(0)]) == (len(days_ago) + 1,), "a number is never given twice"


@pytest.mark.sec("SEC-092")
def test_a_day_goes_whole_or_not_at_all(store, path):
    store.append_and_wait([made(401, hour) for hour in (0, 23)] + [made(400, hour) for hour in (0, 23)])
    assert expire_events(path, now=NOW, keep_days=400) == Expired(1, 2)
    assert ages(store) == [400, 400]


@pytest.mark.sec("SEC-092")
@pytest.mark.fault("F17")
def test_what_was_not_exported_yet_stays(store, path):
    store.append_and_wait([made(403), made(402), made(401)])
    assert expire_events(path, now=NOW, keep_days=400, exported_to=2) == Expired(2, 2)
    assert ages(store) == [401]
    assert expire_events(path, now=NOW, keep_days=400, exported_to=0) == Expired(0, 0)


@pytest.mark.sec("SEC-092")
def test_what_is_removed_is_gone_from_the_files(store, path):
    store.append_and_wait([msgspec.structs.replace(made(401), features={"glucose": 77777.25}) for _ in range(50)])
    store.append_and_wait([made(0)])
    expire_events(path, now=NOW, keep_days=400)
    assert not any(b"77777.25" in file.read_bytes() for file in path.parent.iterdir())


@pytest.mark.sec("SEC-092")
@pytest.mark.fault("F20")
def test_a_clock_that_runs_ahead_removes_nothing(store, path):
    store.append_and_wait([made(days) for days in range(60, -1, -1)])
    with pytest.raises(SettingsError, match="61 days would be removed, a run removes 31 at most"):
        expire_events(path, now=NOW + timedelta(days=3650), keep_days=400)
    assert len(ages(store)) == 61
    assert expire_events(path, now=NOW + timedelta(days=3650), keep_days=400, catch_up=True) == Expired(61, 61)


@pytest.fixture
def time():
    return Time()


@pytest.fixture
def audit(tmp_path, time):
    return AuditLog(tmp_path / "audit", ALICE, time.clocks())


@pytest.mark.sec("SEC-092")
@pytest.mark.fault("F20")
@pytest.mark.parametrize(
    ("step_days", "later_days", "is_refused"),
    [
        pytest.param(3650, 1, True, id="ten years ahead, yesterday"),
        pytest.param(3650, 40, False, id="long ago: somebody would have noticed"),
        pytest.param(0.5, 1, False, id="half a day moves no day that matters"),
        pytest.param(-3650, 1, False, id="back: nothing goes too early"),
        pytest.param(None, 1, False, id="never set"),
    ],
)
def test_after_the_clock_was_set_forward_nothing_is_removed_for_a_month(audit, time, step_days, later_days, is_refused):
    audit.write("restored")
    if step_days is not None:
        time.passes(60, wall=step_days * 86_400)
        audit.note_clock()
    now = time.now + timedelta(days=later_days)
    if is_refused:
        with pytest.raises(SettingsError, match="it was set forward by 3650 days"):
            refuse_set_clock(audit, now)
    else:
        refuse_set_clock(audit, now)


def write_years(audit, time, years):
    for _ in range(years):
        for _ in range(4):
            audit.write("restored")
        time.passes(365.25 * 86_400)
    audit.write("restored")


@pytest.mark.sec("SEC-092", "SEC-102")
def test_a_year_of_the_audit_log_goes_whole_and_the_chain_says_so(audit, time):
    write_years(audit, time, 7)
    whole = verify(audit.folder)
    assert expire_audit(audit, now=time.now, keep_days=2192) == Expired(1, 4)
    found = verify(audit.folder)
    assert isinstance(found, Verified)
    assert (found.first, found.last) == (5, whole.last + 1)
    newest = max(audit.folder.iterdir())
    entry = [decode_entry(line.entry) for line in read_lines(newest.read_bytes())][-1]
    assert (entry.did, entry.counts) == ("audit_expired", {"entries": 4, "last": 4})
    assert expire_audit(audit, now=time.now, keep_days=2192) == Expired(0, 0)
    min(audit.folder.iterdir()).unlink()
    assert isinstance(verify(audit.folder), Broken), "a year that somebody else removed"


@pytest.mark.sec("SEC-092")
def test_more_than_a_year_of_the_audit_log_needs_a_person(audit, time):
    write_years(audit, time, 9)
    with pytest.raises(SettingsError, match="3 years of the audit log would be removed"):
        expire_audit(audit, now=time.now, keep_days=2192)
    assert expire_audit(audit, now=time.now, keep_days=2192, catch_up=True) == Expired(3, 12)
    assert isinstance(verify(audit.folder), Verified)


@pytest.mark.sec("SEC-092", "SEC-100")
def test_the_command_says_what_it_removed_and_leaves_it_on_record(store, path, tmp_path):
    today = datetime.now(UTC)
    for days in (402, 401, 1):
        at = today - timedelta(days=days)
        store.append_and_wait([msgspec.structs.replace(MADE, id=new_id(at), at=at, card=None)])
    settings = tmp_path / "settings.toml"
    settings.write_text(f'auth = "off-for-development"\nstate = {json.dumps(str(tmp_path))}\nkeep_events_days = 400\n')
    done = CliRunner().invoke(main, ["events", "expire", "--settings", str(settings)], catch_exceptions=False)
    assert done.output == "Removed: 2 days with 2 events, 0 years with 0 audit entries.\n"
    lines = b"".join(file.read_bytes() for file in (tmp_path / "audit").glob("*.jsonl"))
    entries = [decode_entry(line.entry) for line in read_lines(lines)]
    assert [(one.did, one.result, one.counts) for one in entries] == [
        ("events_expired", "begun", {}),
        ("events_expired", "done", {"days": 2, "events": 2}),
    ]
