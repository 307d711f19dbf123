"""From the teacher to what ships, every step measured: distilled, cut in depth, quantized, beside the student that had no teacher."""

import time
from collections.abc import Mapping
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from msgspec import Struct

from cds_service.clinical.pixels import PixelSpec
from cds_service.cohorts.images import OUTPUT
from cds_service.model.measure import GraphCost, compare_costs, graph_cost
from cds_service.model.runtime import open_session
from cds_service.stats.calibration import calibration_fit, observed_expected_ratio
from cds_service.stats.discrimination import roc_auc_difference, roc_auc_score, roc_auc_with_interval
from cds_service.stats.figures import written
from cds_service.stats.intervals import Estimate
from cds_service.training.image_export import as_image_onnx, as_int8
from cds_service.training.image_recipe_types import Int8Recipe
from cds_service.training.image_student import Lesson, Students, distil_images, measure_family
from cds_service.training.image_teacher import ImageTeacher

__all__ = ["Compressed", "compress", "int8_ships"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class Compressed(Struct, frozen=True):
    """What ships, and how every step did."""

    students: Students
    logits: Floats
    """Out of fold, in the precision that ships."""
    graph: bytes
    precision: Literal["fp32", "int8"]
    table: dict[str, Any]
    """For ``metrics.json``."""


def compress(lesson: Lesson, teacher: ImageTeacher, said: Floats, spec: PixelSpec) -> Compressed:
    """Distil, quantize, measure, and decide by the recipe's rule what ships.

    Args:
        lesson: What students learn from.
        teacher: The members.
        said: The teacher's out-of-fold logits.
        spec: The bundle's ``pixels.toml``.
    """
    recipe, say, size = lesson.recipe, lesson.say, spec.size
    shape = (1, 1, size, size)
    students = distil_images(lesson, recipe.student.shape, soft=True, final=True)
    alone = distil_images(lesson, recipe.student.shape, soft=False, final=False)
    family = measure_family(lesson)
    assert students.final is not None  # noqa: S101 - asked for above
    fp32 = as_image_onnx(students.final, size, OUTPUT)
    say("int8: quantizing the student and those of the folds")
    everyone = np.arange(len(lesson.cohort))
    int8 = as_int8(fp32, _examples(lesson, everyone))
    of_int8 = _int8_out_of_fold(lesson, students, size)
    say("costs: each graph in a process of its own, on one core")
    cost32, cost8 = compare_costs(fp32, int8, shape)
    truth, lesion = lesson.cohort.malignant, lesson.cohort.lesion
    loss = roc_auc_score(truth, students.logits) - roc_auc_score(truth, of_int8)
    ships, why = int8_ships(cost32, cost8, loss, recipe.int8)
    member = as_image_onnx(teacher.all_members[0], size, OUTPUT)
    count = len(teacher.all_members)
    one = graph_cost(member, shape)
    in_onnx = GraphCost(
        count * one.bytes, count * one.p50_ms, count * one.p95_ms, count * one.cpu_ms, count * one.memory_mb
    )
    rows = {
        "teacher, PyTorch fp32": (said, _torch_cost(teacher, size, in_onnx)),
        "teacher, ONNX fp32": (said, in_onnx),
        "student without a teacher, fp32": (alone.logits, cost32),
        "student distilled, fp32": (students.logits, cost32),
        "student distilled, int8": (of_int8, cost8),
    }
    table = {
        "what": (
            f"out of fold ({recipe.folds} folds, one seed a student, {recipe.teacher.members_per_fold} teachers a fold); slope and "
            f"O:E are of the raw logits, before the calibration; costs are of one image on one core; the teacher that answers is {count} nets, and the memory of its PyTorch row is that of its graphs"
        ),
        "shipped": "student distilled, int8" if ships else "student distilled, fp32",
        "int8_rule": why,
        "steps": {
            name: {**_figures(truth, lesion, logits, said), "cost": _cost(cost)}
            for name, (logits, cost) in rows.items()
        },
        "distillation_gain": written(roc_auc_difference(truth, students.logits, alone.logits).difference),
        "family": _family(lesson, family, size),
    }
    return Compressed(
        students, of_int8 if ships else students.logits, int8 if ships else fp32, "int8" if ships else "fp32", table
    )


def int8_ships(fp32: GraphCost, int8: GraphCost, auc_loss: float, rule: Int8Recipe) -> tuple[bool, str]:
    """Decide whether int8 may ship: smaller enough, not slower, and no worse.

    Returns:
        The decision, and a sentence that says each of the three.
    """
    shrink = fp32.bytes / int8.bytes
    checks = (
        (shrink >= rule.least_shrink, f"{shrink:.2f} times smaller (at least {rule.least_shrink:g})"),
        (int8.cpu_ms <= fp32.cpu_ms, f"{int8.cpu_ms:.2f} ms of CPU against {fp32.cpu_ms:.2f} (not slower)"),
        (
            auc_loss <= rule.most_auc_loss,
            f"AUC {-auc_loss:+.4f} out of fold (a loss of at most {rule.most_auc_loss:g})",
        ),
    )
    told = "; ".join(f"{text}: {'yes' if holds else 'no'}" for holds, text in checks)
    ships = all(holds for holds, _ in checks)
    return ships, f"{'int8 ships' if ships else 'fp32 ships'}. int8 is {told}"


def _examples(lesson: Lesson, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """Some training images as served, the same ones each time, to set the ranges of the activations."""
    count = min(lesson.recipe.int8.calibration_images, len(rows))
    chosen = np.random.default_rng(lesson.recipe.seed).permutation(rows)[:count]
    examples: npt.NDArray[np.float32] = lesson.served[np.sort(chosen)].numpy()
    return examples


def _int8_out_of_fold(lesson: Lesson, students: Students, size: int) -> Floats:
    logits = np.full(len(lesson.cohort), np.nan)
    for k, net in enumerate(students.of_folds):
        known, asked = np.nonzero(lesson.fold != k)[0], np.nonzero(lesson.fold == k)[0]
        graph = as_int8(as_image_onnx(net, size, OUTPUT), _examples(lesson, known))
        logits[asked] = _ask(graph, lesson.served[asked].numpy())
    return logits


def _ask(graph: bytes, images: npt.NDArray[np.float32]) -> Floats:
    session = open_session(graph, "a graph just made", 1)
    parts = [
        session.run(["logits"], {"pixels": part})[0][:, 0] for part in np.array_split(images, max(1, len(images) // 32))
    ]
    return np.concatenate(parts).astype(np.float64)


def _figures(truth: Bools, lesion: Bools, logits: Floats, said: Floats) -> dict[str, Any]:
    probability = 1 / (1 + np.exp(-np.clip(logits, -30, 30)))
    try:
        slope = calibration_fit(truth, probability).slope
    except ValueError:  # separated perfectly: there is no finite slope
        slope = Estimate(float("nan"), float("nan"), float("nan"))
    less = roc_auc_difference(truth, logits, said).difference
    return {
        "roc_auc_score": written(roc_auc_with_interval(truth, logits)),
        "roc_auc_score_lesions_only": written(roc_auc_with_interval(truth[lesion], logits[lesion])),
        "less_teacher": written(less),
        "calibration_slope": written(slope),
        "observed_expected_ratio": written(observed_expected_ratio(truth, probability)),
    }


def _cost(cost: GraphCost) -> dict[str, float]:
    plain: dict[str, float] = msgspec.to_builtins(cost)
    return {name: round(number, 3) for name, number in plain.items()}


def _torch_cost(teacher: ImageTeacher, size: int, in_onnx: GraphCost) -> GraphCost:
    """Time the whole ensemble as PyTorch runs it; its memory is not told apart from training's, so the graphs' stands in."""
    image = torch.randn((1, 1, size, size), generator=torch.Generator().manual_seed(1))
    walls, cpus = [], []
    with torch.inference_mode():
        for _ in range(12):
            wall, cpu = time.perf_counter(), time.thread_time()
            for net in teacher.all_members:
                net(image)
            walls.append(1000 * (time.perf_counter() - wall))
            cpus.append(1000 * (time.thread_time() - cpu))
    p50, p95 = np.quantile(walls[2:], (0.5, 0.95))
    return GraphCost(in_onnx.bytes, float(p50), float(p95), float(np.median(cpus[2:])), in_onnx.memory_mb)


def _family(lesson: Lesson, family: Mapping[Any, tuple[Any, Floats]], size: int) -> dict[str, Any]:
    """Every shape on the first fold: AUC, and what it costs in fp32 and int8."""
    asked = lesson.fold == 0
    known = np.nonzero(~asked)[0]
    truth = lesson.cohort.malignant[asked]
    found: dict[str, Any] = {}
    for name, (net, logits) in family.items():
        fp32 = as_image_onnx(net, size, OUTPUT)
        int8 = as_int8(fp32, _examples(lesson, known))
        cost32, cost8 = compare_costs(fp32, int8, (1, 1, size, size), turns=2)
        found[name] = {
            "roc_auc_score": written(roc_auc_with_interval(truth, logits)),
            "int8_roc_auc_score": written(roc_auc_with_interval(truth, _ask(int8, lesson.served[asked].numpy()))),
            "fp32": _cost(cost32),
            "int8": _cost(cost8),
        }
    return found
