"""Log lines: an allow-list of keys, no text of exceptions, no argument of libraries, nothing that stops an answer."""

import io
import json
import logging

import pytest
import structlog

from cds_service.errors import Fault, WireError
from cds_service.logs import ALLOWED_KEYS, configure_logging, dropped_keys

CANARY = "Yamada-Hanako-1980"


def fail() -> None:
    value_of_a_patient = CANARY
    raise ValueError(value_of_a_patient)


@pytest.fixture
def lines():
    """The lines that a test wrote; the process logs as before afterwards."""
    before = structlog.get_config()
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    stream = io.BytesIO()
    configure_logging(stream)
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    structlog.configure(**before)
    root.handlers[:], root.level = handlers, level


@pytest.mark.sec("SEC-080")
def test_a_key_that_is_not_on_the_list_is_dropped_and_counted(lines):
    before = dropped_keys().get("patient_name", 0)
    structlog.get_logger().info("prediction_made", tenant="hospital-a", took_ms=1.9, patient_name=CANARY)
    (line,) = lines()
    assert line == {
        "at": line["at"],
        "level": "info",
        "event": "prediction_made",
        "tenant": "hospital-a",
        "took_ms": 1.9,
        "dropped": 1,
    }
    assert dropped_keys()["patient_name"] == before + 1


@pytest.mark.sec("SEC-080")
@pytest.mark.parametrize(
    ("value", "written"),
    [
        pytest.param("x" * 1000, "x" * 300, id="a long text is cut"),
        pytest.param({"name": CANARY}, "dict", id="of an object only its type"),
        pytest.param([1, {"name": CANARY}, "a"], [1, "dict", "a"], id="in a list too"),
        pytest.param(["a"] * 100, ["a"] * 20, id="a long list is cut"),
        pytest.param(True, True, id="a boolean"),
        pytest.param(None, None, id="nothing"),
        pytest.param("\ud800", "?", id="half a character"),
    ],
)
def test_values(lines, value, written):
    structlog.get_logger().info("x", detail=value)
    assert lines()[0]["detail"] == written


@pytest.mark.sec("SEC-086")
def test_a_traceback_has_no_text_and_no_locals(lines):
    try:
        fail()
    except ValueError:
        structlog.get_logger().exception("answer_failed", route="/cds-services/{id}")
    (line,) = lines()
    assert (line["level"], line["error"], line["route"]) == ("error", "ValueError", "/cds-services/{id}")
    assert line["trace"][-1].endswith(" fail")
    assert CANARY not in json.dumps(line)


@pytest.mark.sec("SEC-086")
def test_our_own_errors_say_what_is_wrong(lines):
    fault = Fault("body.hookInstance", "hookInstance is not a UUID", "Send a fresh UUID for each hook call")
    structlog.get_logger().error("x", exc_info=WireError(fault))
    assert lines()[0]["problems"] == [str(fault)]


@pytest.mark.sec("SEC-084", "SEC-086")
@pytest.mark.parametrize(
    ("name", "text", "kept"),
    [
        pytest.param("uvicorn.error", "Finished server process [%s]", "Finished server process [%s]", id="the server's fixed text"),
        pytest.param("asyncio", f"Task exception was never retrieved\nfuture: {CANARY} %s", "Task exception was never retrieved",
                     id="asyncio's first line"),
        pytest.param("httpx", f"GET {CANARY} %s", "", id="of another library only the name"),
    ],
)  # fmt: skip
def test_libraries_lose_their_arguments(lines, name, text, kept):
    try:
        fail()
    except ValueError:
        logging.getLogger(name).exception(text, CANARY)
    (line,) = lines()
    assert (line["event"], line["logger"], line["detail"], line["error"]) == ("library_said", name, kept, "ValueError")
    assert CANARY not in json.dumps(line)


@pytest.mark.sec("SEC-084")
def test_the_access_log_of_the_server_is_off(lines):
    logging.getLogger("uvicorn.access").info("GET %s", CANARY)
    assert lines() == []


def test_below_the_level_nothing_is_written(lines):
    structlog.get_logger().debug("x")
    assert lines() == []


@pytest.mark.fault("F10")
def test_a_stream_that_can_not_be_written_stops_nobody(lines):
    class Full(io.BytesIO):
        def write(self, _line):
            raise OSError(28, "No space left on device")

    configure_logging(Full())
    structlog.get_logger().info("prediction_made")
    assert dropped_keys()["line"] >= 1


def test_the_list_is_made_of_short_names():
    assert {key for key in ALLOWED_KEYS if not key.replace("_", "").isalpha() or key != key.lower()} == set()
