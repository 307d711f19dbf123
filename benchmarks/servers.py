"""Servers under measurement: how each is started, and what its processes use while it runs."""

import http.client
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, sleep

__all__ = [
    "Server",
    "Usage",
    "environment",
    "fastapi",
    "floor",
    "healthchain",
    "ours",
    "ours_rs384",
    "running",
    "usage",
]

ROOT = Path(__file__).parents[1]
PEERS = Path(__file__).parent / "peers"
SERVICE = "dysglycaemia-screening"
_TICK_S = 1 / os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Server:
    """One server, by command."""

    name: str
    command: tuple[str, ...]
    path: str
    about: str
    more: Mapping[str, str] = field(default_factory=dict)
    """Environment variables beside our own."""
    folder: Path = ROOT
    token: Callable[[], str] | None = None
    """Signs one call, where the server asks who calls."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What a process and its children have used."""

    cpu_s: float
    rss_mb: float
    peak_mb: float
    """The most that was ever resident."""


def ours(port: int, state: Path) -> Server:
    """The whole service as ``cds-service serve`` runs it: durable events, metrics and log lines on.

    The service folder and the client are the shipped ones but for two lines, so that every call takes the full path:
    the ceiling of cards per 100 opens is 100 (still counted), and the client may be shown cards.
    """
    about = "the whole service: durable events, metrics, logs"
    return Server("ours", *_ours(port, state), about, {"CDS_AUTH": "off-for-development"})


def ours_rs384(port: int, state: Path) -> Server:
    """The same in production mode: each call brings a token of its own, signed with RS384, that is kept as used."""
    from tokens import BASE, EHR

    ehr = EHR(state)
    secured = {
        "CDS_PUBLIC_BASE_URL": BASE, "CDS_ALLOWED_HOSTS": f"127.0.0.1:{port}", "CDS_BEHIND_TLS_PROXY": "true",
        "CDS_CLIENTS": str(ehr.clients),
    }  # fmt: skip
    about = "the same in production mode, a token for each call"
    return Server("ours, RS384", *_ours(port, state), about, secured, token=ehr.token)


def _ours(port: int, state: Path) -> tuple[tuple[str, ...], str]:
    hooks = state / "hooks"
    if not hooks.exists():
        shutil.copytree(ROOT / "hooks", hooks)
        declaration = hooks / SERVICE / "service.toml"
        text = declaration.read_text(encoding="utf-8")
        lines = [
            "cards_per_100_opens_max = 100" if line.startswith("cards_per_100_opens_max") else line
            for line in text.splitlines()
        ]
        declaration.write_text("\n".join(lines) + "\n", encoding="utf-8")
    command = (str(Path(sys.executable).with_name("cds-service")), "serve", "--port", str(port))
    folders = ("--state", str(state / "var"), "--hooks", str(hooks), "--assets", str(ROOT / "model_assets"))
    return (*command, *folders), f"/cds-services/{SERVICE}"


def floor(port: int, *, durable: bool = False) -> Server:
    """Raw ASGI on the same server, in the same environment; with one row on disk before the answer, where asked."""
    return Server(
        "floor, durable" if durable else "floor",
        (sys.executable, "-m", "uvicorn", f"peers.{'durable_floor' if durable else 'floor'}:app", *_uvicorn(port)),
        f"/cds-services/{SERVICE}",
        "raw ASGI, body read, constant reply" + (", one row committed to SQLite first" if durable else ""),
        folder=PEERS.parent,
    )


def fastapi(port: int, python: Path, *, tuned: bool) -> Server:
    """FastAPI and pydantic by hand, in an environment of its own."""
    return Server(
        "FastAPI, gc tuned" if tuned else "FastAPI",
        (str(python), "-m", "uvicorn", "peers.fastapi_by_hand:app", *_uvicorn(port)),
        f"/cds-services/{SERVICE}",
        "by hand: no event, log, metrics or model" + ("; gc frozen as ours" if tuned else ""),
        {"BENCH_GC": "frozen"} if tuned else {},
        PEERS.parent,
    )


def healthchain(port: int, python: Path) -> Server:
    """HealthChain as its own install gives it: asyncio and h11."""
    options = ("--host", "127.0.0.1", "--port", str(port), "--no-access-log", "--log-level", "warning")
    return Server(
        "HealthChain",
        (str(python), "-m", "uvicorn", "peers.healthchain_app:app", *options),
        f"/cds/cds-services/{SERVICE}",
        "as pip installs it, the same light work",
        folder=PEERS.parent,
    )


def _uvicorn(port: int) -> tuple[str, ...]:
    bind = ("--host", "127.0.0.1", "--port", str(port))
    return (*bind, "--loop", "uvloop", "--http", "httptools", "--no-access-log", "--log-level", "warning")


def environment(name: str, cache: Path) -> Path:
    """The Python of a peer's own environment under the cache folder; made from PyPI when it is not there yet."""
    wanted = (PEERS / f"{name}.txt").read_bytes()
    folder = cache / name
    made_from = folder / "made-from.txt"
    python = folder / "bin" / "python"
    if not made_from.is_file() or made_from.read_bytes() != wanted:
        print(f"making the environment of {name} under {folder}", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
        subprocess.run([*pip, "-r", str(PEERS / f"{name}.txt")], check=True, stdout=sys.stderr)
        made_from.write_bytes(wanted)
    return python


@contextmanager
def running(server: Server, port: int, first_call: bytes, log: Path) -> Iterator[tuple[int, float, Usage]]:
    """Run a server until the block ends.

    Yields:
        Its process id, the seconds from its start to its first whole answer, and what it had used by then.
    """
    variables = {**os.environ, **server.more, "PYTHONDONTWRITEBYTECODE": ""}
    with log.open("ab") as sink:
        began = perf_counter()
        process = subprocess.Popen(
            server.command, cwd=server.folder, env=variables, stdout=sink, stderr=sink, start_new_session=True
        )
        try:
            _first_answer(server, port, first_call, process, log)
            yield process.pid, perf_counter() - began, usage(process.pid)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _first_answer(server: Server, port: int, body: bytes, process: subprocess.Popen[bytes], log: Path) -> None:
    end = perf_counter() + 60
    while perf_counter() < end:
        if process.poll() is not None:
            break
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            fields = {"Content-Type": "application/json"}
            if server.token is not None:
                fields["Authorization"] = f"Bearer {server.token()}"
            connection.request("POST", server.path, body, fields)
            answer = connection.getresponse()
            text = answer.read()
        except ConnectionRefusedError:
            sleep(0.002)
            continue
        finally:
            connection.close()
        if answer.status != 200 or b'"summary"' not in text:
            raise RuntimeError(f"{server.name} answers {answer.status} without a card: {text[:300]!r}")
        return
    said = log.read_text(encoding="utf-8", errors="replace")[-2000:]
    raise RuntimeError(f"{server.name} did not answer; it said:\n{said}")


def usage(pid: int) -> Usage:
    """Add up a process and its children, ended threads included (they stay in the process's own account)."""
    cpu = rss = peak = 0.0
    for one in _tree(pid):
        fields = Path(f"/proc/{one}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        cpu += (int(fields[11]) + int(fields[12])) * _TICK_S
        rss += int(Path(f"/proc/{one}/statm").read_text(encoding="ascii").split()[1]) * _PAGE / 2**20
        status = Path(f"/proc/{one}/status").read_text(encoding="ascii", errors="replace")
        peak += int(status.partition("VmHWM:")[2].split()[0]) / 1024
    return Usage(cpu, rss, peak)


def _tree(pid: int) -> Iterator[int]:
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text(encoding="ascii").split():
            yield from _tree(int(child))
