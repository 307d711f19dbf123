"""SEC-083: a marker in every string that a client can send, searched in everything that is written or refused.

Every string leaf of every example request, of feedback, of the plain windows, every header, path and query is a
marker in some run. Leaves that an outcome needs (``resourceType``, codes, dates …) keep their value in most runs and
are markers in a run of their own kind. Cards go to the EHR that sent the chart and may quote it; nothing else may.
"""

import base64
import copy
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.parse
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from starlette.testclient import TestClient

from cds_service.logs import configure_logging
from cds_service.service_app import create_app, open_parts
from cds_service.settings import read_settings
from tests.attacks.real import EXAMPLE, NOW, ROOT, SERVICE
from tests.bundles import write_tiny_bundle

CORE = "Zq7kanar"
"""The first eight characters of each marker; what follows says which leaf it is."""
EXAMPLES = sorted((ROOT / "hooks").glob("*/examples/*.request.json"))
KINDS = (
    "resourceType", "status", "system", "code", "unit", "reference", "value", "start", "end", "effectiveDateTime", "issued",
    "birthDate", "gender", "id", "hook", "hookInstance", "userId", "patientId", "encounterId", "type", "relation", "url",
    "intent", "fullUrl", "onsetDateTime", "authoredOn", "performedDateTime", "lastUpdated", "versionId", "fhirServer",
)  # fmt: skip
"""Leaves that the good run leaves alone; each of these names is a marker everywhere in a run of its own."""
UNIT = f"mmol{{{CORE}-in-a-unit}}/L"


class Marker:
    """Gives each leaf its own marker and remembers where it stood."""

    def __init__(self):
        self.places = {}

    def __call__(self, place):
        number = len(self.places)
        self.places[number] = place
        return f"{CORE}{number:05d}é <b>|/ {CORE}"

    def plain(self, place):
        """A marker of letters and digits, fit for an id, a path or a header."""
        number = len(self.places)
        self.places[number] = place
        return f"{CORE}{number:05d}"


def marked(node, is_marked, marker, path=""):
    """The same tree with a marker at each string leaf whose (name, text) is to be marked."""
    if isinstance(node, dict):
        return {
            key: marker(f"{path}.{key}")
            if isinstance(value, str) and is_marked(key)
            else marked(value, is_marked, marker, f"{path}.{key}")
            for key, value in node.items()
        }
    if isinstance(node, list):
        name = path.rsplit(".", 1)[-1]
        return [
            marker(path)
            if isinstance(value, str) and is_marked(name)
            else marked(value, is_marked, marker, f"{path}[{place}]")
            for place, value in enumerate(node)
        ]
    return node


def names_in(node):
    if isinstance(node, dict):
        for key, value in node.items():
            if isinstance(value, str):
                yield key
            yield from names_in(value)
    elif isinstance(node, list):
        for value in node:
            yield from names_in(value)


def with_marked_ids(call, marker):
    """The same chart under ids that are markers: patient, encounter, user and every resource."""
    text = json.dumps(call)
    ids = set(re.findall(r'"id": "([^"]+)"', text)) | {
        call["context"]["patientId"],
        call["context"].get("encounterId", "enc-1"),
    }
    for one in sorted(ids, key=len, reverse=True):
        new = marker.plain(f"id {one}")
        text = re.sub(rf'(?<=["/]){re.escape(one)}(?=")', new, text)
    return json.loads(text)


FEEDBACK = {
    "feedback": [
        {
            "card": "7c1c9a52-0000-4000-8000-00000000000a",
            "outcome": "overridden",
            "overrideReason": {"reason": {"code": "x", "system": "y", "display": "z"}, "userComment": "w"},
            "outcomeTimestamp": "2026-05-31T23:00:00Z",
            "extension": {"a": "b"},
        },
        {
            "card": "7c1c9a52-0000-4000-8000-00000000000b",
            "outcome": "accepted",
            "acceptedSuggestions": [{"id": "7c1c9a52-0000-4000-8000-00000000000c"}],
            "outcomeTimestamp": "2026-05-31T23:00:00Z",
        },
    ]
}
PREDICT = {
    "age_years": 62,
    "sex": "female",
    "fasting": True,
    "bmi": {"value": 31.2, "unit": "kg/m2"},
    "glucose": {"value": 6.2, "unit": UNIT},
}
INFER = {
    "id": "1",
    "inputs": [
        {"name": "age_years", "datatype": "FP64", "shape": [1], "data": [62], "parameters": {"unit": "a"}},
        {"name": "glucose", "datatype": "FP64", "shape": [1], "data": [5.1], "parameters": {"unit": "mmol/L"}},
    ],
    "outputs": [{"name": "ge65"}],
}  # fmt: skip


def hook_bodies(marker):
    """Each example with everything but its structure marked, with marked ids, and once for each kind of leaf."""
    for path in EXAMPLES:
        call = json.loads(path.read_text(encoding="utf-8"))
        call.setdefault("fhirAuthorization", {
            "access_token": "t", "token_type": "Bearer", "expires_in": 300, "scope": "s", "subject": "u",
        })  # fmt: skip
        call["fhirServer"] = "https://ehr.example/fhir"
        call["extension"] = {"note": "x"}
        kept = {*KINDS, "token_type"}
        good = with_marked_ids(marked(call, lambda name, kept=kept: name not in kept, marker, path.stem), marker)
        yield good
        for kind in sorted(set(names_in(call)) & kept):
            yield marked(copy.deepcopy(good), lambda name, kind=kind: name == kind, marker, path.stem)
        unit = json.loads(json.dumps(good).replace('"mg/dL"', json.dumps(UNIT)))
        yield unit


def other_bodies(marker):
    """(path, body) for feedback and the plain windows: whole, and once for each name."""
    for path, whole in (
        (f"{SERVICE}/feedback", FEEDBACK),
        ("/predict/dysglycaemia", PREDICT),
        ("/v2/models/dysglycaemia/infer", INFER),
    ):
        yield path, whole
        for name in sorted(set(names_in(whole))):
            yield path, marked(copy.deepcopy(whole), lambda one, name=name: one == name, marker, path)
        yield path, marked(copy.deepcopy(whole), lambda _: True, marker, path)
        yield path, {marker("key"): marker("value"), **whole}
    comment = copy.deepcopy(FEEDBACK)
    comment["feedback"][0]["overrideReason"]["userComment"] = marker("comment") * 30
    comment["feedback"][0]["overrideReason"]["reason"] = {"code": marker.plain("reason"), "system": f"urn:{CORE}"}
    yield f"{SERVICE}/feedback", comment


def odd_calls(marker):
    """(method, path, headers, body): markers in paths, queries and headers, and bodies that are refused unread."""
    body = json.dumps(EXAMPLE).encode()
    as_json = {"content-type": "application/json"}
    word = marker.plain
    yield "POST", f"/cds-services/{word('service')}", as_json, body
    yield "POST", f"/cds-services/{word('service')}/feedback", as_json, json.dumps(FEEDBACK).encode()
    yield "POST", f"/predict/{word('model')}", as_json, b"{}"
    yield "POST", f"/v2/models/{word('model')}/infer", as_json, b"{}"
    yield (
        "GET",
        f"/{word('path')}/{urllib.parse.quote(marker('path'))}?{word('query')}={urllib.parse.quote(marker('query'))}",
        {},
        b"",
    )
    yield "PUT", f"{SERVICE}?{word('query')}={word('query')}", as_json, body
    yield "POST", f"{SERVICE}?patient={word('query')}", as_json, body
    yield word("VERB"), SERVICE, as_json, body
    for name in ("authorization", "x-request-id", "user-agent", "referer", "cookie", "origin", "traceparent", "baggage",
                 "x-forwarded-for", "accept-language", "accept", "x-anything"):  # fmt: skip
        yield "POST", SERVICE, {**as_json, name: f"Bearer {word(name)}"}, body
    yield "POST", SERVICE, {"content-type": f"text/{word('type')}"}, body
    yield "POST", SERVICE, {**as_json, "content-encoding": word("encoding")}, body
    yield "POST", SERVICE, {**as_json, "host": f"{word('host')}.example"}, body
    yield "POST", SERVICE, as_json, marker("not JSON").encode()
    yield "POST", SERVICE, as_json, json.dumps({**EXAMPLE, "hook": word("hook"), word("key"): word("value")}).encode()
    yield "POST", SERVICE, as_json, json.dumps({word("key"): 1, word("key 2"): {word("deep"): []}}).encode()
    many = {
        **EXAMPLE,
        "prefetch": {**EXAMPLE["prefetch"], **{word(f"key {place}"): marker("many") for place in range(80)}},
    }
    yield "POST", SERVICE, as_json, json.dumps(many).encode()
    large = {**EXAMPLE, "prefetch": {**EXAMPLE["prefetch"], "labs": {
        "resourceType": "Bundle", "entry": [{"resource": {"resourceType": "Observation", "id": word("id")}}] * 5001}}}  # fmt: skip
    yield "POST", SERVICE, as_json, json.dumps(large).encode()
    wrong = {
        **EXAMPLE,
        "prefetch": {**EXAMPLE["prefetch"], "patient": {"resourceType": "Patient", "id": word("other")}},
    }
    yield "POST", SERVICE, as_json, json.dumps(wrong).encode()


def forms(core=CORE):
    """The bytes that a marker may hide in: as it is, escaped, encoded, in UTF-16, in hexadecimal."""
    raw = core.encode()
    found = {f"base64+{skip}": base64.b64encode(raw[start : start + 6]) for skip, start in ((0, 0), (1, 2), (2, 1))}
    found |= {"UTF-16 LE": core.encode("utf-16-le"), "UTF-16 BE": core.encode("utf-16-be")}
    found |= {"hex": raw.hex().encode(), "HEX": raw.hex().upper().encode()}
    found |= {"percent": "".join(f"%{byte:02x}" for byte in raw).encode(), "reversed": raw[::-1]}
    return found


def hits(where, data):
    """Every form in which a marker stands in *data*: (where, form, what is around it)."""
    lowered = data.lower()
    found = [
        (where, "plain", data[place.start() : place.start() + 40])
        for place in list(re.finditer(re.escape(CORE.lower().encode()), lowered))[:3]
    ]
    return found + [
        (where, name, form) for name, form in forms().items() if form in data or (name == "percent" and form in lowered)
    ]


def written_files(folder):
    """Everything under the state folder but the key, which is random bytes and secret by itself."""
    for path in sorted(folder.rglob("*")):
        yield f"name of {path.name}", str(path.relative_to(folder)).encode()
        if path.is_file() and path.suffix != ".key":
            yield path.name, path.read_bytes()


def leaks(folder, seen, *logs):
    sinks = [*seen, *written_files(folder / "state"), *((path.name, path.read_bytes()) for path in logs)]
    return [hit for where, data in sinks for hit in hits(where, data)]


@contextmanager
def served(folder):
    """(base URL, process) of the real application, its output going to files."""
    out, err = folder / "stdout.txt", folder / "stderr.txt"
    with out.open("wb") as stdout, err.open("wb") as stderr:
        command = [sys.executable, "-m", "tests.attacks.real", str(folder)]
        process = subprocess.Popen(
            command, cwd=ROOT, stdout=stdout, stderr=stderr, env={**os.environ, "PYTHONUNBUFFERED": "1"}
        )
        try:
            until = time.monotonic() + 30
            while not out.read_text().endswith("\n"):
                assert process.poll() is None, err.read_text()
                assert time.monotonic() < until
                time.sleep(0.05)
            yield f"http://127.0.0.1:{int(out.read_text().split()[0])}", process
        finally:
            process.kill()
            process.wait()


def note(seen, name, response, *, quotes=False):
    """Keep what an answer may not say: its head always, its body unless the protocol has it quote the call."""
    seen.append((f"{response.status_code} head of {name}", repr(response.headers.raw).encode()))
    if response.status_code >= 400 or not quotes:
        seen.append((f"{response.status_code} body of {name}", response.content))


@pytest.mark.slow
@pytest.mark.sec("SEC-080", "SEC-083", "SEC-084", "SEC-085", "SEC-087", "SEC-088")
def test_no_string_of_a_request_is_written_or_refused_aloud(tmp_path):
    marker, seen, statuses = Marker(), [], set()
    with served(tmp_path) as (base, process), httpx.Client(base_url=base, timeout=30) as client:
        for body in hook_bodies(marker):
            answer = client.post(SERVICE, json=body)
            statuses.add(answer.status_code)
            note(seen, "hook", answer, quotes=True)
        for path, body in other_bodies(marker):
            answer = client.post(path, json=body)
            statuses.add(answer.status_code)
            note(seen, path, answer, quotes=path.startswith("/v2/"))
        for method, path, headers, body in odd_calls(marker):
            answer = client.request(method, path, headers=headers, content=body)
            statuses.add(answer.status_code)
            note(seen, f"{method} {path.split('?')[0][:20]}", answer, quotes=True)
        metrics = client.get("/metrics")
        note(seen, "/metrics", metrics)
        title = Path(f"/proc/{process.pid}/cmdline").read_bytes() + Path(f"/proc/{process.pid}/comm").read_bytes()
        running = leaks(tmp_path, [*seen, ("process title", title)], tmp_path / "stdout.txt", tmp_path / "stderr.txt")
        client_sends_and_dies(base)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    killed = leaks(tmp_path, [], tmp_path / "stdout.txt", tmp_path / "stderr.txt")
    assert {200, 400, 404, 405, 413, 415} <= statuses
    assert 500 not in statuses
    assert len(marker.places) >= 500
    assert running + killed == []


def client_sends_and_dies(base):
    """A call that is cut off in its middle, the marker already sent."""
    import socket

    host, port = base.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as line:
        line.sendall(
            f"POST {SERVICE} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n".encode()
        )
        line.sendall(b'{"context": "' + CORE.encode() * 20)


def in_process(folder, *, change=lambda text: text):
    """The real application in this process, its service changed as a test says, its log in a file."""
    hooks = folder / "hooks"
    for path in (ROOT / "hooks").rglob("*"):
        target = hooks / path.relative_to(ROOT / "hooks")
        if path.is_dir():
            target.mkdir(parents=True)
        elif path.name == "service.toml":
            target.write_text(change(path.read_text(encoding="utf-8")), encoding="utf-8")
        else:
            target.write_bytes(path.read_bytes())
    write_tiny_bundle(
        folder / "assets", "dysglycaemia", ROOT / "recipes/dysglycaemia/features.toml",
        outputs=("ge57", "ge60", "ge65"), point="high",
    )  # fmt: skip
    settings = read_settings(
        environment={}, auth="off-for-development", state=folder / "state", hooks=hooks, assets=folder / "assets",
    )  # fmt: skip
    return open_parts(settings, clock=lambda: NOW)


def forget_cached_loggers():
    """A module's logger binds its stream when it is first used; let it bind anew."""
    for name, module in list(sys.modules.items()):
        if name.startswith("cds_service") and hasattr(getattr(module, "log", None), "__dict__"):
            vars(module.log).pop("bind", None)


@contextmanager
def log_in(path):
    """All log lines in one file, and afterwards as before."""
    with path.open("wb", buffering=0) as stream:
        configure_logging(stream)
        forget_cached_loggers()
        try:
            yield
        finally:
            configure_logging()
            forget_cached_loggers()


@pytest.mark.sec("SEC-083", "SEC-085")
@pytest.mark.ch("CH-111")
def test_a_412_names_keys_and_no_value(tmp_path, capfd):
    marker, seen = Marker(), []
    parts = in_process(tmp_path, change=lambda text: re.sub(r'on_missing\s*=\s*"card"', 'on_missing = "412"', text))
    with log_in(tmp_path / "log.txt"), TestClient(create_app(parts)) as client:
        for call in hook_bodies(marker):
            if not {"problems", "patient"} <= set(call["prefetch"]):
                continue
            del call["prefetch"]["problems"]
            answer = client.post(SERVICE, json=call)
            note(seen, "hook", answer, quotes=True)
    assert any(where.startswith("412 body") for where, _ in seen)
    out, err = capfd.readouterr()
    seen += [("stdout", out.encode()), ("stderr", err.encode())]
    assert leaks(tmp_path, seen, tmp_path / "log.txt") == []


RAISED_IN = (
    "cds_service.answer.read_prefetch",
    "cds_service.answer.read_facts",
    "cds_service.answer.build_features",
    "cds_service.answer.predict",
    "cds_service.api.hooks.write_response",
)


@pytest.mark.sec("SEC-083", "SEC-086")
@pytest.mark.parametrize("place", RAISED_IN)
def test_a_fault_of_ours_quotes_nothing(tmp_path, capfd, monkeypatch, place):
    """The exception's own text, its cause and its locals are all full of the patient."""
    marker, seen = Marker(), []

    def fails(*_, **__):
        name = marker("local")
        raise RuntimeError(f"cannot read {name}") from KeyError(name)

    parts = in_process(tmp_path)
    monkeypatch.setattr(place, fails)
    with log_in(tmp_path / "log.txt"), TestClient(create_app(parts), raise_server_exceptions=False) as client:
        answer = client.post(SERVICE, json=next(hook_bodies(marker)))
        assert answer.status_code == 500
        note(seen, "hook", answer)
        note(seen, "metrics", client.get("/metrics"))
    out, err = capfd.readouterr()
    seen += [("stdout", out.encode()), ("stderr", err.encode())]
    assert b"RuntimeError" in (tmp_path / "log.txt").read_bytes()
    assert leaks(tmp_path, seen, tmp_path / "log.txt") == []


@pytest.mark.parametrize(
    "data",
    [
        CORE.encode(), CORE.lower().encode(), CORE.upper().encode(), CORE.encode("utf-16-le"), CORE.encode("utf-16-be"),
        CORE.encode().hex().encode(), base64.b64encode(f"{CORE}0001".encode()), base64.b64encode(f"x{CORE}0001".encode()),
        base64.b64encode(f"xy{CORE}0001".encode()), "".join(f"%{byte:02X}" for byte in CORE.encode()).encode(),
        urllib.parse.quote(f"{CORE}é <b>").encode(), json.dumps(f"{CORE}é").encode(),
    ],
)  # fmt: skip
def test_the_search_finds_a_planted_marker(data):
    assert hits("planted", b"before " + data + b" after")
    assert hits("planted", b"nothing here") == []


def test_a_planted_leak_is_found_in_the_state_folder(tmp_path):
    (tmp_path / "state/events").mkdir(parents=True)
    (tmp_path / "state/events/events.db").write_bytes(b"row " + CORE.encode("utf-16-le"))
    (tmp_path / f"state/{CORE}.tmp").touch()
    assert {where for where, _, _ in leaks(tmp_path, [])} == {"events.db", f"name of {CORE}.tmp"}
