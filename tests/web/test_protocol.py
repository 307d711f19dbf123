"""Heads that uvicorn would take, slow senders and slow readers: on a real socket."""

import time

import pytest

from cds_service.web.limits import Limits
from tests.web.raw import answers, connect, say, seconds_until_closed, status

GOOD = b"Host: 127.0.0.1\r\nConnection: close\r\n"
POST = b"POST /echo/1 HTTP/1.1\r\nContent-Type: application/json\r\n" + GOOD


@pytest.fixture(scope="module")
def port():
    from tests.web.served import Served, make_door

    limits = Limits()
    server = Served(make_door(limits), limits)
    yield server.port
    server.stop()


GET = b"GET /thing/1 HTTP/1.1\r\n"
HEADS = [
    ("a plain request", GET + GOOD + b"\r\n", 200),
    ("an empty line before it", b"\r\n" + GET + GOOD + b"\r\n", 200),
    ("100 fields", GET + GOOD + b"".join(b"x-%d: y\r\n" % n for n in range(98)) + b"\r\n", 200),
    ("101 fields", GET + GOOD + b"".join(b"x-%d: y\r\n" % n for n in range(99)) + b"\r\n", 400),
    ("a head of 31 KiB", GET + GOOD + b"x: " + b"y" * 31_000 + b"\r\n\r\n", 200),
    ("a head of 33 KiB", GET + GOOD + b"x: " + b"y" * 33_000 + b"\r\n\r\n", 400),
    ("a head of 2 MB", GET + GOOD + b"x: " + b"y" * 2_000_000 + b"\r\n\r\n", 400),
    ("a head of 1 MB that never ends", GET + GOOD + b"x: " + b"y" * 1_000_000, 400),
    ("many fields of a long head", GET + GOOD + b"".join(b"x%d: %s\r\n" % (n, b"y" * 400) for n in range(90)) + b"\r\n", 400),
    ("a target of 8,000 bytes", b"GET /thing/1?" + b"q" * 8000 + b" HTTP/1.1\r\n" + GOOD + b"\r\n", 200),
    ("a target of 9,000 bytes", b"GET /thing/1?" + b"q" * 9000 + b" HTTP/1.1\r\n" + GOOD + b"\r\n", 400),
    ("no Host", GET + b"Connection: close\r\n\r\n", 400),
    ("two Hosts", GET + GOOD + b"Host: 127.0.0.1\r\n\r\n", 400),
    ("an empty Host", GET + b"Host: \r\nConnection: close\r\n\r\n", 400),
    ("a Host with a path", GET + b"Host: a/../b?c\r\nConnection: close\r\n\r\n", 400),
    ("a Host with user information", GET + b"Host: a@127.0.0.1\r\nConnection: close\r\n\r\n", 400),
    ("a Host with a space", GET + b"Host: 127.0.0.1 evil\r\nConnection: close\r\n\r\n", 400),
    ("HTTP/1.0 with Host", b"GET /thing/1 HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n", 200),
    ("HTTP/1.0 without Host", b"GET /thing/1 HTTP/1.0\r\n\r\n", 400),
    ("Content-Length and Transfer-Encoding", POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("Transfer-Encoding and Content-Length", POST + b"Transfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n", 400),
    ("two Content-Lengths", POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}", 400),
    ("two equal Content-Lengths", POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}", 400),
    ("a list of Content-Lengths", POST + b"Content-Length: 2, 2\r\n\r\n{}", 400),
    ("a negative Content-Length", POST + b"Content-Length: -2\r\n\r\n{}", 400),
    ("a signed Content-Length", POST + b"Content-Length: +2\r\n\r\n{}", 400),
    ("a huge Content-Length", POST + b"Content-Length: 99999999999999999999999\r\n\r\n{}", 400),
    ("chunked twice", POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
    ("another transfer coding", POST + b"Transfer-Encoding: gzip\r\n\r\n0\r\n\r\n", 400),
    ("xchunked", POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400),
    ("two Transfer-Encodings", POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", 400),
    ("a chunked body", POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", 200),
    ("bare LF after the request line", b"GET /thing/1 HTTP/1.1\n" + GOOD + b"\r\n", 400),
    ("bare LF after a field", GET + b"Host: 127.0.0.1\nConnection: close\r\n\r\n", 400),
    ("bare LF everywhere", b"GET /thing/1 HTTP/1.1\nHost: 127.0.0.1\n\n", 400),
    ("bare CR in a value", GET + GOOD + b"x: a\rb\r\n\r\n", 400),
    ("a NUL in a value", GET + GOOD + b"x: a\x00b\r\n\r\n", 400),
    ("a control character in a value", GET + GOOD + b"x: a\x01b\r\n\r\n", 400),
    ("a folded value", GET + GOOD + b"x: a\r\n b\r\n\r\n", 400),
    ("a space before the colon", GET + GOOD + b"x : a\r\n\r\n", 400),
    ("no colon", GET + GOOD + b"x\r\n\r\n", 400),
    ("an empty field name", GET + GOOD + b": a\r\n\r\n", 400),
    ("a NUL in the target", b"GET /thing/1\x00 HTTP/1.1\r\n" + GOOD + b"\r\n", 400),
    ("a raw high byte in the target", b"GET /thing/\xe9 HTTP/1.1\r\n" + GOOD + b"\r\n", 400),
    ("an absolute target", b"GET http://evil.example/thing/1 HTTP/1.1\r\n" + GOOD + b"\r\n", 400),
    ("an asterisk", b"OPTIONS * HTTP/1.1\r\n" + GOOD + b"\r\n", 400),
    ("CONNECT", b"CONNECT 127.0.0.1:80 HTTP/1.1\r\n" + GOOD + b"\r\n", 400),
    ("a lower-case method", b"get /thing/1 HTTP/1.1\r\n" + GOOD + b"\r\n", 400),
    ("HTTP/2 preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400),
    ("HTTP/3.0", b"GET /thing/1 HTTP/3.0\r\n" + GOOD + b"\r\n", 400),
    ("no version", b"GET /thing/1\r\n\r\n", 400),
    ("a TLS hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    ("two spaces, which llhttp reads as one", b"GET  /thing/1 HTTP/1.1\r\n" + GOOD + b"\r\n", 200),
    ("an encoded slash", b"GET /thing%2F1 HTTP/1.1\r\n" + GOOD + b"\r\n", 200),
    ("bad percent", b"GET /thing/%zz HTTP/1.1\r\n" + GOOD + b"\r\n", 200),
    ("two Authorizations", GET + GOOD + b"Authorization: a\r\nAuthorization: b\r\n\r\n", 400),
    ("two Content-Types", POST + b"Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n{}", 400),
]  # fmt: skip


@pytest.mark.sec("SEC-041")
@pytest.mark.fault("F35")
@pytest.mark.parametrize(("data", "expected"), [pytest.param(*row[1:], id=row[0]) for row in HEADS])
def test_heads(port, data, expected):
    answer = say(port, data)
    assert status(answer) == expected
    if expected == 400:
        assert answers(answer) == 1
        assert b"connection: close" in answer.lower()
        assert b"OperationOutcome" in answer


@pytest.mark.fault("F35")
def test_nothing_after_a_refused_head_is_executed(port):
    smuggled = (
        b"POST /echo/2 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    )
    data = POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + smuggled
    assert answers(say(port, data)) == 1


def test_a_trailer_becomes_no_header(port):
    data = (
        POST.replace(b"Connection: close\r\n", b"")
        + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nHost: evil\r\n\r\n"
    )
    assert say(port, data) == b""


def test_pipelined_requests_are_answered_in_order(port):
    one = b"POST /echo/1 HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
    data = one % (2, b"{}") + one % (3, b"{ }") + POST + b"Content-Length: 4\r\n\r\n{  }"
    answer = say(port, data)
    assert [part[:1] for part in answer.split(b"\r\n\r\n")[1:]] == [b"2", b"3", b"4"]


@pytest.mark.parametrize("body", [b"", b"{}"])
def test_an_offer_of_another_protocol_is_passed_over(port, body):
    """Java's own client offers h2c on every plain request."""
    head = (
        b"POST /echo/1 HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA\r\nContent-Type: application/json\r\n"
    )
    answer = say(port, head + b"Content-Length: %d\r\n\r\n%s" % (len(body), body), timeout_s=5)
    assert status(answer) == 200
    assert b"connection: close" in answer.lower()


def test_expect_100_continue(port):
    with connect(port) as sock:
        sock.sendall(POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert sock.recv(1000).startswith(b"HTTP/1.1 100")
        sock.sendall(b"{}")
        assert status(sock.recv(1000)) == 200


FAST = Limits(head_s=1.0, body_s=2.0, body_bytes_per_s=1000, write_stall_s=2.0, keep_alive_s=1.0)


@pytest.mark.sec("SEC-040")
@pytest.mark.fault("F32")
@pytest.mark.parametrize(
    ("data", "drip"),
    [
        pytest.param(b"", b"", id="an idle connection"),
        pytest.param(b"GET /thing/1 HTTP/1.1\r\n", b"", id="a head that stops"),
        pytest.param(b"GET /thing/1 HTTP/1.1\r\n", b"x: y\r\n", id="a head that drips"),
        pytest.param(POST + b"Content-Length: 100000\r\n\r\n{", b"", id="a body that stops"),
        pytest.param(POST + b"Content-Length: 100000\r\n\r\n{", b" ", id="a body that drips"),
        pytest.param(POST + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n", id="chunks that drip"),
        pytest.param(GET + b"Host: 127.0.0.1\r\n\r\n", b"", id="kept alive and idle"),
        pytest.param(GET + b"Host: 127.0.0.1\r\n\r\nGET /", b"", id="kept alive, then a head that stops"),
    ],
)  # fmt: skip
def test_slow_senders_are_closed_in_time(served, data, drip):
    port = served(FAST).port
    with connect(port) as sock:
        sock.sendall(data)
        if not drip:
            waited = seconds_until_closed(sock, 8)
            assert waited is not None
            assert waited < 5
            return
        started = time.monotonic()
        sock.settimeout(0.1)
        while time.monotonic() - started < 8:
            try:
                sock.sendall(drip)
                if sock.recv(65536) == b"":
                    break
            except TimeoutError:
                continue
            except OSError:
                break
        assert time.monotonic() - started < 5


def test_a_slow_body_is_told_408(served):
    port = served(FAST).port
    with connect(port) as sock:
        sock.sendall(POST + b"Content-Length: 6000\r\n\r\n" + b" " * 4000)
        time.sleep(1)
        sock.sendall(b" " * 1500)
        sock.settimeout(6)
        answer = sock.recv(65536)
    assert status(answer) == 408
    assert b"connection: close" in answer


def test_a_client_that_does_not_read_its_answer_is_cut(served):
    server = served(FAST)
    with connect(server.port) as sock:
        sock.sendall(b"GET /big HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        time.sleep(4.5)
        assert not server.server.server_state.connections


@pytest.mark.sec("SEC-040")
@pytest.mark.fault("F32")
@pytest.mark.slow
def test_500_slow_clients_do_not_disturb_50_normal_ones(served):
    """All of the slow are closed in time; no normal one sees an error."""
    import concurrent.futures

    server = served(Limits(head_s=3.0, body_s=3.0))
    port = server.port
    slow = []
    kinds = (b"", b"GET /thing/1 HTTP/1.1\r\nHo", POST + b"Content-Length: 90000\r\n\r\n{")
    for n in range(500):
        sock = connect(port)
        sock.sendall(kinds[n % 3])
        slow.append(sock)
    request = POST + b"Content-Length: 2\r\n\r\n{}"

    def normal(_):
        started = time.monotonic()
        codes = [status(say(port, request)) for _ in range(6)]
        return codes, time.monotonic() - started

    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(normal, range(50)))
    assert {code for codes, _ in answers for code in codes} == {200}
    assert max(took for _, took in answers) < 10
    deadline = time.monotonic() + 8
    while server.server.server_state.connections and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not server.server.server_state.connections
    for sock in slow:
        sock.close()


@pytest.mark.sec("SEC-050")
@pytest.mark.fault("F31")
def test_connections_beyond_the_most_are_closed_at_once(served):
    port = served(Limits(connections=5)).port
    open_ones = [connect(port) for _ in range(5)]
    time.sleep(0.2)
    with connect(port) as one_more:
        waited = seconds_until_closed(one_more, 3)
    assert waited is not None
    assert waited < 1
    open_ones[0].sendall(GET + GOOD + b"\r\n")
    assert status(open_ones[0].recv(1000)) == 200
    for sock in open_ones:
        sock.close()
