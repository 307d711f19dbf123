"""The floor with one durable row: raw ASGI that reads the body, commits a row of 1 kB to SQLite, and answers.

One writer thread, WAL, ``synchronous=FULL``, one commit a call, as a service must pay that answers only when its event
is on disk; nothing else is done. What it costs above the floor no service with that promise can save.
"""

import asyncio
import queue
import sqlite3
import tempfile
import threading
from pathlib import Path

from peers.floor import app as floor

_ROW = "x" * 1000
_calls = queue.SimpleQueue()


def _write(folder: Path) -> None:
    connection = sqlite3.connect(folder / "rows.db", isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE row (id INTEGER PRIMARY KEY, body TEXT NOT NULL)")
    while (call := _calls.get()) is not None:
        waiting = [call]
        while not _calls.empty():  # group commit: what is queued goes with it
            waiting.append(_calls.get())
        rows = ", ".join("(?)" for _ in waiting)
        connection.execute(f"INSERT INTO row (body) VALUES {rows}", [_ROW] * len(waiting))
        waiting[0][0].call_soon_threadsafe(_tell, [future for _, future in waiting])


def _tell(futures: list[asyncio.Future]) -> None:
    for future in futures:
        if not future.done():
            future.set_result(None)


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        with tempfile.TemporaryDirectory(prefix="durable-floor-") as folder:
            thread = threading.Thread(target=_write, args=(Path(folder),))
            thread.start()
            await floor(scope, receive, send)
            _calls.put(None)
            thread.join()
        return
    loop = asyncio.get_running_loop()

    async def committed_first(message):
        if message["type"] == "http.response.start":
            future = loop.create_future()
            _calls.put((loop, future))
            await future
        await send(message)

    await floor(scope, receive, committed_first)
