"""An image bundle as it is served, and its teacher beside it, judged on images that training never saw.

Two sets judge: the clean test split of the training hospital, and another hospital. Each look is written down; none
of the figures here may decide anything about the recipe.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Struct

from cds_service.clinical.pixels import prepare
from cds_service.cohorts.images import OUTPUT, ImageCohort, read_breast, read_busi
from cds_service.errors import BundleError, Fault
from cds_service.model.bundle import IMAGE_BUNDLE_FILES
from cds_service.model.image_card import image_card
from cds_service.model.image_insert import image_insert
from cds_service.model.image_model import ImageBundle, load_image_bundle, open_image_model, predict_image
from cds_service.model.predict import Prediction
from cds_service.model.runtime import open_session
from cds_service.model.sealing import write_bundle
from cds_service.release.looks import Look, record_look
from cds_service.stats.discrimination import roc_auc_difference, roc_auc_with_interval
from cds_service.stats.figures import describe, describe_subgroups, threshold_figures, written
from cds_service.stats.operating import at_threshold

__all__ = ["evaluate_image", "image_summary", "release_image_candidate"]

Floats = npt.NDArray[np.float64]
SetName = Literal["test", "external"]
Say = Callable[[str], None]

SETS: tuple[SetName, ...] = ("test", "external")


class _Set(Struct, frozen=True):
    name: str
    splits: tuple[str, ...] = ()


class _Plan(Struct, frozen=True):
    test: _Set
    external: _Set
    citation: str


def evaluate_image(bundle: ImageBundle, *, data: Path, which: SetName, teacher: Sequence[bytes] = ()) -> dict[str, Any]:
    """Compute every figure of an image bundle as it is served, on one set.

    Args:
        bundle: A checked bundle.
        data: The folder that holds ``SHA256SUMS`` and the images.
        which: ``test`` or ``external``.
        teacher: The teacher's members as ONNX graphs, to be judged beside it; none are served.

    Returns:
        As ``metrics.json`` holds it. Nothing is written.
    """
    plan = msgspec.convert(bundle.metrics["plan"], _Plan)
    cohort = (
        read_busi(data, plan.test.splits, name=plan.test.name)
        if which == "test"
        else read_breast(data, name=plan.external.name)
    )
    model = open_image_model(bundle)
    answers = [predict_image(model, image) for image in cohort.images]
    scored = np.array([isinstance(answer, Prediction) for answer in answers])
    given = np.array([answer.probabilities[OUTPUT] for answer in answers if isinstance(answer, Prediction)])
    truth, lesion = cohort.malignant[scored], cohort.lesion[scored]
    groups = {title: labels[scored] for title, labels in cohort.groups.items()}
    figures: dict[str, Any] = {
        "what": "the student as served, on images that neither training nor calibration nor any choice saw",
        "data": cohort.manifest(),
        "cases": len(cohort),
        "scored": int(scored.sum()),
        "student": describe({OUTPUT: truth}, {OUTPUT: given}),
        "student_lesions_only": describe({OUTPUT: truth[lesion]}, {OUTPUT: given[lesion]}),
        "operating_points": {
            name: threshold_figures(at_threshold(truth, given, point.threshold))
            for name, point in bundle.operating_points.items()
        },
        "subgroups": describe_subgroups(groups, {OUTPUT: truth}, {OUTPUT: given}),
    }
    if np.isfinite(cohort.reader).any():
        figures["reader"] = _against_reader(truth, given, cohort.reader[scored])
    if teacher:
        said = _ask_teacher(teacher, cohort, bundle)[scored]
        figures["teacher"] = {
            "members": len(teacher),
            "roc_auc_score": written(roc_auc_with_interval(truth, said)),
            "roc_auc_score_lesions_only": written(roc_auc_with_interval(truth[lesion], said[lesion])),
            "student_less_teacher": written(roc_auc_difference(truth, given, said).difference),
        }
    return figures


def release_image_candidate(
    candidate: Path, *, data: Path, assets: Path, today: date, say: Say = print
) -> tuple[Path, dict[str, Any]]:
    """Judge a candidate and its teacher on both sets, once, and put the bundle among the releases.

    Args:
        candidate: ``<state>/candidates/<model>/<version>``, with ``<version>-teacher`` beside it.
        data: The data's folder.
        assets: ``model_assets``; the bundle is written to ``<assets>/<model>/<version>``, never over another.
        today: For the ledger of looks, ``<assets>/<model>/looks.jsonl``.
        say: Where progress goes.

    Raises:
        BundleError: The candidate is damaged, has no teacher beside it, or this version is released and differs.
    """
    bundle = load_image_bundle(candidate)
    beside = candidate.with_name(f"{candidate.name}-teacher")
    teacher = [path.read_bytes() for path in sorted(beside.glob("member_*.onnx"))]
    if not teacher:
        raise BundleError(Fault(str(beside), "there is no teacher to judge beside it", "Run cds-service train again"))
    metrics = dict(bundle.metrics)
    for which in SETS:
        figures = evaluate_image(bundle, data=data, which=which, teacher=teacher)
        digests = (
            ("cds-service evaluate", bundle.manifest.files["model.onnx"].sha256, "the student"),
            ("cds-service evaluate", hashlib.sha256(b"".join(teacher)).hexdigest(), "its teacher"),
        )
        looks = [
            record_look(
                assets / bundle.model / "looks.jsonl",
                Look(figures["data"]["name"], figures["data"]["sha256"], bundle.version, graph, today, by, note),
            )
            for by, graph, note in digests
        ]
        metrics[which] = {**figures, "look": looks[0]}
    contents = {name: (candidate / name).read_bytes() for name in IMAGE_BUNDLE_FILES}
    contents["metrics.json"] = (json.dumps(metrics, ensure_ascii=False, indent=1) + "\n").encode()
    contents["MODEL_CARD.md"] = image_card(bundle.manifest, metrics).encode()
    contents["PACKAGE_INSERT.ja.md"] = image_insert(bundle.manifest, metrics, bundle.operating_points).encode()
    folder = assets / bundle.model / bundle.version
    write_bundle(folder, bundle.manifest, contents)
    channels = folder.parent / "channels.toml"
    if not channels.exists():
        channels.write_text(f'champion = "{bundle.version}"\n', encoding="utf-8")
    open_image_model(load_image_bundle(folder))
    say(f"release: {folder}")
    return folder, metrics


def image_summary(figures: Mapping[str, Any]) -> list[str]:
    """Give the figures of one set that a person reads first, a line each."""
    student, lesions = figures["student"][OUTPUT], figures["student_lesions_only"][OUTPUT]
    lines = [
        f"{figures['data']['name']}: {figures['cases']} images, {figures['scored']} scored, {student['events']} malignant",
        (
            f"student: AUC {_range(student.get('roc_auc_score'))}, O:E {_range(student.get('observed_expected_ratio'))}, "
            f"slope {_range(student.get('calibration_slope'))}; lesions only AUC {_range(lesions.get('roc_auc_score'))}"
        ),
    ]
    teacher = figures.get("teacher")
    if teacher:
        lines.append(
            f"teacher ({teacher['members']} nets): AUC {_range(teacher['roc_auc_score'])}, "
            f"lesions only {_range(teacher['roc_auc_score_lesions_only'])}; student less teacher {_range(teacher['student_less_teacher'])}"
        )
    reader = figures.get("reader")
    if reader:
        lines.append(
            f"radiologists' BI-RADS ({reader['cases']} images): AUC {_range(reader['roc_auc_score'])}; "
            f"student less readers {_range(reader['student_less_reader'])}"
        )
    for name, at in figures["operating_points"].items():
        shares = ", ".join(
            f"{title} {_range(at[key])}"
            for title, key in (
                ("sensitivity", "sensitivity_score"),
                ("specificity", "specificity_score"),
                ("PPV", "ppv_score"),
            )
        )
        lines.append(f"operating point {name} ({at['threshold']}): {shares}")
    return lines


def _against_reader(truth: npt.NDArray[np.bool_], given: Floats, reader: Floats) -> dict[str, Any]:
    """Compare with what the radiologists said; they saw the patient's other images too, and the category is coarse."""
    known = np.isfinite(reader)
    return {
        "what": "BI-RADS 1, 2, 3, 4a, 4b, 4c, 5 as an ordered score",
        "cases": int(known.sum()),
        "roc_auc_score": written(roc_auc_with_interval(truth[known], reader[known])),
        "student_less_reader": written(roc_auc_difference(truth[known], given[known], reader[known]).difference),
    }


def _ask_teacher(teacher: Sequence[bytes], cohort: ImageCohort, bundle: ImageBundle) -> Floats:
    prepared = np.stack([prepare(image, bundle.pixels) for image in cohort.images])[:, None]
    said = []
    for graph in teacher:
        session = open_session(graph, "a member of the teacher", 1)
        said.append(np.concatenate([session.run(["logits"], {"pixels": one[None]})[0][:, 0] for one in prepared]))
    return np.asarray(np.mean(said, axis=0), dtype=np.float64)


def _range(figure: Mapping[str, float | None] | None) -> str:
    if figure is None or figure["value"] is None:
        return "not assessable"
    if figure["low"] is None or figure["high"] is None:
        return f"{figure['value']:.3f}"
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"
