"""Log lines for the operator: JSON, one a line, from an allow-list of keys, without values of patients (SEC-080, SEC-086).

Events are facts for counting and are durable; log lines may be lost. A key that is not on the list is dropped and
counted. A traceback says which exception and which lines of code, never its text or its locals: both may hold what
a client sent. Lines of libraries keep their fixed text and lose their arguments.
"""

import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType, TracebackType
from typing import Any, BinaryIO, Final

import msgspec
import structlog

from cds_service.errors import CdsServiceError

__all__ = ["ALLOWED_KEYS", "configure_logging", "dropped_keys"]

ALLOWED_KEYS: Final = frozenset({
    # what happened
    "event", "level", "at", "logger", "count", "status", "reason", "detail", "door", "outcome", "arm", "matched",
    # who and where, by names that the operator gave
    "iss", "kid", "jti", "tenant", "client", "service", "hook", "model", "version", "route", "method", "request_id", "language",
    "host", "port", "address", "workers", "folder", "file", "setting", "command", "quirk",
    # how much
    "took_ms", "bytes", "bytes_in", "bytes_out", "seq", "events", "cards", "opens", "faults", "resources", "connections",
    "budget_ms", "deadline_ms", "pid", "step_s",
    # what went wrong
    "error", "trace", "problems", "dropped",
    # where the audit log stood
    "head", "signature",
})  # fmt: skip
_TEXT_MAX: Final = 300
_LIST_MAX: Final = 20
_LIBRARIES: Final = frozenset({"uvicorn", "uvicorn.error", "asyncio"})
"""Whose fixed texts are worth an operator's reading; of other libraries only the name is kept."""

_dropped: dict[str, int] = {}
_encode = msgspec.json.Encoder(enc_hook=lambda value: type(value).__name__).encode
_now = datetime.now


def dropped_keys() -> Mapping[str, int]:
    """How often each key that is not on the list was dropped since the process started; ``line``: whole lines."""
    return MappingProxyType(_dropped)


def configure_logging(stream: BinaryIO | None = None, level: int | str = logging.INFO) -> None:
    """Send all log lines of this process to one stream as JSON; called once, by the apps and the command line.

    Args:
        stream: Bytes; standard error when None.
        level: The least level that is written, such as ``logging.INFO`` or ``"INFO"``.
    """
    number = logging.getLevelNamesMapping()[level.upper()] if isinstance(level, str) else level
    target = sys.stderr.buffer if stream is None else stream
    lines = _Lines(target)
    structlog.configure(
        processors=[_render],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=lambda *_args: lines,
        cache_logger_on_first_use=True,
    )
    root = logging.getLogger()
    for handler in root.handlers[:]:
        root.removeHandler(handler)
    root.addHandler(_LibraryLines())
    root.setLevel(max(number, logging.INFO))
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        library = logging.getLogger(name)
        library.handlers.clear()
        library.propagate = name != "uvicorn.access"  # the access log is ours (SEC-084)


def _render(_logger: object, method: str, line: Mapping[str, Any]) -> bytes:
    """The one processor: keep what is allowed, say when and how bad, write JSON."""
    kept: dict[str, Any] = {
        "at": f"{_now(UTC).isoformat(timespec='milliseconds')[:-6]}Z",
        "level": "error" if method == "exception" else method,
        "event": line.get("event"),
    }
    dropped = 0
    for key, value in line.items():
        if key in ALLOWED_KEYS:
            kept[key] = value if value.__class__ in _PLAIN else _plain(value)
        elif key == "exc_info":
            kept.update(_trace(value))
        else:
            dropped += 1
            _dropped[key] = _dropped.get(key, 0) + 1
    if dropped:
        kept["dropped"] = dropped
    return _encode(kept)


_PLAIN: Final = frozenset({int, float, bool, type(None)})


def _plain(value: object) -> object:
    """Numbers and short texts as they are, lists of them in part; of anything else only its type."""
    if isinstance(value, str):
        return value[:_TEXT_MAX].encode("utf-8", "replace").decode()
    if isinstance(value, (int, float, bool)) or value is None:
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value[:_LIST_MAX]]
    return type(value).__name__


def _trace(exc_info: object) -> dict[str, Any]:
    """Which exception, and by which lines of code; the text only of our own errors, which hold no patient value."""
    failure: BaseException | None
    if isinstance(exc_info, BaseException):
        failure = exc_info
    elif isinstance(exc_info, tuple):
        failure = exc_info[1]
    else:
        failure = sys.exc_info()[1]
    if failure is None:
        return {}
    told: dict[str, Any] = {"error": type(failure).__name__, "trace": _lines(failure.__traceback__)}
    if isinstance(failure, CdsServiceError):
        told["problems"] = [str(fault)[:_TEXT_MAX] for fault in failure.faults[:_LIST_MAX]]
    if failure.__cause__ is not None:
        told["detail"] = f"caused by {type(failure.__cause__).__name__}"
    return told


def _lines(traceback: TracebackType | None) -> list[str]:
    lines: list[str] = []
    while traceback is not None:
        code = traceback.tb_frame.f_code
        lines.append(
            f"{code.co_filename.rpartition('site-packages/')[2].rpartition('/cds_service/')[2]}:{traceback.tb_lineno} {code.co_name}"
        )
        traceback = traceback.tb_next
    return lines[-_LIST_MAX:]


class _Lines:
    """Writes lines to one stream. A full disk or a closed pipe loses lines, never an answer: they are counted (F10)."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def msg(self, line: bytes) -> None:
        try:
            self._stream.write(line + b"\n")
            self._stream.flush()
        except (OSError, ValueError):  # ValueError: the stream is closed
            _dropped["line"] = _dropped.get("line", 0) + 1

    debug = info = warning = error = critical = exception = fatal = log = msg


class _LibraryLines(logging.Handler):
    """Lines of the standard ``logging``: the fixed text of the few that an operator needs, and no argument."""

    def emit(self, record: logging.LogRecord) -> None:
        fixed = record.msg if isinstance(record.msg, str) and record.name in _LIBRARIES else ""
        line: dict[str, Any] = {"logger": record.name, "detail": fixed.partition("\n")[0][:_TEXT_MAX]}
        if record.exc_info:
            line["exc_info"] = record.exc_info
        level = "critical" if record.levelno >= logging.CRITICAL else record.levelname.lower()
        logger = structlog.get_logger()
        getattr(logger, level, logger.info)("library_said", **line)
