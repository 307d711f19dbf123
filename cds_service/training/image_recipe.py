"""One frozen recipe of an image model in, one candidate bundle out; ``release/`` judges it afterwards, once."""

import hashlib
import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from msgspec import Struct

from cds_service.clinical.pixels import PixelSpec, prepare, resize
from cds_service.cohorts.images import OUTPUT, ImageCohort, read_busi
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
from cds_service.model.sealing import as_toml_points, write_bundle
from cds_service.stats.figures import compare, describe, describe_subgroups, threshold_figures
from cds_service.stats.operating import at_threshold
from cds_service.training.calibrate import calibrate, calibrated, choose_operating_points
from cds_service.training.image_compress import Compressed, compress
from cds_service.training.image_export import as_image_onnx
from cds_service.training.image_fit import logits_of_images
from cds_service.training.image_recipe_types import ImageRecipe, read_image_recipe, read_pixel_spec
from cds_service.training.image_student import Lesson
from cds_service.training.image_teacher import ImageTeacher, make_views, teach_images, teacher_key
from cds_service.training.image_views import as_served, draw_views, make_base
from cds_service.training.recipe import as_json

__all__ = ["train_image"]

Floats = npt.NDArray[np.float64]
Say = Callable[[str], None]

_DECILES = np.linspace(0.1, 0.9, 9)


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
    with _settled_torch():
        fitted, shifted = _fit(cohort, spec, frozen, cache=state / "cache" / model, say=say)
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
        "development": _development(fitted, shifted, points),
        "compression": fitted.compressed.table,
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
        "reference.json": as_json(_reference(cohort, fitted.probability)),
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


@contextmanager
def _settled_torch() -> Iterator[None]:
    """One thread, since the order of sums and so the weights depend on it; no denormals, which are slow. Put back after."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)


def _fit(cohort: ImageCohort, spec: PixelSpec, recipe: ImageRecipe, *, cache: Path, say: Say) -> tuple[_Fitted, Floats]:
    base, served = make_base(cohort, spec), as_served(cohort, spec)
    teacher = teach_images(cohort, base, spec, recipe, cache=cache, say=say)
    said = teacher.out_of_fold(served)
    key = teacher_key(cohort, spec, recipe)
    views = make_views(teacher, base, spec, recipe, key=key, cache=cache, say=say)
    lesson = Lesson(cohort, teacher.fold, served, views, recipe, key, cache, say)
    compressed = compress(lesson, teacher, said, spec)
    generator = torch.Generator().manual_seed(recipe.seed + 99)
    shifted = np.full(len(cohort), np.nan)
    other = torch.cat(
        [
            draw_views(base, rows, spec, recipe.augment, generator)[0]
            for rows in torch.split(torch.arange(len(cohort)), 64)
        ]
    )
    for k, student in enumerate(compressed.students.of_folds):
        asked = teacher.fold == k
        shifted[asked] = logits_of_images(student, other[asked])
    truth = {OUTPUT: cohort.malignant}
    calibration = calibrate(compressed.logits[:, None], truth, recipe.calibration)
    probability = calibrated(compressed.logits[:, None], calibration, (OUTPUT,))
    return _Fitted(cohort, teacher, said, compressed, calibration, probability), shifted


def _development(fitted: _Fitted, shifted: Floats, points: dict[str, OperatingPoint]) -> dict[str, Any]:
    cohort, given = fitted.cohort, fitted.probability
    truth, lesion = {OUTPUT: cohort.malignant}, cohort.lesion
    only = {OUTPUT: cohort.malignant[lesion]}
    said, student = {OUTPUT: fitted.teacher_logits}, {OUTPUT: fitted.compressed.logits}
    on_shifted = calibrated(shifted[:, None], fitted.calibration, (OUTPUT,))
    teacher = calibrated(fitted.teacher_logits[:, None], fitted.calibration, (OUTPUT,))
    return {
        "what": "out of fold, near-duplicates and neighbouring file numbers together; the calibration was fitted on these rows",
        "cases": len(cohort),
        "student": describe(truth, given),
        "student_lesions_only": describe(only, {OUTPUT: given[OUTPUT][lesion]}),
        "student_on_shifted_copies": describe(truth, on_shifted),
        "teacher": {OUTPUT: {"roc_auc_score": describe(truth, teacher)[OUTPUT].get("roc_auc_score")}},
        "student_less_teacher": compare(truth, student, said),
        "operating_points": {
            name: threshold_figures(at_threshold(truth[OUTPUT], given[OUTPUT], point.threshold))
            for name, point in points.items()
        },
        "subgroups": describe_subgroups(cohort.groups, truth, given),
    }


def _reference(cohort: ImageCohort, probability: dict[str, Floats]) -> ImageReference:
    """Describe the training images in figures that belong to nobody."""
    seen = {
        "grey_mean": np.array([float(image.mean()) for image in cohort.images]),
        "grey_spread": np.array([float(image.std()) for image in cohort.images]),
        "width_by_height": np.array([image.shape[1] / image.shape[0] for image in cohort.images]),
    }
    inputs = {
        name: InputReference(round(float(values.min()), 4), round(float(values.max()), 4), _deciles(values), 0.0)
        for name, values in seen.items()
    }
    return ImageReference(len(cohort), inputs, {name: ScoreReference(_deciles(p)) for name, p in probability.items()})


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
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.onnx"):
        old.unlink()
    for number, net in enumerate(teacher.all_members):
        (folder / f"member_{number}.onnx").write_bytes(as_image_onnx(net, spec.size, OUTPUT))
