"""From the tabular teacher to what ships, every way measured out of fold with several seeds; resumable, never on a test set.

Each way to make the student differs in one thing from the recipe's. What is finished is kept, so that a kill costs one
student of one fold.
"""

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Struct

from cds_service.model.measure import GraphCost, graph_cost
from cds_service.stats.calibration import calibration_fit, observed_expected_ratio
from cds_service.stats.discrimination import roc_auc_difference, roc_auc_score, roc_auc_with_interval
from cds_service.stats.figures import written
from cds_service.stats.intervals import Estimate
from cds_service.training.distill import held_to, make_mask
from cds_service.training.export import as_int8, as_onnx, ask_onnx
from cds_service.training.monotone import directions_of, falls_where_it_should_rise
from cds_service.training.nets import ChainNet, Table, fit_net, logits_of, probabilities_of
from cds_service.training.recipe import Prepared, prepare_table
from cds_service.training.recipe_types import NetRecipe
from cds_service.training.teacher import OutOfFold, teach

__all__ = ["TableCompression", "measure_table_compression", "table_compression_lines"]

Floats = npt.NDArray[np.float64]
Say = Callable[[str], None]

_SEEDS = 3
_TURNS = 3


class Way(Struct, frozen=True):
    """One way to make the student."""

    title: str
    net: NetRecipe
    soft_weight: float
    held: float
    """Weight of the directions that medicine knows; 0 leaves the net free."""


class TableCompression(Struct, frozen=True):
    """What each step gave, and what ships by the rule."""

    model: str
    outputs: tuple[str, ...]
    cases: int
    steps: dict[str, dict[str, Any]]
    rule: str
    wrong_way: dict[str, dict[str, dict[str, float]]]
    """Step → input → how often and how far the estimate moves against what medicine knows."""


def measure_table_compression(
    model: str, recipe: str = "default", *, data: Path, recipes: Path, state: Path, say: Say = print
) -> TableCompression:
    """Measure every way on the training data, out of fold.

    Args:
        model: A folder of *recipes*, such as ``dysglycaemia``.
        recipe: The recipe's name.
        data: The folder that holds ``SHA256SUMS`` and the tables.
        recipes: Where recipes lie.
        state: Where finished students are kept.
        say: Where progress goes.

    Raises:
        SettingsError: The recipe or the data are wrong.
    """
    prepared = prepare_table(model, recipe, data=data, recipes=recipes, say=say)
    frozen, table = prepared.recipe, prepared.table
    cache = state / "cache" / model
    teacher = teach(table, prepared.cohort.ids, prepared.inputs, frozen, cache=cache, say=say)
    bench = _Bench(prepared, teacher, cache, say)
    student = frozen.student
    narrow = msgspec.structs.replace(student.net, hidden=tuple(max(4, width // 2) for width in student.net.hidden))
    ways = (
        Way("student without a teacher", student.net, 0.0, student.held),
        Way("student distilled", student.net, student.soft_weight, student.held),
        Way("student distilled, free to move the wrong way", student.net, student.soft_weight, 0.0),
        Way("student distilled, half as wide", narrow, student.soft_weight, student.held),
    )
    outputs = tuple(prepared.truth)
    steps: dict[str, dict[str, Any]] = {"teacher": bench.figures(teacher.outside)}
    wrong_way: dict[str, dict[str, dict[str, float]]] = {}
    for way in ways:
        runs = [bench.out_of_fold(way, seed) for seed in range(_SEEDS)]
        steps[way.title] = {
            **bench.figures(probabilities_of(runs[0])),
            "seeds": {
                output: [round(roc_auc_score(truth, probabilities_of(run)[:, place]), 4) for run in runs]
                for place, (output, truth) in enumerate(prepared.truth.items())
            },
            "cost": _cost(bench.cost(way)),
        }
        wrong_way[way.title] = bench.wrong_way(way)
    distilled = ways[1]
    steps["student distilled, int8"] = {
        **bench.figures(probabilities_of(bench.out_of_fold_int8(distilled))),
        "cost": _cost(bench.cost(distilled, int8=True)),
    }
    return TableCompression(model, outputs, len(prepared.cohort), steps, _rule(steps, outputs), wrong_way)


def table_compression_lines(result: TableCompression) -> list[str]:
    """Write the result as a page in Markdown, a line each."""
    shown = (result.outputs[0], result.outputs[-1])
    head = ["step"]
    for output in shown:
        head += [f"AUC {output}", "less teacher", "slope", "O:E"]
    head += ["bytes", "µs, median", "µs, 95 %", "CPU µs", "MB"]
    lines = [
        f"# {result.model}: from the teacher to the student",
        "",
        (
            f"Out of fold on the {result.cases} training rows, the first of {_SEEDS} seeds; slope and O:E are raw, before the "
            "calibration; costs are of one row on one core in a process of its own."
        ),
        "",
        f"| {' | '.join(head)} |",
        "|" + " --- |" * len(head),
    ]
    for name, step in result.steps.items():
        cells = [name]
        for output in shown:
            one = step["outputs"][output]
            cells += [
                _range(one["roc_auc_score"], 3), _range(one["less_teacher"], 4), _range(one["calibration_slope"], 2),
                _range(one["observed_expected_ratio"], 2),
            ]  # fmt: skip
        cost = step.get("cost")
        cells += ["", "", "", "", ""] if cost is None else [
            f"{cost['bytes']:.0f}", f"{1000 * cost['p50_ms']:.1f}", f"{1000 * cost['p95_ms']:.1f}",
            f"{1000 * cost['cpu_ms']:.1f}", f"{cost['memory_mb']:.1f}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", result.rule, "", "AUC by seed:", "", f"| step | {' | '.join(result.outputs)} |"]
    lines.append("|" + " --- |" * (len(result.outputs) + 1))
    for name, step in result.steps.items():
        if "seeds" in step:
            seeds = (", ".join(f"{auc:.4f}" for auc in step["seeds"][output]) for output in result.outputs)
            lines.append(f"| {name} | {' | '.join(seeds)} |")
    lines += [
        "",
        (
            f"How often the estimate of {result.outputs[-1]} moves the wrong way, by more than half a point in a hundred, "
            "when one input goes from its 10th to its 90th percentile and the others stay; and the furthest:"
        ),
        "",
    ]
    names = list(next(iter(result.wrong_way.values())))
    lines += [f"| step | {' | '.join(names)} |", "|" + " --- |" * (len(names) + 1)]
    for name, inputs in result.wrong_way.items():
        cells = [f"{100 * one['share']:.1f} %, {100 * one['furthest']:.1f}" for one in inputs.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


class _Bench:
    """The rows, the teacher's word on them, and the students that are finished."""

    def __init__(self, prepared: Prepared, teacher: OutOfFold, cache: Path, say: Say) -> None:
        self._prepared, self._teacher, self._cache, self._say = prepared, teacher, cache, say
        self._nets: dict[tuple[str, int, int | None], ChainNet] = {}

    def out_of_fold(self, way: Way, seed: int) -> Floats:
        """Step logits of every row by the student that never saw its fold."""
        kept = self._cache / f"compression-{self._key(way, seed)}.npy"
        if kept.exists():
            return np.asarray(np.load(kept, allow_pickle=False))
        table, fold = self._prepared.table, self._teacher.fold
        logits = np.full(table.targets.shape, np.nan)
        for k in range(self._prepared.recipe.folds):
            self._say(f"{way.title}, seed {seed + 1} of {_SEEDS}: without fold {k + 1}")
            logits[fold == k] = logits_of(self._net(way, seed, k), table.values[fold == k], table.present[fold == k])
        kept.parent.mkdir(parents=True, exist_ok=True)
        partial = kept.with_suffix(".writing.npy")
        np.save(partial, logits)
        partial.replace(kept)
        return logits

    def out_of_fold_int8(self, way: Way) -> Floats:
        """The same by quantized graphs, each with ranges from its own training rows."""
        table, fold = self._prepared.table, self._teacher.fold
        logits = np.full(table.targets.shape, np.nan)
        for k in range(self._prepared.recipe.folds):
            self._say(f"{way.title}, int8: without fold {k + 1}")
            graph = as_int8(self._onnx(self._net(way, 0, k)), table.values[fold != k], table.present[fold != k])
            logits[fold == k] = ask_onnx(graph, table.values[fold == k], table.present[fold == k])
        return logits

    def cost(self, way: Way, *, int8: bool = False) -> GraphCost:
        """What one answer of the graph that was fitted on all rows costs; of a few turns the one that a neighbour met least."""
        table = self._prepared.table
        graph = self._onnx(self._net(way, 0, None))
        if int8:
            graph = as_int8(graph, table.values, table.present)
        turns = [graph_cost(graph, (1, table.values.shape[1]), runs=2_000) for _ in range(_TURNS)]
        return min(turns, key=lambda one: one.cpu_ms)

    def wrong_way(self, way: Way) -> dict[str, dict[str, float]]:
        """How the student on all rows moves against the directions that the recipe's trees are held to."""
        prepared = self._prepared
        return falls_where_it_should_rise(
            self._net(way, 0, None), prepared.table, prepared.inputs, directions_of(prepared.recipe)
        )

    def figures(self, probability: Floats) -> dict[str, Any]:
        """AUC, distance from the teacher, slope and O:E, by output."""
        found = {}
        for place, (output, truth) in enumerate(self._prepared.truth.items()):
            score, said = probability[:, place], self._teacher.outside[:, place]
            found[output] = {
                "roc_auc_score": written(roc_auc_with_interval(truth, score)),
                "less_teacher": written(roc_auc_difference(truth, score, said).difference),
                "calibration_slope": written(calibration_fit(truth, score).slope),
                "observed_expected_ratio": written(observed_expected_ratio(truth, score)),
            }
        return {"outputs": found}

    def _net(self, way: Way, seed: int, k: int | None) -> ChainNet:
        name = (self._key(way, seed), seed, k)
        if name not in self._nets:
            recipe, table, teacher = self._prepared.recipe, self._prepared.table, self._teacher
            chosen = np.ones(len(table.values), dtype=np.bool_) if k is None else teacher.fold != k
            soft = teacher.outside if k is None else teacher.nested[k]
            mixed = (way.soft_weight * soft[chosen] + (1 - way.soft_weight) * table.targets[chosen]).astype(np.float32)
            rows = Table(table.values[chosen], table.present[chosen], mixed, table.height[chosen])
            mask = make_mask(recipe.student.masks, self._prepared.inputs)
            held = held_to(recipe, self._prepared.inputs, way.held)
            self._nets[name] = fit_net(rows, way.net, seed=recipe.seed + 1000 * seed, mask=mask, held=held)
        return self._nets[name]

    def _onnx(self, net: ChainNet) -> bytes:
        return as_onnx(net, self._prepared.inputs, tuple(self._prepared.truth))

    def _key(self, way: Way, seed: int) -> str:
        recipe = self._prepared.recipe
        decides = (
            self._prepared.cohort.digest(), msgspec.to_builtins(way), seed, recipe.seed, recipe.folds,
            msgspec.to_builtins(recipe.student.masks), msgspec.to_builtins(recipe.teacher),
        )  # fmt: skip
        return hashlib.sha256(msgspec.json.encode(decides)).hexdigest()[:16]


def _rule(steps: Mapping[str, dict[str, Any]], outputs: tuple[str, ...]) -> str:
    """int8 ships only if it is at least three times smaller, not slower, and loses no more than 0.005 AUC anywhere."""
    whole, small = steps["student distilled"], steps["student distilled, int8"]
    shrink = whole["cost"]["bytes"] / small["cost"]["bytes"]
    lost = max(
        whole["outputs"][output]["roc_auc_score"]["value"] - small["outputs"][output]["roc_auc_score"]["value"]
        for output in outputs
    )
    checks = (
        (shrink >= 3, f"{shrink:.2f} times smaller (at least 3)"),
        (
            small["cost"]["cpu_ms"] <= whole["cost"]["cpu_ms"],
            f"{1000 * small['cost']['cpu_ms']:.1f} µs of CPU against {1000 * whole['cost']['cpu_ms']:.1f} (not slower)",
        ),
        (lost <= 0.005, f"AUC {-lost:+.4f} at worst (a loss of at most 0.005)"),
    )
    told = "; ".join(f"{text}: {'yes' if holds else 'no'}" for holds, text in checks)
    return f"{'int8' if all(holds for holds, _ in checks) else 'fp32'} ships. int8 is {told}."


def _cost(cost: GraphCost) -> dict[str, float]:
    plain: dict[str, float] = msgspec.to_builtins(cost)
    return {name: round(number, 5) for name, number in plain.items()}


def _range(figure: Mapping[str, float | None], digits: int) -> str:
    one = Estimate(*(float("nan") if number is None else number for number in figure.values()))
    return f"{one.value:.{digits}f} [{one.low:.{digits}f}, {one.high:.{digits}f}]"
