"""The body of a request: type, encoding, size, in whatever pieces it comes."""

import asyncio
import gzip
import tracemalloc
import zlib

import pytest
from starlette.requests import ClientDisconnect

from cds_service.errors import BadRequest, Overloaded, TooLarge, UnsupportedMedia
from cds_service.web.body import read_body
from cds_service.web.call import Call, Gate
from cds_service.web.limits import Limits

LIMITS = Limits(body_bytes=100_000 * 10)
JSON = (b"content-type", b"application/json")


def scope_of(*headers):
    return {"type": "http", "headers": [JSON, *headers]}


def pieces(*chunks, gone=False):
    """A ``receive`` that gives these chunks."""
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks[:-1]]
    messages.append(
        {"type": "http.disconnect"} if gone else {"type": "http.request", "body": chunks[-1], "more_body": False}
    )
    left = iter(messages)

    async def receive():
        return next(left)

    return receive


def read(scope, receive, limits=LIMITS):
    return asyncio.run(read_body(scope, receive, limits))


@pytest.mark.parametrize("chunks", [[b"{}"], [b"{", b"}"], [b"", b"{}", b""], [b"{}", b""], [b"x" * 9] * 50])
def test_pieces_are_joined(chunks):
    assert read(scope_of(), pieces(*chunks)) == b"".join(chunks)


@pytest.mark.ch("CH-074")
@pytest.mark.parametrize(
    ("media_type", "read_"),
    [
        (b"application/json", True), (b"application/fhir+json", True), (b"Application/JSON", True),
        (b"application/json; charset=utf-8", True), (b"application/json;charset=UTF-8", True),
        (b" application/json ", True), (b"application/fhir+json; fhirVersion=4.0", True),
        (b"", False), (b"text/plain", False), (b"text/json", False), (b"application/jsonp", False),
        (b"application/x-www-form-urlencoded", False), (b"multipart/form-data; boundary=x", False),
        (b"application/xml", False), (b"application/json, text/plain", False), (b"*/*", False),
        (b"application/fhir+xml", False), (b"application/octet-stream", False), (b"json", False),
    ],
)  # fmt: skip
def test_media_types(media_type, read_):
    scope = {"type": "http", "headers": [(b"content-type", media_type)]}
    if read_:
        assert read(scope, pieces(b"{}")) == b"{}"
    else:
        with pytest.raises(UnsupportedMedia):
            read(scope, pieces(b"{}"))


def test_no_content_type_is_not_guessed():
    with pytest.raises(UnsupportedMedia):
        read({"type": "http", "headers": []}, pieces(b"{}"))


@pytest.mark.sec("SEC-043")
@pytest.mark.parametrize("size", [1_000_000, 1_000_001])
@pytest.mark.parametrize("chunk", [1_000_001, 65_536, 999_999])
@pytest.mark.parametrize("told", ["true", "missing", "too little"])
def test_the_limit_counts_what_comes(size, chunk, told):
    data = b"x" * size
    chunks = [data[start : start + chunk] for start in range(0, size, chunk)]
    length = {
        "true": [(b"content-length", str(size).encode())],
        "missing": [],
        "too little": [(b"content-length", b"2")],
    }
    scope = scope_of(*length[told])
    if size > LIMITS.body_bytes:
        with pytest.raises(TooLarge):
            read(scope, pieces(*chunks))
    else:
        assert len(read(scope, pieces(*chunks))) == size


@pytest.mark.parametrize("length", [b"1000001", b"99999999999999999999", b"-1", b"x", b"", b"1e3", "²".encode()])
def test_a_length_beyond_the_limit_is_refused_before_reading(length):
    async def never():
        raise AssertionError("read")

    with pytest.raises(TooLarge):
        read(scope_of((b"content-length", length)), never)


def test_who_goes_away_is_no_error_of_ours():
    for receive in (pieces(b"{", b"", gone=True), pieces(b"", gone=True)):
        with pytest.raises(ClientDisconnect):
            read(scope_of(), receive)


@pytest.mark.sec("SEC-044")
@pytest.mark.parametrize("encoding", [b"br", b"deflate", b"zstd", b"compress", b"gzip, gzip", b"gzip;q=1"])
def test_other_encodings(encoding):
    with pytest.raises(UnsupportedMedia):
        read(scope_of((b"content-encoding", encoding)), pieces(b"{}"))


@pytest.mark.sec("SEC-044")
@pytest.mark.parametrize("encoding", [b"gzip", b"GZIP", b" gzip ", b"x-gzip"])
@pytest.mark.parametrize("chunk", [1, 10, 100_000])
def test_a_gzip_body_is_read(encoding, chunk):
    data = b'{"a": "' + bytes(range(32, 127)) * 300 + b'"}'
    packed = gzip.compress(data)
    chunks = [packed[start : start + chunk] for start in range(0, len(packed), chunk)]
    assert read(scope_of((b"content-encoding", encoding)), pieces(*chunks)) == data


def test_identity_is_plain():
    assert read(scope_of((b"content-encoding", b"identity")), pieces(b"{}")) == b"{}"


def test_several_members_are_one_body():
    assert read(scope_of((b"content-encoding", b"gzip")), pieces(gzip.compress(b"{") + gzip.compress(b"}"))) == b"{}"


@pytest.mark.sec("SEC-044")
@pytest.mark.parametrize(
    "packed",
    [
        b"", b"{}", gzip.compress(b"{}")[:-1], gzip.compress(b"{}")[:5], gzip.compress(b"{}") + b"garbage",
        gzip.compress(b"{}")[:-8] + b"\0" * 8, zlib.compress(b"{}"), gzip.compress(b"") * 1000,
    ],
)  # fmt: skip
def test_a_damaged_stream_is_400(packed):
    with pytest.raises(BadRequest):
        read(scope_of((b"content-encoding", b"gzip")), pieces(packed))


@pytest.mark.sec("SEC-044")
@pytest.mark.fault("F30", "F35")
def test_a_bomb_is_stopped_early():
    packed = zlib.compressobj(9, wbits=31)
    bomb = b"".join(packed.compress(b"\0" * 1_000_000) for _ in range(1000)) + packed.flush()
    assert len(bomb) < 1_100_000
    limits = Limits()
    for chunks in ([bomb], [bomb[start : start + 65_536] for start in range(0, len(bomb), 65_536)]):
        tracemalloc.start()
        with pytest.raises(TooLarge):
            read(scope_of((b"content-encoding", b"gzip")), pieces(*chunks), limits)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 32 * 2**20


def test_a_steep_ratio_is_refused_below_the_size_limit():
    packed = gzip.compress(b" " * 4_000_000)
    with pytest.raises(TooLarge):
        read(scope_of((b"content-encoding", b"gzip")), pieces(packed), Limits())


@pytest.mark.sec("SEC-050")
def test_all_bodies_together_are_bounded():
    limits = Limits(body_bytes=8 * 2**20, body_bytes_held=8 * 2**20)
    gate = Gate(limits)

    async def run():
        calls = [Call(dict([JSON]), limits, gate, has_body=True) for _ in range(3)]
        chunk = b"x" * 2_000_000
        bodies = []
        for call in calls[:2]:
            async with call.deadline.timeout:
                bodies.append(await read_body({"call": call}, pieces(chunk, chunk), limits))
        with pytest.raises(Overloaded):
            await read_body({"call": calls[2]}, pieces(chunk, chunk), limits)
        for call in calls:
            call.end()
        assert (gate.held, gate.working) == (0, 0)

    asyncio.run(run())
