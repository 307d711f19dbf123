"""What every request passes: host, CORS, headers, deadline, places in work."""

import asyncio
import re
import time

import pytest

from cds_service.errors import SettingsError
from cds_service.web.call import Gate
from cds_service.web.cors import CORS
from cds_service.web.limits import BOUNDS, Limits
from tests.web.served import ask, make_door, make_routes, send

JSON = {"content-type": "application/json"}


@pytest.mark.sec("SEC-042")
@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("testserver", 200), ("TESTSERVER", 200), ("testserver:8443", 200), ("127.0.0.1:1", 200),
        ("evil.example", 400), ("testserver.evil.example", 400), ("testserver:x", 400), ("testserver:", 400),
        ("testserver@evil", 400), ("", 400), ("a/../b?c", 400), ("[::1]", 400), ("testserver, evil", 400),
    ],
)  # fmt: skip
def test_only_the_names_that_are_ours(host, status):
    for path in ("/thing/1", "/health/live"):
        assert ask(make_door(), "GET", path, headers={"host": host}).status_code == status
    assert ask(make_door(), "POST", "/echo/1", json={}, headers={"host": host}).status_code == status


def test_a_host_may_be_given_with_its_port():
    door = make_door(hosts=("cds.example:8443", "[::1]"))
    for host, status in (("cds.example:8443", 200), ("cds.example", 400), ("[::1]", 200), ("[::1]:80", 200)):
        assert ask(door, "GET", "/thing/1", headers={"host": host}).status_code == status


@pytest.mark.parametrize("hosts", [(), ("*",), ("cds.example", "*")])
def test_any_host_is_for_development_only(hosts):
    with pytest.raises(SettingsError, match="any host would be answered"):
        make_door(hosts=hosts)
    if hosts:
        door = make_door(hosts=hosts, development=True)
        assert ask(door, "GET", "/thing/1", headers={"host": "any.example"}).status_code == 200


@pytest.mark.ch("CH-280", "CH-282")
@pytest.mark.sec("SEC-060")
@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://ehr.example", True), ("https://ehr.example.evil", False), ("https://evil-ehr.example", False),
        ("http://ehr.example", False), ("https://ehr.example:8443", False), ("null", False), ("", False),
        ("HTTPS://EHR.EXAMPLE", False), ("https://EHR.example", False), ("*", False),
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/thing/1", 200), ("GET", "/nothing", 404), ("DELETE", "/thing/1", 405), ("GET", "/fail/BadRequest", 400),
        ("GET", "/fail/NotAllowed", 401), ("GET", "/fail/DataUnavailable", 412), ("GET", "/fail/x", 500),
        ("POST", "/echo/1", 415), ("GET", "/fail/Overloaded", 503),
    ],
)  # fmt: skip
def test_listed_origins_may_read_every_answer_and_others_none(origin, allowed, method, path, status):
    response = ask(make_door(), method, path, headers={"origin": origin})
    assert response.status_code == status
    assert response.headers.get("access-control-allow-origin") == ("https://ehr.example" if allowed else None)
    assert response.headers.get_list("vary") == ["Origin"]
    assert "access-control-allow-credentials" not in response.headers


@pytest.mark.ch("CH-280")
def test_a_refused_host_is_told_to_a_listed_page():
    response = ask(make_door(), "GET", "/thing/1", headers={"origin": "https://ehr.example", "host": "evil"})
    assert (response.status_code, response.headers["access-control-allow-origin"]) == (400, "https://ehr.example")


@pytest.mark.ch("CH-281")
@pytest.mark.parametrize("path", ["/echo/1", "/thing/1", "/nothing"])
@pytest.mark.parametrize("origin", ["https://ehr.example", "https://evil.example"])
def test_preflights_are_answered_before_anything_else(path, origin):
    headers = {
        "origin": origin,
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization, content-type",
    }
    response = ask(make_door(), "OPTIONS", path, headers=headers)
    assert response.status_code == 204
    assert response.content == b""
    if origin == "https://ehr.example":
        assert response.headers.get_list("access-control-allow-origin") == [origin]
        assert response.headers["access-control-allow-methods"] == "GET, POST"
        assert response.headers["access-control-allow-headers"] == "authorization, content-type"
    else:
        assert not [name for name in response.headers if name.startswith("access-control-")]


def test_any_origin_in_development():
    door = make_door(origins=("*",), development=True)
    response = ask(door, "GET", "/thing/1", headers={"origin": "https://somewhere.example"})
    assert response.headers["access-control-allow-origin"] == "*"
    assert "vary" not in response.headers


@pytest.mark.ch("CH-282")
@pytest.mark.parametrize(
    "origin",
    ["*", "null", "https://ehr.example/", "https://", "ehr.example", "ftp://ehr.example", "https://u@ehr.example",
     "https://EHR.example", "https://*.example", "https://ehr.example\n"],
)  # fmt: skip
def test_what_is_no_origin_is_refused_at_start(origin):
    with pytest.raises(SettingsError, match=r"cors_origins\[1\]"):
        CORS(["https://ok.example", origin])


@pytest.mark.sec("SEC-061", "SEC-089")
def test_every_answer_of_every_route_has_the_headers():
    ids = set()
    for route in make_routes(Limits()):
        for method in ("GET", "POST", "OPTIONS", "DELETE"):
            if route.path in {"/slow", "/half", "/big"}:
                continue
            response = ask(make_door(), method, re.sub(r"\{\w+\}", "1", route.path), headers={"x-request-id": "mine"})
            assert response.headers["x-content-type-options"] == "nosniff"
            assert response.headers["referrer-policy"] == "no-referrer"
            assert response.headers.get_list("cache-control") in (["no-store"], ["max-age=5"])
            assert "default-src 'none'" in response.headers["content-security-policy"]
            assert "server" not in response.headers
            assert re.fullmatch("[0-9a-f]{16}", response.headers["x-request-id"])
            ids.add(response.headers["x-request-id"])
    assert len(ids) > 20


def test_what_a_page_says_of_itself_stands():
    assert ask(make_door(), "GET", "/thing/1").headers["cache-control"] == "max-age=5"


@pytest.mark.sec("SEC-049")
def test_late_work_is_cancelled_and_said():
    door = make_door(Limits(deadline_s=0.2))
    started = time.monotonic()
    response = ask(door, "GET", "/slow")
    assert time.monotonic() - started < 1
    assert (response.status_code, response.headers["retry-after"]) == (503, "2")
    assert door.gate.working == 0
    assert 0.1 < float(ask(door, "GET", "/left").text) <= 0.2


@pytest.mark.sec("SEC-050")
def test_beyond_the_queue_callers_are_told_to_come_back():
    limits = Limits(in_work=2, queue=3, deadline_s=5)

    async def run():
        door = make_door(limits)
        asked = [asyncio.create_task(send(door, "GET", "/slow?s=0.3")) for _ in range(12)]
        await asyncio.sleep(0.1)
        health = await send(door, "GET", "/health/live")
        assert (door.gate.working, door.gate.waiting) == (2, 3)
        answers = await asyncio.gather(*asked)
        assert (door.gate.working, door.gate.waiting) == (0, 0)
        return health, answers

    health, answers = asyncio.run(run())
    assert health.status_code == 200
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [200] * 5 + [503] * 7
    assert all("retry-after" in answer.headers for answer in answers if answer.status_code == 503)


def test_a_place_is_never_lost_when_those_who_wait_give_up():
    async def run():
        gate = Gate(Limits(in_work=1, queue=10))
        await gate.enter()
        waiting = [asyncio.create_task(gate.enter()) for _ in range(3)]
        await asyncio.sleep(0)
        waiting[0].cancel()
        await asyncio.sleep(0)
        gate.leave()  # gives the place to the second …
        waiting[1].cancel()  # … who gives up in the same turn of the loop
        await asyncio.gather(*waiting, return_exceptions=True)
        assert not waiting[2].cancelled()
        gate.leave()
        return gate.working, gate.waiting

    assert asyncio.run(run()) == (0, 0)


def test_an_answer_that_breaks_off_is_cut_and_not_mended():
    heard = []

    async def run():
        async def receive():
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message):
            heard.append(message)

        scope = {
            "type": "http", "method": "GET", "path": "/half", "headers": [(b"host", b"testserver")], "scheme": "http",
            "query_string": b"", "root_path": "",
        }  # fmt: skip
        await make_door()(scope, receive, send)

    asyncio.run(run())
    assert [message["type"] for message in heard] == ["http.response.start", "http.response.body"]
    assert heard[1]["more_body"] is True  # the server closes a connection whose answer did not end


def test_limits_outside_their_bounds_are_all_named():
    with pytest.raises(SettingsError) as caught:
        Limits(body_s=0, in_work=10**9, deadline_s=float("nan"))
    assert [fault.where for fault in caught.value.faults] == ["limits.body_s", "limits.deadline_s", "limits.in_work"]
    assert set(BOUNDS) == set(Limits.__slots__)
