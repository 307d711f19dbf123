"""A process that takes feedback and keeps it, without HTTP: what the kill loop kills.

``store_child.py DATABASE [POINT:kill:N]`` reads one line a request on standard input, ``number outcome`` (any number
of writers may share the pipe), and answers ``number`` on standard output once the event is on disk.
"""

import asyncio
import os
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cds_service.events import faults
from cds_service.events.ids import feedback_id
from cds_service.events.schema import CardAccepted, CardOverridden
from cds_service.events.store import EventStore, open_store

START = datetime(2026, 6, 1, tzinfo=UTC)


def feedback(number: int, outcome: str) -> CardAccepted | CardOverridden:
    """The item that a number stands for: the same for every attempt, as a client repeats it after a lost answer."""
    at = START + timedelta(seconds=number)
    card = f"0f6d1a7c-1111-4a51-9d2e-{number:012d}"
    suggestions = (card.replace("1111", "2222"),) if outcome == "accepted" else ()
    fields = {
        "id": feedback_id(tenant="hospital-a", service="case-labs", card=card, outcome=outcome, outcome_at=at, suggestions=suggestions),
        "at": datetime.now(UTC), "tenant": "hospital-a", "client": "ehr-a", "service": "case-labs", "card": card, "outcome_at": at,
        "matched": False,
    }  # fmt: skip
    return CardAccepted(**fields, suggestions=suggestions) if suggestions else CardOverridden(**fields)


async def keep(store: EventStore, line: bytes) -> None:
    number, outcome = line.decode().split()
    await store.append([feedback(int(number), outcome)])
    os.write(1, f"{number}\n".encode())  # below PIPE_BUF: whole or not at all


async def serve(store: EventStore) -> None:
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    os.write(1, b"ready\n")
    async with asyncio.TaskGroup() as tasks:
        while line := await reader.readline():
            tasks.create_task(keep(store, line))


if __name__ == "__main__":
    for spec in sys.argv[2:]:
        faults.arm(spec)
    asyncio.run(serve(open_store(Path(sys.argv[1]))))
