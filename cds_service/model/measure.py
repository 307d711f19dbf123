"""What a graph costs: time, CPU and memory of one answer on one core, in a process of its own.

Run as ``python -m cds_service.model.measure``; the graph comes on standard input, so nothing else is in its memory.
"""

import json
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import onnxruntime as ort
from msgspec import Struct

__all__ = ["GraphCost", "compare_costs", "graph_cost"]


class GraphCost(Struct, frozen=True):
    """Of one image or row, batch 1, one thread."""

    bytes: int
    p50_ms: float
    p95_ms: float
    cpu_ms: float
    """CPU time of one answer, which a busy neighbour moves less than the clock."""
    memory_mb: float
    """Resident memory after the runs, less what the interpreter and ONNX Runtime had before the graph."""


def graph_cost(graph: bytes, shape: Sequence[int], *, runs: int = 200) -> GraphCost:
    """Measure a graph in a fresh process.

    Args:
        graph: Our own graph; it is not looked at for what it may not contain.
        shape: Of its input, of each where it has several.
        runs: After twenty that warm up.

    Raises:
        RuntimeError: The process failed; says what it wrote.
    """
    ran = subprocess.run(  # noqa: S603 - our own interpreter and module
        [sys.executable, "-m", "cds_service.model.measure", str(runs), *map(str, shape)],
        input=graph,
        capture_output=True,
        check=False,
    )
    if ran.returncode != 0:
        raise RuntimeError(f"the measuring process failed: {ran.stderr.decode(errors='replace')[-500:]}")
    return msgspec.json.decode(ran.stdout, type=GraphCost)


def compare_costs(first: bytes, second: bytes, shape: Sequence[int], *, turns: int = 3) -> tuple[GraphCost, GraphCost]:
    """Measure two graphs in turn, so that a busy moment meets both, and keep the turn in which each cost least."""
    costs = [(graph_cost(first, shape), graph_cost(second, shape)) for _ in range(turns)]
    return min((a for a, _ in costs), key=lambda c: c.cpu_ms), min((b for _, b in costs), key=lambda c: c.cpu_ms)


def _measure(graph: bytes, runs: int, shape: Sequence[int]) -> GraphCost:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    before = _resident_kb()
    session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    image = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    feed = {node.name: image for node in session.get_inputs()}
    for _ in range(20):
        session.run(None, feed)
    walls, cpus = np.empty(runs), np.empty(runs)
    for run in range(runs):
        wall, cpu = time.perf_counter(), time.thread_time()
        session.run(None, feed)
        walls[run], cpus[run] = time.perf_counter() - wall, time.thread_time() - cpu
    after = _resident_kb()
    p50, p95 = np.quantile(walls, (0.5, 0.95)) * 1000
    cost = (len(graph), p50, p95, float(np.median(cpus)) * 1000, (after - before) / 1024)
    return GraphCost(cost[0], *(round(float(number), 5) for number in cost[1:]))


def _resident_kb() -> int:
    """Read it from Linux; ``ru_maxrss`` would not do, since a child begins with its parent's peak."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))


if __name__ == "__main__":
    runs, *shape = map(int, sys.argv[1:])
    sys.stdout.write(json.dumps(msgspec.to_builtins(_measure(sys.stdin.buffer.read(), runs, shape))))
