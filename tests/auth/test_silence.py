"""A token is said to nobody: not in the log, the metrics, an answer, an error, the store or the disk; and a 401 tells nothing."""

import io
import json

import pytest
import structlog

from cds_service import logs
from tests.auth import tokens
from tests.auth.tokens import CALL, S, body, claims, sign, token

CANARY = "canary-0f8e7d6c"


@pytest.fixture
def lines():
    """What reaches the log, as the real renderer writes it."""
    stream = io.BytesIO()
    before = structlog.get_config()
    logs.configure_logging(stream, "debug")
    structlog.configure(cache_logger_on_first_use=False)
    yield stream
    structlog.configure(**before)


def parts_of(one):
    return [part for part in one.split(".") if len(part) > 12]


@pytest.mark.ch("CH-329")
@pytest.mark.sec("SEC-017", "SEC-086")
@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: token(secret=CANARY), id="accepted"),
        pytest.param(lambda: token(secret=CANARY, key=tokens.OTHER), id="forged"),
        pytest.param(lambda: token(secret=CANARY, iat=S - 1000, exp=S - 700), id="expired"),
        pytest.param(lambda: token(secret=CANARY, iss="https://unknown.example"), id="of a stranger"),
        pytest.param(lambda: token(secret=CANARY)[:-9] + "." + CANARY, id="no token"),
        pytest.param(lambda: CANARY * 40, id="anything"),
        pytest.param(lambda: sign(json.dumps(claims(secret=CANARY))[:-1].encode()), id="no JSON"),
    ],
)
@pytest.mark.parametrize("sent", [body(), {"hook": 5}, None])
def test_a_token_reaches_no_sink(make, sent, started, tmp_path, lines, monkeypatch):
    for module in ("cds_service.web.asgi", "cds_service.api.ehr_auth", "cds_service.api.hooks"):
        __import__(module)
        monkeypatch.setattr(f"{module}.log", structlog.get_logger())
    asker = started(tokens.write_clients(tmp_path))
    one = make()
    answers = [asker.send("POST", CALL, token=one, json=sent) for _ in range(2)]
    written = b"".join(file.read_bytes() for file in (tmp_path / "state").rglob("*") if file.is_file())
    said = lines.getvalue().decode() + asker.parts.registry.text() + repr(asker.parts.trust)
    said += "".join(str(dict(answer.headers)) + answer.text for answer in answers)
    assert lines.getvalue().count(b"request_answered") == 2
    for part in [*parts_of(one), CANARY]:
        assert part not in said
        assert part.encode() not in written


@pytest.mark.sec("SEC-013", "SEC-086")
def test_a_failure_of_our_own_says_no_token(started, tmp_path, lines, monkeypatch):
    monkeypatch.setattr("cds_service.web.asgi.log", structlog.get_logger())
    asker = started(tokens.write_clients(tmp_path))
    one = token(secret=CANARY)

    def broken(*_):
        raise RuntimeError(one)

    monkeypatch.setattr("cds_service.api.ehr_auth.check_times", broken)
    answer = asker.call(one)
    assert answer.status_code == 500
    said = lines.getvalue().decode() + answer.text
    assert "RuntimeError" in said
    for part in [*parts_of(one), CANARY]:
        assert part not in said


@pytest.mark.ch("CH-330")
@pytest.mark.sec("SEC-017")
def test_the_reason_is_in_the_log_and_nowhere_else(started, tmp_path, lines, monkeypatch):
    monkeypatch.setattr("cds_service.api.ehr_auth.log", structlog.get_logger())
    asker = started(tokens.write_clients(tmp_path))
    answer = asker.call(token(jti="j-1", key=tokens.OTHER))
    line = next(json.loads(one) for one in lines.getvalue().splitlines() if b"caller_refused" in one)
    assert {name: line[name] for name in ("reason", "client", "iss", "kid", "jti", "request_id")} == {
        "reason": "signature", "client": "ehr", "iss": tokens.ISSUER, "kid": "k1", "jti": "j-1",
        "request_id": answer.headers["x-request-id"],
    }  # fmt: skip


@pytest.mark.ch("CH-330")
@pytest.mark.sec("SEC-017")
def test_every_401_is_the_same_byte_for_byte(started, tmp_path):
    """Also the header fields, but for the request's own id; also where another process used the token first."""
    first, second = (started(tokens.write_clients(tmp_path / name)) for name in two_folders(tmp_path))
    used, elsewhere = token(), token()
    assert first.call(used).status_code == 200
    assert second.call(elsewhere).status_code == 200
    ways = [
        None, "x", used, elsewhere, token(key=tokens.OTHER), token(iss="x"), token(aud="x"), token(exp=1, iat=0),
        token(head={"kid": "k9"}),
    ]  # fmt: skip
    seen = set()
    for way in ways:
        answer = first.call(way)
        fields = [(name, value) for name, value in answer.headers.raw if name.lower() != b"x-request-id"]
        seen.add((answer.status_code, answer.content, tuple(fields)))
    assert len(seen) == 1
    assert first.refused("used") == 2


def two_folders(tmp_path):
    """One state, two places for ``clients.toml``."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    return "a", "b"
