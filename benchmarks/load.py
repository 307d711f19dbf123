"""Load on one server for a few seconds: wrk where it is installed, else a small client of our own."""

import asyncio
import json
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from urllib.parse import urlsplit

from bundles import one_call

__all__ = ["Load", "client_name", "put_load"]

_LUA = Path(__file__).with_name("wrk_calls.lua")
_TIMEOUT_S = 30


@dataclass(frozen=True, slots=True)
class Load:
    """What the client saw."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    max_ms: float
    answers: int
    cards: int
    errors: int


def client_name() -> str:
    """Which client puts the load."""
    return "wrk" if shutil.which("wrk") else "asyncio client"


def put_load(
    url: str, template: Path, *, connections: int, seconds: float, first: int, tokens: Sequence[str] = ()
) -> Load:
    """Post calls as fast as they are answered.

    Args:
        url: Where to.
        template: File of the body with marks; see ``bundles.py``.
        connections: Each sends its next call when the last is answered.
        seconds: For how long.
        first: Number of the first call; a range is never used twice, so that no patient is a repeat.
        tokens: One for each call, where the server asks who calls; when they are used up, calls are refused and
            counted as errors.
    """
    wrk = shutil.which("wrk")
    if wrk is None:
        return asyncio.run(_own_client(url, template.read_text(), connections, seconds, first, tokens))
    command = [wrk, "-t1", f"-c{connections}", f"-d{seconds:.0f}s", "--timeout", f"{_TIMEOUT_S}s", "-s", str(_LUA)]
    with tempfile.NamedTemporaryFile("w", suffix=".tokens") as file:
        file.write("".join(f"{token}\n" for token in tokens))
        file.flush()
        options = ("--", str(template), str(first), *([file.name] if tokens else []))
        shown = subprocess.run([*command, url, *options], check=True, capture_output=True, text=True).stdout
    return Load(**json.loads(shown.rpartition("RESULT ")[2]))


async def _own_client(
    url: str, template: str, connections: int, seconds: float, first: int, tokens: Sequence[str]
) -> Load:
    parts = urlsplit(url)
    numbers = iter(range(first, first + 10**9))
    took: list[float] = []
    tally = {"cards": 0, "errors": 0}
    bearers = iter(tokens)
    began = perf_counter()

    async def connection() -> None:
        reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
        while perf_counter() - began < seconds:
            body = one_call(template, next(numbers))
            head = f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\nContent-Type: application/json\r\n"
            if tokens:
                head += f"Authorization: Bearer {next(bearers, 'used up')}\r\n"
            start = perf_counter()
            writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            answer_head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(answer_head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            answer = await reader.readexactly(length)
            took.append(perf_counter() - start)
            if not answer_head.startswith(b"http/1.1 200"):
                tally["errors"] += 1
            elif b'"summary"' in answer:
                tally["cards"] += 1
        writer.close()

    async with asyncio.timeout(seconds + _TIMEOUT_S):
        await asyncio.gather(*(connection() for _ in range(connections)))
    spent = perf_counter() - began
    took.sort()
    ms = [1000 * one for one in (took[len(took) // 2], took[int(len(took) * 0.99)], took[-1])]
    return Load(len(took), spent, *ms, len(took), tally["cards"], tally["errors"])
