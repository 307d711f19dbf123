"""What is known about a student before the test set is opened: every figure out of fold."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from cds_service.cohorts.baselines import fit_baseline
from cds_service.cohorts.questionnaires import ada_risk_score, findrisc_score
from cds_service.cohorts.tables import Cohort
from cds_service.model.bundle import Calibration, OperatingPoint
from cds_service.stats.figures import compare, describe, describe_subgroups, discriminate, threshold_figures
from cds_service.stats.operating import at_threshold
from cds_service.training.calibrate import calibrated
from cds_service.training.distill import hide, out_of_fold_logits
from cds_service.training.nets import ChainNet, Table
from cds_service.training.recipe_types import Recipe
from cds_service.training.teacher import OutOfFold

__all__ = ["Trained", "development"]

Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


class Trained(Struct, frozen=True):
    """The training rows and all that was fitted on them."""

    cohort: Cohort
    inputs: tuple[str, ...]
    table: Table
    truth: Mapping[str, Bools]
    teacher: OutOfFold
    of_folds: list[ChainNet]
    calibration: Calibration
    probability: Mapping[str, Floats]
    """The student's calibrated out-of-fold probabilities."""


def development(trained: Trained, points: Mapping[str, OperatingPoint], recipe: Recipe) -> dict[str, Any]:
    """Compute the figures of ``metrics.json`` under ``development``."""
    truth, probability, outputs = trained.truth, trained.probability, tuple(trained.truth)
    of_teacher = {output: trained.teacher.outside[:, place] for place, output in enumerate(outputs)}
    baseline = _baseline_out_of_fold(trained)
    questionnaires = {
        "ada_risk_score": ada_risk_score(trained.cohort),
        "findrisc_score": findrisc_score(trained.cohort),
    }
    eligible = recipe.eligible.mask(trained.cohort)
    beyond = eligible & ~recipe.eligible.by_rule(trained.cohort)
    return {
        "what": "the student's out-of-fold predictions; the calibration was fitted on these very rows",
        "cases": len(trained.cohort),
        "student": describe(truth, probability),
        "teacher": discriminate(truth, of_teacher),
        "student_less_teacher": compare(truth, probability, of_teacher),
        "logistic_regression": discriminate(truth, baseline),
        "student_less_logistic_regression": compare(truth, probability, baseline),
        "questionnaires": {
            name: discriminate(truth, dict.fromkeys(outputs, score)) for name, score in questionnaires.items()
        },
        "inputs_hidden": _hidden(trained, recipe),
        "operating_points": _at(points, truth, probability, eligible),
        "operating_points_beyond_rules": _at(points, truth, probability, beyond),
        "subgroups": describe_subgroups(trained.cohort.groups, truth, probability),
    }


def _at(
    points: Mapping[str, OperatingPoint], truth: Mapping[str, Bools], probability: Mapping[str, Floats], who: Bools
) -> dict[str, Any]:
    return {
        name: threshold_figures(at_threshold(truth[point.output][who], probability[point.output][who], point.threshold))
        for name, point in points.items()
    }


def _hidden(trained: Trained, recipe: Recipe) -> dict[str, Any]:
    figures, table = {}, trained.table
    for title, names in recipe.hidden.items():
        present = hide(table.present, trained.inputs, names)
        logits = out_of_fold_logits(trained.of_folds, trained.teacher.fold, table.values, present)
        figures[title] = describe(trained.truth, calibrated(logits, trained.calibration, tuple(trained.truth)))
    return figures


def _baseline_out_of_fold(trained: Trained) -> dict[str, Floats]:
    table, fold = trained.table, trained.teacher.fold
    scores = {output: np.full(len(fold), np.nan) for output in trained.truth}
    for k in np.unique(fold):
        known, asked = fold != k, fold == k
        truth = {output: reached[known] for output, reached in trained.truth.items()}
        fitted = fit_baseline(trained.inputs, table.values[known], table.present[known], truth)
        for output, score in scores.items():
            score[asked] = fitted.probability(output, table.values[asked], table.present[asked])
    return scores
