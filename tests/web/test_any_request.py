"""Whatever the head says, the door answers below 500 and repeats nothing of it."""

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.web.served import make_door

WORDS = st.sampled_from(
    [b"", b"0", b"-1", b"2", b"999999999999", b"gzip", b"br", b"identity", b"chunked", b"application/json", b"text/plain",
     b"testserver", b"evil", b"null", b"https://ehr.example", b"*", b"\xff\xfe", b"a" * 5000, b"POST", b"\x00"]
)  # fmt: skip
NAMES = st.sampled_from(
    [b"host", b"content-type", b"content-encoding", b"content-length", b"transfer-encoding", b"origin", b"expect", b"accept",
     b"access-control-request-method", b"access-control-request-headers", b"authorization", b"x-request-id", b"cookie"]
)  # fmt: skip
PATHS = st.one_of(
    st.sampled_from(
        ["/", "/echo/1", "/echo/", "/thing/1", "/health/live", "/metrics", "//echo/1", "/echo/../thing/1", ""]
    ),
    st.text(max_size=40).map("/".__add__),
)
DOOR = make_door()


@settings(max_examples=400, deadline=None)
@given(
    method=st.sampled_from(["GET", "POST", "OPTIONS", "HEAD", "PUT", "TRACE", "get", "", "\u00e9"]),
    path=PATHS,
    headers=st.lists(st.tuples(NAMES, WORDS | st.binary(max_size=20)), max_size=6),
    body=st.binary(max_size=100),
    more=st.booleans(),
)
def test_any_head_is_answered_below_500(method, path, headers, body, more):
    heard = []
    messages = [
        {"type": "http.request", "body": body, "more_body": more},
        {"type": "http.request", "body": b"Zanarkand"},
    ]

    async def receive():
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message):
        heard.append(message)

    scope = {
        "type": "http", "method": method, "path": path, "raw_path": path.encode("utf-8", "replace"), "query_string": b"",
        "root_path": "", "scheme": "http", "http_version": "1.1", "headers": [(b"host", b"testserver"), *headers],
    }  # fmt: skip
    asyncio.run(DOOR(scope, receive, send))
    if not heard:
        return  # the client went away
    assert heard[0]["status"] < 500
    answer = b"".join(message.get("body", b"") for message in heard[1:])
    assert b"Zanarkand" not in answer
    names = [name for name, _ in heard[0]["headers"]]
    assert names.count(b"x-request-id") == 1
    assert len(answer) < 2000
    assert heard[-1]["more_body" if "more_body" in heard[-1] else "type"] in (False, "http.response.body")
