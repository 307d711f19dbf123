"""From the teacher to what ships, every step measured: distilled, pruned, quantized, beside the student without a teacher."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
import torch
from msgspec import Struct

from cds_service.clinical.pixels import PixelSpec
from cds_service.cohorts.images import OUTPUT
from cds_service.model.image_model import UNLIKENESS
from cds_service.model.measure import GraphCost, compare_costs, graph_cost
from cds_service.model.parts import UnlikenessReference
from cds_service.model.runtime import open_session
from cds_service.stats.calibration import calibration_fit, observed_expected_ratio
from cds_service.stats.discrimination import roc_auc_difference, roc_auc_score, roc_auc_with_interval
from cds_service.stats.figures import written
from cds_service.stats.intervals import Estimate
from cds_service.training.image_export import as_image_onnx, as_int8
from cds_service.training.image_recipe_types import Int8Recipe, PruneRecipe
from cds_service.training.image_student import Lesson, Students, distil_images, measure_family
from cds_service.training.image_teacher import ImageTeacher
from cds_service.training.image_unlike import Unlikeness, choose_unlikeness, judge_unlikeness
from cds_service.training.image_views import as_served

__all__ = ["Compressed", "compress", "int8_ships"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Others = Mapping[str, Sequence[npt.NDArray[np.uint8]]]


class Compressed(Struct, frozen=True):
    """What ships, and how every step did."""

    students: Students
    logits: Floats
    """Out of fold, in the precision that ships."""
    graph: bytes
    precision: Literal["fp32", "int8"]
    unlikeness: UnlikenessReference
    table: dict[str, Any]
    """For ``metrics.json``."""
    unlikeness_figures: dict[str, Any]


class _Student(Struct, frozen=True):
    """One way to make the student, in both precisions."""

    title: str
    made: Students
    unlike: Unlikeness
    fp32: bytes
    int8: bytes
    cost32: GraphCost
    cost8: GraphCost
    logits8: Floats
    known: tuple[Floats, Floats]
    """How unlike the training images are, out of fold, as the fp32 and as the int8 graphs say."""


def compress(lesson: Lesson, teacher: ImageTeacher, said: Floats, others: Others, spec: PixelSpec) -> Compressed:
    """Distil, prune, quantize, measure, and decide by the recipe's rules what ships.

    Args:
        lesson: What students learn from.
        teacher: The members.
        said: The teacher's out-of-fold logits.
        others: Kind → pictures that are no usable breast ultrasound.
        spec: The bundle's ``pixels.toml``.
    """
    recipe, say, size = lesson.recipe, lesson.say, spec.size
    shape, prune = recipe.student.shape, recipe.student.prune
    alone = distil_images(lesson, shape, soft=False, final=False)
    whole = _student(lesson, others, spec, "distilled", None)
    narrow = _student(lesson, others, spec, "distilled and pruned", prune)
    family = measure_family(lesson)
    truth, lesion = lesson.cohort.malignant, lesson.cohort.lesion
    lost = roc_auc_score(truth, whole.made.logits) - roc_auc_score(truth, narrow.made.logits)
    chosen = narrow if lost <= prune.most_auc_loss else whole
    loss = roc_auc_score(truth, chosen.made.logits) - roc_auc_score(truth, chosen.logits8)
    ships, why = int8_ships(chosen.cost32, chosen.cost8, loss, recipe.int8)
    say("costs: the teacher")
    count = len(teacher.all_members)
    one = graph_cost(as_image_onnx(teacher.all_members[0], size, OUTPUT), (1, 1, size, size))
    in_onnx = GraphCost(
        count * one.bytes, count * one.p50_ms, count * one.p95_ms, count * one.cpu_ms, count * one.memory_mb
    )
    rows = {
        "teacher, PyTorch fp32": (said, _torch_cost(teacher, size, in_onnx)),
        "teacher, ONNX fp32": (said, in_onnx),
        "student without a teacher, fp32": (alone.logits, whole.cost32),
    }
    for student in (whole, narrow):
        rows[f"student {student.title}, fp32"] = (student.made.logits, student.cost32)
        rows[f"student {student.title}, int8"] = (student.logits8, student.cost8)
    precision: Literal["fp32", "int8"] = "int8" if ships else "fp32"
    table = {
        "what": (
            f"out of fold ({recipe.folds} folds, {recipe.teacher.members_per_fold} teachers a fold, the first seed of the students); slope and "
            f"O:E are of the raw logits, before the calibration; costs are of one image on one core; the teacher that answers is {count} nets, and the memory of its PyTorch row is that of its graphs"
        ),
        "shipped": f"student {chosen.title}, {precision}",
        "prune_rule": (
            f"{prune.share:.0%} of the channels of each layer pruned: AUC {-lost:+.4f} out of fold (a loss of at most "
            f"{prune.most_auc_loss:g}): {'the narrower student is taken' if chosen is narrow else 'the whole student is taken'}"
        ),
        "int8_rule": why,
        "steps": {
            name: {**_figures(truth, lesion, logits, said), "cost": _cost(cost)}
            for name, (logits, cost) in rows.items()
        },
        "distillation_gain": written(roc_auc_difference(truth, whole.made.logits, alone.logits).difference),
        "seeds": _seeds(lesson, prune),
        "family": _family(lesson, family, size),
    }
    graph = chosen.int8 if ships else chosen.fp32
    strange = {kind: _ask(graph, as_served(pictures, spec).numpy())[1] for kind, pictures in others.items()}
    reference, figures = judge_unlikeness(chosen.unlike, chosen.known[ships], lesson.fold, strange)
    return Compressed(
        chosen.made, chosen.logits8 if ships else chosen.made.logits, graph, precision, reference, table, figures
    )


def _student(lesson: Lesson, others: Others, spec: PixelSpec, title: str, prune: PruneRecipe | None) -> _Student:
    """Fit, export, quantize and time one kind of student."""
    size, shape = spec.size, lesson.recipe.student.shape
    made = distil_images(lesson, shape, soft=True, final=True, prune=prune)
    assert made.final is not None  # noqa: S101 - asked for above
    lesson.say(f"student {title}: what is unlike its images; int8; costs, each graph in a process of its own")
    unlike = choose_unlikeness(lesson.cohort, lesson.served, lesson.fold, made.of_folds, made.final, others, spec)
    fp32 = as_image_onnx(made.final, size, OUTPUT, unlike.final)
    int8 = as_int8(fp32, _examples(lesson, np.arange(len(lesson.cohort))))
    logits8, known32, known8 = (np.full(len(lesson.cohort), np.nan) for _ in range(3))
    for k, (net, likeness) in enumerate(zip(made.of_folds, unlike.of_folds, strict=True)):
        known, asked = np.nonzero(lesson.fold != k)[0], np.nonzero(lesson.fold == k)[0]
        graph = as_image_onnx(net, size, OUTPUT, likeness)
        images = lesson.served[asked].numpy()
        known32[asked] = _ask(graph, images)[1]
        logits8[asked], known8[asked] = _ask(as_int8(graph, _examples(lesson, known)), images)
    costs = compare_costs(fp32, int8, (1, 1, size, size))
    return _Student(title, made, unlike, fp32, int8, *costs, logits8, (known32, known8))


def _seeds(lesson: Lesson, prune: PruneRecipe) -> dict[str, list[float]]:
    """AUC out of fold by seed: how much of each step's figure is chance."""
    shape = lesson.recipe.student.shape
    truth = lesson.cohort.malignant
    found: dict[str, list[float]] = {}
    for seed in range(lesson.recipe.student.seeds):
        ways = {
            "student without a teacher": distil_images(lesson, shape, soft=False, final=False, seed=seed),
            "student distilled": distil_images(lesson, shape, soft=True, final=False, seed=seed),
            "student distilled and pruned": distil_images(
                lesson, shape, soft=True, final=False, seed=seed, prune=prune
            ),
        }
        for name, students in ways.items():
            found.setdefault(name, []).append(round(roc_auc_score(truth, students.logits), 4))
    return found


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


def _ask(graph: bytes, images: npt.NDArray[np.float32]) -> tuple[Floats, Floats]:
    """Ask a graph about images: logits, and how unlike the training images each is."""
    session = open_session(graph, "a graph just made", 1)
    parts = [
        session.run(["logits", UNLIKENESS], {"pixels": part})
        for part in np.array_split(images, max(1, len(images) // 32))
    ]
    logits, unlikeness = (np.concatenate([part[place][:, 0] for part in parts]) for place in (0, 1))
    return logits.astype(np.float64), unlikeness.astype(np.float64)


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
            "int8_roc_auc_score": written(roc_auc_with_interval(truth, _logits(int8, lesson.served[asked].numpy()))),
            "fp32": _cost(cost32),
            "int8": _cost(cost8),
        }
    return found


def _logits(graph: bytes, images: npt.NDArray[np.float32]) -> Floats:
    session = open_session(graph, "a graph just made", 1)
    return np.concatenate([session.run(["logits"], {"pixels": one[None]})[0][:, 0] for one in images]).astype(
        np.float64
    )
