"""The student as it is served, judged on cases that it never saw; the test set is opened once a release, and every look is kept."""

import json
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Struct

from cds_service.clinical.features import Feature
from cds_service.cohorts.baselines import LogisticBaseline
from cds_service.cohorts.eligible import Eligible
from cds_service.cohorts.questionnaires import ada_risk_score, findrisc_score
from cds_service.cohorts.tables import Cohort, read_nhanes
from cds_service.model.bundle import BUNDLE_FILES, Bundle, load_bundle
from cds_service.model.model_card import model_card
from cds_service.model.package_insert import package_insert
from cds_service.model.predict import Prediction, predict_many
from cds_service.model.runtime import Model, open_model
from cds_service.model.sealing import write_bundle
from cds_service.release.looks import Look, record_look
from cds_service.stats.figures import compare, describe, describe_subgroups, discriminate, threshold_figures
from cds_service.stats.operating import at_threshold

__all__ = ["evaluate", "release_candidate", "summary"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Rows = Sequence[Mapping[str, Feature]]
Say = Callable[[str], None]


class _TestSet(Struct, frozen=True):
    name: str
    files: tuple[str, ...]


class _Plan(Struct, frozen=True):
    """How a bundle said, before the test, that it wants to be judged."""

    thresholds: Mapping[str, float]
    test: _TestSet
    eligible: Eligible
    hidden: Mapping[str, tuple[str, ...]]
    """Title → inputs that charts often lack; each set is taken away and the figures are given again."""


def evaluate(
    bundle: Bundle, *, data: Path, files: Sequence[str] | None = None, name: str | None = None
) -> dict[str, Any]:
    """Compute every figure of a bundle as it is served, on one set.

    Args:
        bundle: A checked bundle.
        data: The folder that holds ``SHA256SUMS`` and the tables.
        files: Tables to judge on; by default the test set that the bundle's plan names.
        name: What to call the set; by default the plan's name, or the files'.

    Returns:
        As ``metrics.json`` holds it under ``test``: discrimination, calibration, operating points, subgroups,
        baselines, and the same with inputs taken away. Nothing is written.
    """
    plan = msgspec.convert(bundle.metrics["plan"], _Plan)
    cohort = read_nhanes(
        data, files or plan.test.files, bundle.features, name=name or (", ".join(files) if files else plan.test.name)
    )
    model = open_model(bundle)
    scored, given, reasons = _score(model, cohort.rows)
    truth_of_all = {output: cohort.label >= limit for output, limit in plan.thresholds.items()}
    truth = {output: reached[scored] for output, reached in truth_of_all.items()}
    eligible = plan.eligible.mask(cohort)[scored]
    beyond = eligible & ~plan.eligible.by_rule(cohort)[scored]
    return {
        "what": "the student as served, on a set that neither training nor calibration saw",
        "data": cohort.manifest(plan.thresholds),
        "cases": len(cohort),
        "scored": int(scored.sum()),
        "abstained": reasons,
        "student": describe(truth, given),
        "operating_points": _at(bundle, truth, given, eligible),
        "operating_points_beyond_rules": _at(bundle, truth, given, beyond),
        **_baselines(bundle, cohort, scored, truth, given),
        "inputs_hidden": _hidden(model, cohort, truth_of_all, plan.hidden),
        "subgroups": describe_subgroups(
            {title: labels[scored] for title, labels in cohort.groups.items()}, truth, given
        ),
    }


def release_candidate(
    candidate: Path, *, data: Path, assets: Path, today: date, say: Say = print
) -> tuple[Path, dict[str, Any]]:
    """Open the test set for a candidate, write its figures into the bundle, and put the bundle among the releases.

    Args:
        candidate: ``<state>/candidates/<model>/<version>``.
        data: The data's folder.
        assets: ``model_assets``; the bundle is written to ``<assets>/<model>/<version>``, never over another.
        today: For the ledger of looks, ``<assets>/<model>/looks.jsonl``: the same graph on the same test set is no
            new look, another one is, and the card says how many there were.
        say: Where progress goes.

    Raises:
        BundleError: The candidate is damaged, or this version is released and holds something else.
    """
    bundle = load_bundle(candidate)
    figures = evaluate(bundle, data=data)
    ledger = assets / bundle.model / "looks.jsonl"
    look = Look(
        set=figures["data"]["name"],
        data_sha256=figures["data"]["sha256"],
        version=bundle.version,
        graph_sha256=bundle.manifest.files["model.onnx"].sha256,
        at=today,
        by="cds-service evaluate",
    )
    number = record_look(ledger, look)
    metrics = {**bundle.metrics, "test": {**figures, "look": number}}
    contents = {name: (candidate / name).read_bytes() for name in BUNDLE_FILES}
    contents["metrics.json"] = (json.dumps(metrics, ensure_ascii=False, indent=1) + "\n").encode()
    contents["MODEL_CARD.md"] = model_card(bundle.manifest, metrics).encode()
    contents["PACKAGE_INSERT.ja.md"] = package_insert(bundle.manifest, metrics, bundle.operating_points).encode()
    folder = assets / bundle.model / bundle.version
    write_bundle(folder, bundle.manifest, contents)
    open_model(load_bundle(folder))
    say(f"release: {folder} (look {number} at {look.set})")
    return folder, figures


def summary(figures: Mapping[str, Any]) -> list[str]:
    """Give the figures that a person reads first, a line each."""
    data = figures["data"]
    lines = [
        f"{data['name']}: {figures['cases']} people, {figures['scored']} scored, abstained {figures['abstained'] or 'never'}"
    ]
    for output, one in figures["student"].items():
        parts = [f"{output}: {one['events']} cases"]
        parts += [f"{title} {_range(one[key])}" for title, key in _SHOWN if key in one]
        lines.append(", ".join(parts))
    for name, rival in _rivals(figures):
        lines.append(f"{name}: " + ", ".join(f"{o} AUC {_range(one['roc_auc_score'])}" for o, one in rival.items()))
    for name, at in figures["operating_points"].items():
        shares = ", ".join(f"{title} {_range(at[key])}" for title, key in _AT_POINT)
        lines.append(f"operating point {name} ({at['threshold']}): {shares} of {at['cases']} eligible")
    for name, at in figures["operating_points_beyond_rules"].items():
        shares = ", ".join(f"{title} {_range(at[key])}" for title, key in _AT_POINT)
        lines.append(f"operating point {name}, where no rule speaks: {shares} of {at['cases']} eligible")
    return lines


_SHOWN = (
    ("AUC", "roc_auc_score"), ("O:E", "observed_expected_ratio"), ("slope", "calibration_slope"), ("Brier", "brier_loss"),
)  # fmt: skip
_AT_POINT = (("cards per 100", "cards_per_100"), ("PPV", "ppv_score"), ("sensitivity", "sensitivity_score"))


def _rivals(figures: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    found = [("logistic regression", figures["logistic_regression"]), *figures["questionnaires"].items()]
    found += figures["inputs_hidden"].items()
    return [(name, {output: one for output, one in of.items() if "roc_auc_score" in one}) for name, of in found]


def _range(figure: Mapping[str, float | None]) -> str:
    if figure["low"] is None or figure["high"] is None:
        return f"{figure['value']} (no interval)"
    return f"{figure['value']:.3f} [{figure['low']:.3f}, {figure['high']:.3f}]"


def _score(model: Model, rows: Rows) -> tuple[Bools, dict[str, Floats], dict[str, int]]:
    """Ask the model as serving does; say which rows it spoke about, what it said, and why it fell silent."""
    answers = predict_many(model, rows)
    scored = np.array([isinstance(answer, Prediction) for answer in answers])
    given = {
        output: np.array([answer.probabilities[output] for answer in answers if isinstance(answer, Prediction)])
        for output in model.chain.outputs
    }
    reasons: dict[str, int] = {}
    for answer in answers:
        if not isinstance(answer, Prediction):
            reasons[answer.reason] = reasons.get(answer.reason, 0) + 1
    return scored, given, reasons


def _at(bundle: Bundle, truth: Mapping[str, Bools], given: Mapping[str, Floats], who: Bools) -> dict[str, Any]:
    return {
        name: threshold_figures(at_threshold(truth[point.output][who], given[point.output][who], point.threshold))
        for name, point in bundle.operating_points.items()
    }


def _hidden(
    model: Model, cohort: Cohort, truth: Mapping[str, Bools], hidden: Mapping[str, tuple[str, ...]]
) -> dict[str, Any]:
    figures = {}
    for title, names in hidden.items():
        rows = [{name: feature for name, feature in row.items() if name not in names} for row in cohort.rows]
        scored, given, _ = _score(model, rows)
        figures[title] = describe({output: reached[scored] for output, reached in truth.items()}, given)
    return figures


def _baselines(
    bundle: Bundle, cohort: Cohort, scored: Bools, truth: Mapping[str, Bools], given: Mapping[str, Floats]
) -> dict[str, Any]:
    regression = msgspec.convert(bundle.metrics["baselines"]["logistic_regression"], LogisticBaseline)
    values, present = cohort.inputs(bundle.features)
    plain = {output: regression.probability(output, values[scored], present[scored]) for output in truth}
    questionnaires = {
        "ada_risk_score": ada_risk_score(cohort)[scored],
        "findrisc_score": findrisc_score(cohort)[scored],
    }
    by_score = {name: dict.fromkeys(truth, score) for name, score in questionnaires.items()}
    return {
        "logistic_regression": describe(truth, plain),
        "student_less_logistic_regression": compare(truth, given, plain),
        "questionnaires": {name: discriminate(truth, score) for name, score in by_score.items()},
        "student_less_questionnaires": {name: compare(truth, given, score) for name, score in by_score.items()},
    }
