"""A token is used once: by many at once, by two processes, after a restart, and not at all when nobody can tell."""

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import httpx
import pytest

from cds_service.api.caller import Reservations
from cds_service.errors import Fault, StoreUnavailable, TokenUsed
from cds_service.events.ids import new_id
from cds_service.events.schema import CallRefused
from cds_service.events.store import open_store
from cds_service.events.used_tokens import forget_ended, used_token
from tests.auth import tokens
from tests.auth.tokens import CALL, NOW, body, real_claims, sign, token

ROOT = Path(__file__).parents[2]
PORTS = (18901, 18902)
pytestmark = pytest.mark.sec("SEC-012")


def refused_event():
    return CallRefused(id=new_id(NOW), at=NOW, door="hook", reason="bad_request", status=400)


@pytest.fixture
def store(tmp_path):
    store = open_store(tmp_path / "events" / "events.db")
    yield store
    store.close()


# the store


def test_a_second_use_keeps_nothing(store):
    async def use():
        first = await store.append([refused_event()], used_token("iss", "jti", 100))
        with pytest.raises(TokenUsed):
            await store.append([refused_event(), refused_event()], used_token("iss", "jti", 100))
        with pytest.raises(TokenUsed):
            await store.append((), used_token("iss", "jti", 100))
        other = await store.append((), used_token("other", "jti", 100))
        return first, other, await store.append([refused_event()])

    first, other, last = asyncio.run(use())
    assert (first, other, last) == ((1,), (), (2,))
    assert len(store.read(0, 10)) == 2


def test_in_one_commit_only_the_second_use_is_refused(store):
    """64 appends at once, every token twice: half go in, with their events and in order, and half are refused."""

    async def use():
        return await asyncio.gather(
            *(store.append([refused_event()], used_token("iss", str(n // 2), 100)) for n in range(64)),
            *(store.append([refused_event()]) for _ in range(8)),
            return_exceptions=True,
        )

    told = asyncio.run(use())
    kept = [seqs for seqs in told if isinstance(seqs, tuple)]
    assert len(kept) == 32 + 8
    assert sum(isinstance(one, TokenUsed) for one in told) == 32
    assert sorted(seq for (seq,) in kept) == [stored.seq for stored in store.read_all()]


def test_a_token_outlives_the_process(tmp_path):
    path = tmp_path / "events" / "events.db"
    one = used_token("iss", "jti", 100)
    store = open_store(path)
    asyncio.run(store.append((), one))
    store.close()
    store = open_store(path)
    with pytest.raises(TokenUsed):
        asyncio.run(store.append((), one))
    store.close()


def test_a_store_of_the_first_format_is_brought_up(tmp_path):
    path = tmp_path / "events" / "events.db"
    store = open_store(path)
    store.append_and_wait([refused_event()])
    store.close()
    with contextlib.closing(sqlite3.connect(path)) as old:
        old.executescript("DROP TABLE used_token; PRAGMA user_version = 1;")
    store = open_store(path)
    assert len(store.read(0, 10)) == 1
    assert asyncio.run(store.append((), used_token("iss", "jti", 100))) == ()
    store.close()


def test_rows_go_when_the_token_has_ended(store, tmp_path):
    for number, until in enumerate((100, 5_000, 10_000)):
        asyncio.run(store.append((), used_token("iss", str(number), until)))
    store.close()
    with contextlib.closing(sqlite3.connect(tmp_path / "events" / "events.db")) as connection:
        assert forget_ended(connection, 3_700) == 0  # an hour longer: a clock that was wrong brings none back
        assert forget_ended(connection, 8_601) == 2
        assert connection.execute("SELECT until FROM used_token").fetchall() == [(10_000,)]


def test_no_row_says_what_a_token_said(store, tmp_path):
    asyncio.run(store.append((), used_token("https://secret.example", "canary-jti", 100)))
    store.close()
    written = b"".join(file.read_bytes() for file in (tmp_path / "events").iterdir())
    assert b"canary" not in written
    assert b"secret.example" not in written


# one process


def test_many_at_once_in_one_process(ehr):
    one = token("/cds-services")
    answers = ehr.together([one] * 32)
    assert sorted(answer.status_code for answer in answers) == [200] + [401] * 31


@pytest.mark.ch("CH-325")
def test_a_second_call_is_refused_until_the_token_has_ended(ehr):
    one = token()
    assert ehr.call(one).status_code == 200
    for later in (1, 200, 359):
        ehr.parts.clock.now = NOW + timedelta(seconds=later)
        assert ehr.call(one).status_code == 401


def test_a_refused_body_uses_its_token_up(ehr):
    one = token()
    assert ehr.send("POST", CALL, token=one, json={}).status_code == 400
    assert ehr.call(one).status_code == 401


def test_a_forged_token_uses_nothing_up(ehr):
    """A stranger who guesses an id can't block the EHR (B-019)."""
    given = tokens.claims(jti="the-next-one")
    assert ehr.call(sign(given, key=tokens.OTHER)).status_code == 401
    assert ehr.call(sign(given)).status_code == 200


@pytest.mark.sec("SEC-013")
@pytest.mark.parametrize("events_required", [True, False])
def test_nobody_gets_in_when_the_store_is_gone(events_required, started, tmp_path):
    asker = started(tokens.write_clients(tmp_path), events_required=events_required)
    assert asker.call(token()).status_code == 200
    asker.parts.store.close()
    for path, sent in (("/cds-services", None), (CALL, body())):
        answer = asker.send("GET" if sent is None else "POST", path, token=token(path), json=sent)
        assert answer.status_code == 503
        assert b"cards" not in answer.content


def test_reservations_end_by_a_clock_that_never_goes_back():
    now = [0.0]
    held = Reservations(lambda: now[0])
    one, other = used_token("iss", "1", 0), used_token("iss", "2", 0)
    assert held.take(one, 60)
    assert not held.take(one, 60)
    assert held.take(other, 10)
    now[0] = 61
    assert held.take(one, 60)
    assert len(held) == 1


# real processes


@contextlib.contextmanager
def server(folder, port):
    with (folder / f"log-{port}").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.auth.server_child", str(folder), str(port)], cwd=ROOT, stderr=log, stdout=log
        )
        try:
            until = time.monotonic() + 30
            while True:
                with contextlib.suppress(httpx.HTTPError):
                    if httpx.get(f"http://127.0.0.1:{port}/health/ready", timeout=2).status_code == 200:
                        break
                assert process.poll() is None, (folder / f"log-{port}").read_text()
                assert time.monotonic() < until
                time.sleep(0.05)
            yield process
        finally:
            process.terminate()
            process.wait(20)


async def at_once(one, ports, each, *, scheme="http", verify=True):
    headers = {"Authorization": f"Bearer {one}"}
    async with httpx.AsyncClient(limits=httpx.Limits(max_connections=64), timeout=20, verify=verify) as client:
        return await asyncio.gather(
            *(
                client.post(f"{scheme}://127.0.0.1:{port}{CALL}", json=body(), headers=headers)
                for _ in range(each)
                for port in ports
            )
        )


@pytest.mark.fault("F36")
@pytest.mark.slow
@pytest.mark.ch("CH-325")
def test_sixteen_times_two_processes_and_a_restart(tmp_path):
    """One token, 16 callers at each of two processes on one store: one 200. After a restart of both: none."""
    tokens.write_clients(tmp_path)
    tokens.write_assets(tmp_path)
    used = [sign(real_claims()) for _ in range(5)]
    with server(tmp_path, PORTS[0]), server(tmp_path, PORTS[1]):
        for one in used:
            answers = asyncio.run(at_once(one, PORTS, 16))
            assert sorted(answer.status_code for answer in answers) == [200] + [401] * 31
            assert len({answer.content for answer in answers if answer.status_code == 401}) == 1
    with server(tmp_path, PORTS[0]):
        for one in used:
            assert [answer.status_code for answer in asyncio.run(at_once(one, PORTS[:1], 2))] == [401, 401]
        assert asyncio.run(at_once(sign(real_claims()), PORTS[:1], 1))[0].status_code == 200
    kept = open_store(tmp_path / "state" / "events" / "events.db")
    assert len(kept.read(0, 100)) == 6, "an event for each answer that left, none for a refused one"
    kept.close()


def test_an_append_that_fails_spends_the_token_in_this_process(started, tmp_path, monkeypatch):
    """Whether the commit arrived is not known: the token stays used here, and the EHR sends a new one."""
    asker = started(tokens.write_clients(tmp_path))
    fault = StoreUnavailable(Fault("disk", "full", "free it"))
    real = asker.parts.store.append

    async def failing(*_):
        raise fault

    one = token()
    monkeypatch.setattr(asker.parts.trust.authenticate, "_append", failing)
    assert asker.call(one).status_code == 503
    monkeypatch.setattr(asker.parts.trust.authenticate, "_append", real)
    assert asker.call(one).status_code == 401
