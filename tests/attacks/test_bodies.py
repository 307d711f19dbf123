"""Bodies made to hurt, sent to the real application: the right status, no growth, nothing repeated, no 5xx."""

import gzip
import json
import socket
import threading
import time
import zlib
from pathlib import Path

import httpx
import psutil
import pytest

from tests.attacks.real import EXAMPLE, ORIGIN, SERVICE, real_process
from tests.web.raw import connect, status

CANARY = "Zanarkand"
POSTS = (SERVICE, f"{SERVICE}/feedback", "/predict/dysglycaemia", "/v2/models/dysglycaemia/infer")
JSON = {"content-type": "application/json"}
MIB = 2**20


@pytest.fixture(scope="module")
def process(tmp_path_factory):
    with real_process(tmp_path_factory.mktemp("real")) as (port, pid):
        yield port, psutil.Process(pid)


class Peak:
    """How far a process's memory rose above where it stood: Linux keeps the highest mark and lets it be reset."""

    def __init__(self, pid):
        self._folder = Path(f"/proc/{pid}")
        (self._folder / "clear_refs").write_text("5")
        self._before = self._mark("VmRSS")

    def grown(self):
        return self._mark("VmHWM") - self._before

    def _mark(self, name):
        lines = (self._folder / "status").read_text().splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


@pytest.fixture(scope="module")
def bomb():
    """A gigabyte in a megabyte."""
    packed = zlib.compressobj(9, wbits=31)
    return b"".join(packed.compress(b" " * MIB) for _ in range(1024)) + packed.flush()


@pytest.fixture
def client(process):
    with httpx.Client(base_url=f"http://127.0.0.1:{process[0]}", timeout=20) as client:
        yield client


def head(path, *fields):
    lines = [f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json", *fields]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


def pour(port, first, chunk, count):
    """Send a head and then up to ``count`` chunks; stop when an answer has come. (answer, seconds)."""
    started = time.monotonic()
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as sock:
        sock.sendall(first)
        sock.settimeout(0)
        sent = 0
        while sent < count and not answer:
            try:
                sock.settimeout(5)
                sock.sendall(chunk)
                sent += 1
                sock.settimeout(0)
                answer = sock.recv(65536)
            except BlockingIOError:
                continue
            except OSError:
                break
        sock.settimeout(5)
        try:
            while not answer.endswith(b"}"):
                more = sock.recv(65536)
                if not more:
                    break
                answer += more
        except OSError:
            pass
    return answer, time.monotonic() - started


@pytest.mark.sec("SEC-043")
@pytest.mark.fault("F30")
@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("told", ["true", "too much", "missing"])
def test_100_mb(process, path, told):
    port, running = process
    peak = Peak(running.pid)
    chunk = b" " * MIB
    if told == "missing":
        first, chunk = head(path, "Transfer-Encoding: chunked"), b"100000\r\n" + chunk + b"\r\n"
    else:
        first = head(path, f"Content-Length: {100 * MIB if told == 'true' else 10**12}")
    answer, took = pour(port, first, chunk, 100)
    assert status(answer) == 413
    assert b"connection: close" in answer
    assert took < 3
    assert peak.grown() < 32 * MIB


@pytest.mark.fault("F30")
def test_more_than_was_told_is_no_second_request(process):
    port, _ = process
    extra = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    answer, _ = pour(port, head(SERVICE, "Content-Length: 2", "Connection: close") + b"{}", extra, 1)
    assert answer.count(b"HTTP/1.1 4") == 1
    assert b"cds_http_requests_total" not in answer


@pytest.mark.sec("SEC-044")
@pytest.mark.parametrize("path", POSTS)
def test_a_bomb_of_a_gigabyte(client, process, bomb, path):
    peak = Peak(process[1].pid)
    response = client.post(path, content=bomb, headers={**JSON, "content-encoding": "gzip"})
    assert response.status_code == 413
    assert peak.grown() < 32 * MIB


@pytest.mark.sec("SEC-044")
def test_a_plain_gzip_body_is_answered_like_the_plain_one(client):
    body = json.dumps(EXAMPLE).encode()
    plain = client.post(SERVICE, content=body, headers=JSON)
    packed = client.post(SERVICE, content=gzip.compress(body), headers={**JSON, "content-encoding": "gzip"})
    assert (plain.status_code, packed.status_code) == (200, 200)
    assert plain.json()["cards"][0]["summary"] == packed.json()["cards"][0]["summary"]


@pytest.mark.sec("SEC-044", "SEC-043")
@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"content-type": "application/json", "content-encoding": "br"}, 415),
        ({"content-type": "application/json", "content-encoding": "deflate"}, 415),
        ({"content-type": "application/json", "content-encoding": "gzip"}, 400),
        ({"content-type": "application/x-www-form-urlencoded"}, 415),
        ({"content-type": "multipart/form-data; boundary=x"}, 415),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/xml"}, 415),
        ({}, 415),
    ],
)
def test_types_and_encodings(client, path, headers, expected):
    response = client.post(path, content=f'{{"{CANARY}": 1}}'.encode(), headers=headers)
    assert response.status_code == expected
    assert CANARY not in response.text


def with_prefetch(key, text):
    """The example with one key's content replaced by raw text."""
    body = json.dumps({**EXAMPLE, "prefetch": {**EXAMPLE["prefetch"], key: "HERE"}})
    return body.replace('"HERE"', text).encode()


OBSERVATION = '{"resourceType":"Observation","id":"o","status":"final","code":{"coding":[{"system":"http://loinc.org","code":"2345-7"}]},%s}'
BUNDLE = '{"resourceType":"Bundle","type":"searchset","entry":[%s]}'


def bundle_of(*more):
    return BUNDLE % ",".join('{"resource":%s}' % (OBSERVATION % one) for one in more)


ATTACKS = [
    pytest.param(b"", id="nothing"),
    pytest.param(b"Zanarkand", id="a word"),
    pytest.param(b"null", id="null"),
    pytest.param(b"[]", id="a list"),
    pytest.param(b'"Zanarkand"', id="a text"),
    pytest.param(b"7", id="a number"),
    pytest.param(b"{", id="cut"),
    pytest.param(b"{}{}", id="two objects"),
    pytest.param(b"\xef\xbb\xbf{}", id="a byte order mark"),
    pytest.param(json.dumps(EXAMPLE).encode("utf-16"), id="UTF-16"),
    pytest.param(b'{"hook": "\xff\xfe"}', id="not UTF-8"),
    pytest.param(b'{"hook": "\xed\xa0\x80"}', id="a surrogate in UTF-8"),
    pytest.param(b'{"hook": "\\ud800"}', id="a lone surrogate"),
    pytest.param(b'{"hook": NaN}', id="NaN"),
    pytest.param(b'{"hook": -Infinity}', id="Infinity"),
    pytest.param(b'{"hook": 1e999}', id="beyond a double"),
    pytest.param(b'{"hook": ' + b"9" * 5000 + b"}", id="5,000 digits"),
    pytest.param(b"[" * 200_000, id="200,000 lists"),
    pytest.param(b'{"a":' * 200_000, id="200,000 objects"),
    pytest.param(b'{"prefetch":{"labs":' + b"[" * 100_000 + b"]" * 100_000 + b"}}", id="closed and deep"),
    pytest.param(b'{"context": {"patientId": {"a": ["Zanarkand"]}}}', id="wrong types"),
    pytest.param(b"{" + b",".join(b'"k%d":1' % n for n in range(300_000)) + b"}", id="300,000 members"),
    pytest.param(b'{"hook": "' + b"x" * 3_000_000 + b'"}', id="a text of 3 MB"),
    pytest.param(b'{"hook":"patient-view","hook":"Zanarkand"}', id="a member twice"),
]  # fmt: skip


@pytest.mark.sec("SEC-045", "SEC-046", "SEC-085")
@pytest.mark.fault("F34")
@pytest.mark.ch("CH-074")
@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize("body", ATTACKS)
def test_what_is_no_request_is_400(client, path, body):
    response = client.post(path, content=body, headers=JSON)
    assert response.status_code in {400, 413}
    assert CANARY not in response.text
    if path.startswith("/v2"):
        assert list(response.json()) == ["error"]
    else:
        assert response.json()["resourceType"] == "OperationOutcome"
        assert response.json()["issue"]


INSIDE = [
    pytest.param(bundle_of('"valueQuantity":{"value":NaN}'), {400}, id="NaN"),
    pytest.param(bundle_of('"valueQuantity":{"value":1e999}'), {200, 400, 412}, id="beyond a double"),
    pytest.param(bundle_of('"valueQuantity":{"value":%s}' % ("9" * 400)), {200, 400, 412}, id="400 digits"),
    pytest.param(bundle_of('"note":"\\ud800"'), {200, 400, 412}, id="a lone surrogate"),
    pytest.param(bundle_of('"subject":{}{}'.format("[" * 5000, "]" * 5000)), {200, 400, 412}, id="5,000 deep"),
    pytest.param(bundle_of('"x":{}{}'.format("[" * 100_000, "]" * 100_000)), {200, 400, 412}, id="100,000 deep, not needed"),
    pytest.param(bundle_of(*['"id":"x"'] * 5_001), {400, 413}, id="5,001 resources"),
    pytest.param(bundle_of('"text":{"div":"%s"}' % ("x" * 2_000_000)), {200, 400, 412, 413}, id="a text of 2 MB"),
    pytest.param(bundle_of('"effectiveDateTime":"0001","valueQuantity":{"value":1}'), {200, 400, 412}, id="the year 1"),
    pytest.param(bundle_of('"effectiveDateTime":"9999","valueQuantity":{"value":1}'), {200, 400, 412}, id="the year 9999"),
    pytest.param('{"resourceType":"Patient"}', {200, 400, 412}, id="another type"),
    pytest.param('"Zanarkand"', {200, 400, 412}, id="a text"),
    pytest.param("7", {200, 400, 412}, id="a number"),
    pytest.param("[]", {200, 400, 412}, id="a list"),
    pytest.param("true", {200, 400, 412}, id="true"),
    pytest.param("{}", {200, 400, 412}, id="an empty object"),
    pytest.param('{"resourceType":"OperationOutcome","issue":[]}', {200, 412}, id="refused"),
    pytest.param(BUNDLE % "null", {200, 400, 412}, id="an entry that is null"),
    pytest.param(BUNDLE % '{"resource":null}', {200, 400, 412}, id="a resource that is null"),
    pytest.param(BUNDLE % '{"resource":[]}', {200, 400, 412}, id="a resource that is a list"),
    pytest.param('{"resourceType":"Bundle","entry":{}}', {200, 400, 412}, id="entries as an object"),
]  # fmt: skip


@pytest.mark.sec("SEC-045", "SEC-046", "SEC-085")
@pytest.mark.fault("F33", "F34")
@pytest.mark.parametrize("key", sorted(EXAMPLE["prefetch"]))
@pytest.mark.parametrize(("text", "expected"), INSIDE)
def test_hostile_content_of_a_key(client, key, text, expected):
    response = client.post(SERVICE, content=with_prefetch(key, text), headers=JSON)
    assert response.status_code in expected, response.text
    assert CANARY not in response.text


@pytest.mark.sec("SEC-041")
@pytest.mark.fault("F35")
@pytest.mark.parametrize("path", POSTS)
@pytest.mark.parametrize(
    "ending",
    [
        pytest.param(b"0\r\nX-Checksum: 1\r\n\r\n", id="a trailer"),
        pytest.param(b"0\r\nHost: evil.example\r\n\r\n", id="a trailer that names a host"),
        pytest.param(b"zz\r\n", id="a size that is none"),
        pytest.param(b"-2\r\n{}\r\n0\r\n\r\n", id="a negative size"),
    ],
)
def test_a_chunked_body_that_ends_wrongly_is_cut_off_without_an_answer(process, path, ending):
    with connect(process[0]) as sock:
        sock.sendall(head(path, "Transfer-Encoding: chunked") + b"2\r\n{}\r\n" + ending)
        assert sock.recv(1) == b""


@pytest.mark.fault("F41")
@pytest.mark.parametrize("moment", ["0001-01-01", "0001-01-01T00:00:00Z", "9999-12-31", "9999-12-31T23:59:59Z"])
def test_feedback_of_any_year(client, moment):
    one = {"card": "7c1c9a52-0000-4000-8000-00000000000a", "outcome": "overridden", "outcomeTimestamp": moment}
    assert client.post(f"{SERVICE}/feedback", json={"feedback": [one]}).status_code == 200


@pytest.mark.sec("SEC-046")
def test_too_many_prefetch_keys(client):
    many = {f"k{n}": None for n in range(65)}
    body = {**EXAMPLE, "prefetch": {**EXAMPLE["prefetch"], **many}}
    assert client.post(SERVICE, json=body).status_code == 413


def served_routes(client):
    """(method, path) of everything that the service says it serves."""
    document = client.get("/openapi.json").json()
    for path, item in document["paths"].items():
        for method in item:
            if method in {"get", "post"}:
                yield method.upper(), path.replace("{model}", "dysglycaemia").replace("{version}", "1.1.0")


@pytest.mark.sec("SEC-042")
def test_a_forged_host_opens_no_route(client):
    for method, path in served_routes(client):
        for host in ("evil.example", "127.0.0.1.evil.example", "127.0.0.1@evil"):
            response = client.request(
                method, path, headers={**JSON, "host": host}, content=b"{}" if method == "POST" else None
            )
            assert response.status_code == 400, path


@pytest.mark.sec("SEC-060", "SEC-061", "SEC-089")
@pytest.mark.ch("CH-280", "CH-281")
def test_headers_and_cors_on_every_route_and_error(client):
    seen = set()
    for method, path in [*served_routes(client), ("GET", "/docs"), ("GET", "/nothing"), ("PUT", SERVICE)]:
        for origin in (ORIGIN, "https://evil.example", "null"):
            response = client.request(method, path, headers={**JSON, "origin": origin})
            seen.add(response.status_code)
            assert response.headers["x-content-type-options"] == "nosniff"
            assert response.headers["referrer-policy"] == "no-referrer"
            assert response.headers["cache-control"] == "no-store"
            assert "server" not in response.headers
            assert response.headers.get("access-control-allow-origin") == (origin if origin == ORIGIN else None)
        asked = {"origin": ORIGIN, "access-control-request-method": method}
        preflight = client.request("OPTIONS", path, headers=asked)
        assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (204, ORIGIN)
    assert {200, 400, 404, 405} <= seen


@pytest.mark.sec("SEC-052")
def test_hostile_bodies_do_not_hold_the_event_loop(client, process, bomb):
    """Measured on the reference machine: p99 of health 5 to 9 ms meanwhile; here only that nobody waits for seconds."""
    packed = {**JSON, "content-encoding": "gzip"}
    wide = b"{" + b",".join(b'"k%d":1' % n for n in range(300_000)) + b"}"
    bodies = [(bomb, packed), (wide, JSON), (b'{"hook":"' + b"x" * 3_000_000 + b'"}', JSON)]
    waits = []
    over = threading.Event()

    def ask_health():
        with httpx.Client(base_url=f"http://127.0.0.1:{process[0]}", timeout=20) as other:
            while not over.is_set():
                started = time.monotonic()
                assert other.get("/health/live").status_code == 200
                waits.append(time.monotonic() - started)
                time.sleep(0.005)

    asking = threading.Thread(target=ask_health)
    asking.start()
    for _ in range(10):
        for content, headers in bodies:
            assert client.post(SERVICE, content=content, headers=headers).status_code in {400, 413}
    over.set()
    asking.join()
    assert len(waits) > 5
    assert max(waits) < 1


@pytest.mark.fault("F30")
def test_after_all_that_it_still_answers_and_has_not_grown(client, process):
    response = client.post(SERVICE, json=EXAMPLE)
    assert (response.status_code, len(response.json()["cards"])) == (200, 1)
    metrics = client.get("/metrics").text
    assert "cds_http_failures_total 0" in metrics
    assert "cds_http_in_work 1" in metrics or "cds_http_in_work 0" in metrics
    assert "cds_http_body_bytes_held 0" in metrics
    assert CANARY not in metrics
    assert process[1].memory_info().rss < 400 * MIB
