"""One frozen recipe of an image model in, one candidate bundle out; ``release/`` judges it afterwards, once."""

import hashlib
import platform
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from msgspec import Struct

from cds_service.clinical.pixels import PixelSpec, prepare, resize
from cds_service.cohorts.images import OUTPUT, ImageCohort, read_busi
from cds_service.cohorts.other_images import made_from, read_other_modalities
from cds_service.errors import BundleError, Fault, SettingsError
from cds_service.model.bundle import (
    FORMAT,
    Calibration,
    DataUsed,
    InputReference,
    Manifest,
    OperatingPoint,
    ScoreReference,
)
from cds_service.model.image_card import image_card
from cds_service.model.image_insert import image_insert
from cds_service.model.image_model import ImageModel, load_image_bundle, open_image_model, pack_pixels, prepared_samples
from cds_service.model.parts import ImageGolden, ImageGoldenRow, ImageReference
from cds_service.model.sealing import as_toml_points, write_bundle, write_whole
from cds_service.stats.figures import compare, describe, describe_subgroups, threshold_figures
from cds_service.stats.operating import at_threshold
from cds_service.training.calibrate import calibrate, calibrated, choose_operating_points
from cds_service.training.image_compress import Compressed, Others, compress
from cds_service.training.image_export import as_image_onnx
from cds_service.training.image_fit import logits_of_images
from cds_service.training.image_looking import measure_looking
from cds_service.training.image_recipe_types import ImageRecipe, read_image_recipe, read_pixel_spec
from cds_service.training.image_shifts import SHIFTS, shifted
from cds_service.training.image_student import Lesson
from cds_service.training.image_teacher import ImageTeacher, make_views, teach_images, teacher_key
from cds_service.training.image_views import as_served, make_base
from cds_service.training.recipe import as_json
from cds_service.training.settled import settled_torch

__all__ = ["train_image"]

Floats = npt.NDArray[np.float64]
Say = Callable[[str], None]

_DECILES = np.linspace(0.1, 0.9, 9)
_OTHER_STEP = 7
"""Every so many-th image lends itself to pictures that only look like data."""


class _Fitted(Struct, frozen=True):
    """All that was fitted, and what it says out of fold."""

    cohort: ImageCohort
    teacher: ImageTeacher
    teacher_logits: Floats
    compressed: Compressed
    calibration: Calibration
    probability: dict[str, Floats]


def train_image(
    model: str, recipe: str = "default", *, data: Path, recipes: Path, state: Path, commit: str = "", say: Say = print
) -> Path:
    """Train one image model by its frozen recipe and write a candidate bundle.

    Args:
        model: A folder of *recipes* with a ``pixels.toml``, such as ``breast-ultrasound``.
        recipe: The recipe's name, without ``.toml``.
        data: The folder that holds ``SHA256SUMS`` and the images.
        recipes: Where recipes lie.
        state: Where the candidate goes, and everything finished on the way to it: after a kill the same command goes on.
        commit: The project's commit, written into the bundle.
        say: Where progress goes.

    Returns:
        The candidate's folder. Beside it, ``<version>-teacher`` holds the members as ONNX graphs, so that
        ``release.evaluate_image`` can judge the teacher too. No test image has been opened.

    Raises:
        SettingsError: The recipe or the data are wrong.
        BundleError: What was exported does not give what was trained.
    """
    frozen = read_image_recipe(recipes / model / f"{recipe}.toml")
    if frozen.model != model:
        raise SettingsError(Fault(f"{recipes}/{model}/{recipe}.toml: model", f"is {frozen.model}", f"Write {model}"))
    declaration, spec = read_pixel_spec(recipes / model / "pixels.toml")
    cohort = read_busi(data, frozen.data.training, name=frozen.data.name)
    say(f"data: {cohort.name}, {len(cohort)} images of {cohort.read}, {int(cohort.malignant.sum())} malignant")
    others = {**read_other_modalities(data), **made_from(cohort.images[::_OTHER_STEP], seed=frozen.seed)}
    with settled_torch():
        fitted, on_copies, looking = _fit(cohort, spec, frozen, others, cache=state / "cache" / model, say=say)
    truth = {OUTPUT: cohort.malignant}
    points = choose_operating_points(
        fitted.probability, truth, np.ones(len(cohort), dtype=np.bool_), frozen.operating_points, frozen.eligible
    )
    say("figures: out of fold, compression")
    metrics = {
        "plan": {
            "test": {"name": frozen.data.test_name, "splits": list(frozen.data.test)},
            "external": {"name": frozen.data.external_name},
            "citation": frozen.data.citation,
        },
        "recipe": frozen.as_dict(),
        "data": {"training": cohort.manifest()},
        "development": _development(fitted, on_copies, points),
        "compression": fitted.compressed.table,
        "unlikeness": fitted.compressed.unlikeness_figures,
        "looking": looking,
    }
    manifest = Manifest(
        format=FORMAT,
        model=model,
        version=frozen.version,
        made_by=f"cds-service train {model} --recipe {recipe}",
        commit=commit,
        parent=frozen.parent,
        minimum_inputs=1,
        data=(DataUsed(cohort.name, cohort.digest(), len(cohort), frozen.data.licence),),
        population=frozen.population,
        prevalence={OUTPUT: round(float(cohort.malignant.mean()), 6)},
        outputs={OUTPUT: frozen.title},
        files={},
        kind="image",
    )
    contents = {
        "model.onnx": fitted.compressed.graph,
        "pixels.toml": declaration,
        "calibration.json": as_json(fitted.calibration),
        "operating_points.toml": as_toml_points(points).encode(),
        "reference.json": as_json(_reference(fitted)),
        "metrics.json": as_json(metrics),
        "MODEL_CARD.md": image_card(manifest, metrics).encode(),
        "PACKAGE_INSERT.ja.md": image_insert(manifest, metrics, points).encode(),
    }
    folder = state / "candidates" / model / frozen.version
    _write_with_golden(folder, manifest, contents, cohort, spec, frozen.golden_tolerance[fitted.compressed.precision])
    _check_export(folder, fitted, spec)
    _write_teacher(folder.with_name(f"{frozen.version}-teacher"), fitted.teacher, spec)
    say(
        f"candidate: {folder} ({len(contents['model.onnx'])} bytes of ONNX, {fitted.compressed.precision}, made on {platform.machine()})"
    )
    return folder


def _fit(
    cohort: ImageCohort, spec: PixelSpec, recipe: ImageRecipe, others: Others, *, cache: Path, say: Say
) -> tuple[_Fitted, dict[str, Floats], dict[str, Any]]:
    base, served = make_base(cohort, spec), as_served(cohort.images, spec)
    teacher = teach_images(cohort, base, spec, recipe, cache=cache, say=say)
    said = teacher.out_of_fold(served)
    key = teacher_key(cohort, spec, recipe)
    views = make_views(teacher, base, spec, recipe, key=key, cache=cache, say=say)
    lesson = Lesson(cohort, teacher.fold, served, views, recipe, key, cache, say)
    compressed = compress(lesson, teacher, said, others, spec)
    nets = compressed.students.of_folds
    say("figures: on copies as other scanners might have made them, and where the student looks")
    on_copies = {name: np.full(len(cohort), np.nan) for name in SHIFTS}
    for name, logits in on_copies.items():
        copies = as_served(shifted(cohort, name, seed=recipe.seed), spec)
        for k, student in enumerate(nets):
            logits[teacher.fold == k] = logits_of_images(student, copies[torch.from_numpy(teacher.fold == k)])
    looking = measure_looking(cohort, served, teacher.fold, nets, spec)
    truth = {OUTPUT: cohort.malignant}
    calibration = calibrate(compressed.logits[:, None], truth, recipe.calibration)
    probability = calibrated(compressed.logits[:, None], calibration, (OUTPUT,))
    return _Fitted(cohort, teacher, said, compressed, calibration, probability), on_copies, looking


def _development(fitted: _Fitted, on_copies: Mapping[str, Floats], points: dict[str, OperatingPoint]) -> dict[str, Any]:
    cohort, given = fitted.cohort, fitted.probability
    truth, lesion = {OUTPUT: cohort.malignant}, cohort.lesion
    only = {OUTPUT: cohort.malignant[lesion]}
    said, student = {OUTPUT: fitted.teacher_logits}, {OUTPUT: fitted.compressed.logits}
    teacher = calibrated(fitted.teacher_logits[:, None], fitted.calibration, (OUTPUT,))
    return {
        "what": "out of fold, near-duplicates and neighbouring file numbers together; the calibration was fitted on these rows",
        "cases": len(cohort),
        "student": describe(truth, given),
        "student_lesions_only": describe(only, {OUTPUT: given[OUTPUT][lesion]}),
        "student_on_copies": {
            name: describe(truth, calibrated(logits[:, None], fitted.calibration, (OUTPUT,)))
            for name, logits in on_copies.items()
        },
        "teacher": {OUTPUT: {"roc_auc_score": describe(truth, teacher)[OUTPUT].get("roc_auc_score")}},
        "student_less_teacher": compare(truth, student, said),
        "operating_points": {
            name: threshold_figures(at_threshold(truth[OUTPUT], given[OUTPUT], point.threshold))
            for name, point in points.items()
        },
        "subgroups": describe_subgroups(cohort.groups, truth, given),
    }


def _reference(fitted: _Fitted) -> ImageReference:
    """Describe the training images in figures that belong to nobody."""
    cohort = fitted.cohort
    seen = {
        "grey_mean": np.array([float(image.mean()) for image in cohort.images]),
        "grey_spread": np.array([float(image.std()) for image in cohort.images]),
        "width_by_height": np.array([image.shape[1] / image.shape[0] for image in cohort.images]),
    }
    inputs = {
        name: InputReference(round(float(values.min()), 4), round(float(values.max()), 4), _deciles(values), 0.0)
        for name, values in seen.items()
    }
    scores = {name: ScoreReference(_deciles(p)) for name, p in fitted.probability.items()}
    return ImageReference(len(cohort), inputs, scores, fitted.compressed.unlikeness)


def _deciles(values: Floats) -> tuple[float, ...]:
    return tuple(round(float(number), 4) for number in np.quantile(values, _DECILES))


def _golden_images(cohort: ImageCohort) -> list[tuple[str, npt.NDArray[np.uint8]]]:
    """Give three small training images of each label that has any, and patterns that a wrong resize turns into moiré."""
    rows: list[tuple[str, npt.NDArray[np.uint8]]] = []
    for label in ("benign", "malignant", "normal"):
        places = sorted(
            np.nonzero(cohort.label == label)[0], key=lambda i: hashlib.sha256(cohort.ids[i].encode()).digest()
        )
        for place in places[:2]:
            image = cohort.images[place]
            half = resize(image, max(64, image.shape[0] // 2), max(64, image.shape[1] // 2))
            rows.append((cohort.ids[place].rpartition("/")[2], np.clip(half.round(), 0, 255).astype(np.uint8)))
    fine = (np.indices((2048, 2048)).sum(axis=0) % 2 * 255).astype(np.uint8)
    slope = np.repeat(np.arange(200, dtype=np.uint8)[:, None], 300, axis=1)
    slope[60:140, 90:210] = 20
    return [*rows, ("checkerboard of one pixel", fine), ("slope with a dark square", slope)]


def _write_with_golden(
    folder: Path,
    manifest: Manifest,
    contents: dict[str, bytes],
    cohort: ImageCohort,
    spec: PixelSpec,
    tolerance: float,
) -> None:
    """Seal the candidate with golden rows that the graph itself gave, as it is served."""

    def row(title: str, image: npt.NDArray[np.uint8], model: ImageModel | None) -> ImageGoldenRow:
        prepared = prepare(image, spec)
        given = model.chain.probabilities(model.logits(prepared[None])[0])[0] if model is not None else 0.5
        samples = tuple(prepared_samples(prepared))
        return ImageGoldenRow(
            title, image.shape[0], image.shape[1], pack_pixels(image), samples, {OUTPUT: round(given, 8)}
        )

    images = _golden_images(cohort)
    contents["golden.json"] = as_json(ImageGolden(tolerance, 1 / 255, (row(*images[0], None),)))
    write_bundle(folder, manifest, contents, replace=True)
    model = open_image_model(load_image_bundle(folder), run_golden=False)
    rows = tuple(row(title, image, model) for title, image in images)
    contents["golden.json"] = as_json(ImageGolden(tolerance, 1 / 255, rows))
    write_bundle(folder, manifest, contents, replace=True)


def _check_export(folder: Path, fitted: _Fitted, spec: PixelSpec) -> None:
    """The graph on ONNX Runtime says what the net in torch says; int8 may differ by rounding, and how far is known."""
    model = open_image_model(load_image_bundle(folder))
    some = np.stack([prepare(image, spec) for image in fitted.cohort.images[:64]])
    ours = np.array(model.logits(some))[:, 0]
    assert fitted.compressed.students.final is not None  # noqa: S101 - the shipped one was fitted
    theirs = logits_of_images(fitted.compressed.students.final, torch.from_numpy(some)[:, None])
    gap = float(np.abs(ours - theirs).max())
    allowed = 1e-3 if fitted.compressed.precision == "fp32" else 2.0
    if not gap < allowed:
        raise BundleError(
            Fault(f"{folder}/model.onnx", f"differs from the trained net by {gap:.2g}", "Mend training/image_export.py")
        )


def _write_teacher(folder: Path, teacher: ImageTeacher, spec: PixelSpec) -> None:
    for old in folder.glob("*.onnx"):
        old.unlink()
    for number, net in enumerate(teacher.all_members):
        write_whole(folder / f"member_{number}.onnx", as_image_onnx(net, spec.size, OUTPUT))
