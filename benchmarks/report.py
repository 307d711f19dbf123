"""The figures of one run as text: costs side by side with their ratios, cold starts, memory, where the time goes."""

__all__ = ["GOALS", "print_report"]

GOALS = (
    ("CPU, 50 resources, 1 connection, ÷ floor", "ratio", (50, "floor"), 7.0),
    ("CPU, 1000 resources, 1 connection, ÷ floor", "ratio", (1000, "floor"), 3.0),
    ("CPU, 50 resources, 1 connection, ÷ FastAPI", "ratio", (50, "FastAPI"), 0.65),
    ("CPU, 1000 resources, 1 connection, ÷ FastAPI", "ratio", (1000, "FastAPI"), 0.25),
    ("CPU with RS384, 50 resources, 1 connection, ÷ floor", "signed", (50, "floor"), 8.0),
    ("CPU with RS384, 1000 resources, 1 connection, ÷ floor", "signed", (1000, "floor"), 3.2),
    ("p99 ÷ p50, 50 resources, 1 connection", "tail", 50, 3.0),
    ("p99 ÷ p50, 1000 resources, 1 connection", "tail", 1000, 3.0),
    ("cold start, seconds, ÷ FastAPI", "start", "FastAPI", 1.6),
)
"""Figures to beat: what, how it is had, from what, at most."""


def print_report(result: dict) -> None:
    machine = result["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    print(f"{result['command']}   ({result['made']})")
    print(f"{machine['cores']} cores of {machine['cpu']}, kernel {machine['kernel']}, Python {machine['python']}, load "
          f"average at the end {machine['load_average']:.1f}; {result['client']}; {versions}")  # fmt: skip
    for name, about in result["servers"].items():
        print(f"  {name}: {about}")
    for resources in sorted({cost["resources"] for cost in result["costs"]}):
        size = result["bytes"][resources]
        print(
            f"\n{resources} resources, {size:,} bytes: CPU ms per request (÷ floor, ÷ FastAPI) · p50 · p99 ms, answers a second, with a card"
        )
        _print_costs([cost for cost in result["costs"] if cost["resources"] == resources])
    print("\ncold start to the first answer (a whole chart open): seconds, CPU seconds, RSS MB idle → peak")
    for name, start in result["starts"].items():
        memory = result["memory"].get(name)
        peak = f" → {memory['max_mb']:.0f}" if memory else ""
        print(f"  {name:<18} {start['s']:.2f} s   {start['cpu_s']:.2f} s CPU   {start['rss_mb']:.0f}{peak} MB")
    for resources, steps in result["where"].items():
        total = sum(steps.values())
        print(f"\nwhere the {total:,.0f} µs of CPU of our chart open with {resources} resources go (1 connection)")
        for name, cost in steps.items():
            print(f"  {name:<60} {cost:>8,.0f} µs  {100 * cost / total:>5.1f} %")
    print("\nfigures to beat")
    for line in goal_lines(result):
        print(f"  {line}")


def _print_costs(costs: list[dict]) -> None:
    for connections in sorted({cost["connections"] for cost in costs}):
        row = {cost["server"]: cost for cost in costs if cost["connections"] == connections}
        print(f"  {connections} connection{'s' if connections > 1 else ''}")
        for name, cost in row.items():
            if cost["cpu_ms"] is None:
                print(f"    {name:<18} no answer")
                continue
            beside = [row[other]["cpu_ms"] for other in ("floor", "FastAPI") if other in row and row[other]["cpu_ms"]]
            ratios = ", ".join(f"{cost['cpu_ms'] / other:.2f}×" for other in beside)
            errors = f", {cost['errors']} ERRORS" if cost["errors"] else ""
            print(f"    {name:<18} {cost['cpu_ms']:>8.3f} ({ratios}) · {cost['p50_ms']:.2f} · {cost['p99_ms']:.2f}, "
                  f"{cost['per_second']:.0f}/s, {100 * cost['with_card']:.1f} %{errors}")  # fmt: skip


def goal_lines(result: dict) -> list[str]:
    """Each figure to beat with what this run says: met or missed."""
    costs = {(c["server"], c["resources"]): c for c in result["costs"] if c["connections"] == 1 and c["cpu_ms"]}
    lines = []
    for what, kind, of, most in GOALS:
        found = None
        who = "ours, RS384" if kind == "signed" else "ours"
        if kind in ("ratio", "signed") and (who, of[0]) in costs and (of[1], of[0]) in costs:
            found = costs[who, of[0]]["cpu_ms"] / costs[of[1], of[0]]["cpu_ms"]
        elif kind == "tail" and ("ours", of) in costs:
            found = costs["ours", of]["p99_to_p50"]
        elif kind == "start" and of in result["starts"]:
            found = result["starts"]["ours"]["s"] / result["starts"][of]["s"]
        if found is not None:
            lines.append(f"{what:<54} {found:6.2f}, at most {most:g}: {'met' if found <= most else 'MISSED'}")
    return lines
