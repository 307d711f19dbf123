"""What a chart open costs: our whole service beside the floor, FastAPI by hand and, with ``--peers``, HealthChain.

    python benchmarks/chart_open.py                       # about four minutes
    python benchmarks/chart_open.py --peers --json run.json

One run, one machine, one worker each, the servers taking turns. CPU per request (user and system time of the whole
process tree over the answers) is the number to trust; wall times are those of a machine that may be shared.
"""

import argparse
import json
import os
import platform
import sys
import tempfile
from collections import defaultdict
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median

from bundles import SIZES, call_template, one_call
from load import client_name, put_load
from report import print_report
from servers import Server, environment, fastapi, floor, healthchain, ours, ours_rs384, running, usage
from where import where_the_time_goes

CONNECTIONS = (1, 8, 64)
_CALLS_A_ROUND = 10**7
_WARM_UP_S = 1.0
_TOKENS_A_SECOND = {50: 1_500, 1000: 400}
"""More than are answered, but signing one takes a millisecond."""


def main() -> None:
    given = _arguments()
    with tempfile.TemporaryDirectory(prefix="chart-open-") as folder:
        result = _measure(given, Path(folder))
    if given.json is not None:
        given.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print_report(result)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="of which the median counts [3]")
    parser.add_argument("--seconds", type=float, default=3.0, help="of load for each figure of a round [3]")
    parser.add_argument("--sizes", type=int, nargs="+", choices=sorted(SIZES), default=sorted(SIZES))
    parser.add_argument("--connections", type=int, nargs="+", default=list(CONNECTIONS))
    parser.add_argument("--peers", action="store_true", help="also HealthChain, from PyPI in an environment of its own")
    parser.add_argument("--no-fastapi", action="store_true", help="only our service and the floor")
    parser.add_argument("--port", type=int, default=18600, help="the first of the ports [18600]")
    parser.add_argument("--starts", type=int, default=5, help="cold starts, of which the median counts [5]")
    parser.add_argument("--cache", type=Path, default=_cache(), help="where the peers' environments are kept")
    parser.add_argument("--json", type=Path, help="write every figure to this file")
    return parser.parse_args()


def _cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "cds-service" / "benchmarks"


def _measure(given: argparse.Namespace, folder: Path) -> dict:
    templates = {}
    for resources in given.sizes:
        templates[resources] = folder / f"{resources}.json"
        templates[resources].write_text(call_template(SIZES[resources]), encoding="utf-8")
    servers = _servers(given, folder)
    small = templates[min(templates)].read_text(encoding="utf-8")
    starts = _cold_starts(servers, small, folder, given.starts)
    rounds = []
    for number in range(given.rounds):
        for port, server in servers:
            rounds += _one_round(port, server, templates, given, folder, number)
    costs = _medians(rounds)
    return {
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": _machine(),
        "command": " ".join(["python", "benchmarks/chart_open.py", *sys.argv[1:]]),
        "client": client_name(),
        "bytes": {size: len(one_call(path.read_text(encoding="utf-8"), 0)) for size, path in templates.items()},
        "servers": {server.name: server.about for _, server in servers},
        "starts": starts,
        "costs": costs,
        "memory": _memory(rounds),
        "where": where_the_time_goes(templates, costs, folder / "where"),
        "rounds": rounds,
    }


def _servers(given: argparse.Namespace, folder: Path) -> list[tuple[int, Server]]:
    ports = iter(range(given.port, given.port + 10))
    port = next(ports)
    servers = [(port, ours(port, folder / "ours"))]
    port = next(ports)
    servers.append((port, ours_rs384(port, folder / "ours-rs384")))
    for durable in (False, True):
        port = next(ports)
        servers.append((port, floor(port, durable=durable)))
    if not given.no_fastapi:
        python = environment("fastapi", given.cache)
        for tuned in (False, True):
            port = next(ports)
            servers.append((port, fastapi(port, python, tuned=tuned)))
    if given.peers:
        port = next(ports)
        servers.append((port, healthchain(port, environment("healthchain", given.cache))))
    return servers


def _cold_starts(servers: list[tuple[int, Server]], template: str, folder: Path, times: int) -> dict:
    """Seconds and CPU seconds to the first answer; the servers take turns, and each was started once before."""
    seen = defaultdict(list)
    for number in range(times + 1):
        for port, server in servers:
            call = one_call(template, 9 * 10**11 + number)
            with running(server, port, call, folder / f"{port}.log") as (_, seconds, used):
                if number:
                    seen[server.name].append((seconds, used.cpu_s, used.rss_mb))
    return {
        name: {
            what: median(column) for what, column in zip(("s", "cpu_s", "rss_mb"), zip(*rows, strict=True), strict=True)
        }
        for name, rows in seen.items()
    }


def _one_round(port, server, templates, given, folder, number) -> list[dict]:
    rows = []
    first = (1 + number) * _CALLS_A_ROUND * 100
    small = templates[min(templates)].read_text(encoding="utf-8")
    with running(server, port, one_call(small, first), folder / f"{port}.log") as (pid, _, idle):
        url = f"http://127.0.0.1:{port}{server.path}"
        for resources, template in templates.items():
            for place, connections in enumerate(given.connections):
                first += _CALLS_A_ROUND
                if not place:
                    tokens = _tokens(server, resources, _WARM_UP_S)
                    put_load(url, template, connections=connections, seconds=_WARM_UP_S, first=first, tokens=tokens)
                    first += _CALLS_A_ROUND
                tokens = _tokens(server, resources, given.seconds)
                before = usage(pid)
                load = put_load(
                    url, template, connections=connections, seconds=given.seconds, first=first, tokens=tokens
                )
                after = usage(pid)
                cpu_ms = 1000 * (after.cpu_s - before.cpu_s) / load.answers if load.answers else None
                row = {"server": server.name, "resources": resources, "connections": connections, "round": number}
                row |= {"cpu_ms": cpu_ms, "peak_mb": after.peak_mb, "idle_mb": idle.rss_mb, "busy": os.getloadavg()[0]}
                rows.append(row | asdict(load))
                said = f"{cpu_ms:.3f} ms CPU" if cpu_ms is not None else "no answer"
                print(
                    f"round {number + 1}: {server.name}, {resources} resources, {connections}: {said}", file=sys.stderr
                )
    return rows


def _tokens(server: Server, resources: int, seconds: float) -> list[str]:
    if server.token is None:
        return []
    return [server.token() for _ in range(int(seconds * _TOKENS_A_SECOND[resources]))]


def _medians(rounds: list[dict]) -> list[dict]:
    groups = defaultdict(list)
    for row in rounds:
        groups[row["server"], row["resources"], row["connections"]].append(row)
    costs = []
    for (name, resources, connections), rows in groups.items():
        answered = [row for row in rows if row["answers"]]
        cost = {"server": name, "resources": resources, "connections": connections}
        for what in ("cpu_ms", "p50_ms", "p99_ms"):
            cost[what] = median(row[what] for row in answered) if answered else None
        ratios = [row["p99_ms"] / row["p50_ms"] for row in answered]
        cost["p99_to_p50"] = median(ratios) if ratios else None
        cost["per_second"] = median(row["answers"] / row["seconds"] for row in rows)
        cost["errors"] = sum(row["errors"] for row in rows)
        answers = sum(row["answers"] for row in rows)
        cost["with_card"] = sum(row["cards"] for row in rows) / answers if answers else None
        costs.append(cost)
    return costs


def _memory(rounds: list[dict]) -> dict:
    names = {row["server"]: None for row in rounds}
    return {
        name: {
            "idle_mb": median(row["idle_mb"] for row in rounds if row["server"] == name),
            "max_mb": max(row["peak_mb"] for row in rounds if row["server"] == name),
        }
        for name in names
    }


def _machine() -> dict:
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if "model name" in line
        ),
        platform.machine(),
    )
    packages = ("uvicorn", "uvloop", "httptools", "starlette", "msgspec", "onnxruntime", "structlog", "pydantic")
    return {
        "cpu": model,
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "load_average": os.getloadavg()[0],
        "versions": {name: version(name) for name in packages},
    }


if __name__ == "__main__":
    main()
