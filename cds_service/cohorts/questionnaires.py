"""Published questionnaire scores, as far as a table's columns allow: what a model must beat.

A score whose items are partly unknown is an underestimate of itself; what is missing is named beside it.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from cds_service.cohorts.tables import Cohort

__all__ = ["SCORES_MISSING_ITEMS", "ada_risk_score", "findrisc_score"]

Floats = npt.NDArray[np.float64]

SCORES_MISSING_ITEMS: Mapping[str, tuple[str, ...]] = {
    "ada_risk_score": ("gestational diabetes", "physical activity"),
    "findrisc_score": ("physical activity", "vegetables and fruit", "earlier high glucose", "second-degree relatives"),
}


def ada_risk_score(cohort: Cohort) -> Floats:
    """Give the American Diabetes Association's risk test, 0 to 9 from the items known here (published: 0 to 11).

    Points: age 40-49 1, 50-59 2, 60 and over 3; man 1; a parent, brother or sister with diabetes 1; hypertension 1;
    BMI 25-29.9 1, 30-39.9 2, 40 and over 3. Not in the columns: gestational diabetes, physical activity. An unknown
    answer gives no points.

    References:
        Bang et al. (2009), doi:10.7326/0003-4819-151-11-200912010-00005.
    """
    age, bmi = _column(cohort, "age_years"), _column(cohort, "bmi")
    male = _column(cohort, "sex")
    points = _steps(age, (40, 1), (50, 2), (60, 3)) + _steps(bmi, (25, 1), (30, 2), (40, 3)) + np.nan_to_num(male)
    return (
        points
        + np.nan_to_num(cohort.answers["family_history_diabetes"])
        + np.nan_to_num(cohort.answers["hypertension_told"])
    )


def findrisc_score(cohort: Cohort) -> Floats:
    """Give the Finnish Diabetes Risk Score, 0 to 18 from the items known here (published: 0 to 26).

    Points: age 45-54 2, 55-64 3, over 64 4; BMI over 25 1, over 30 3; waist of men from 94 cm 3, over 102 cm 4, of
    women from 80 cm 3, over 88 cm 4; drugs for hypertension 2; a close relative with diabetes 5. Not in the columns:
    physical activity, vegetables and fruit, earlier high glucose, second-degree relatives. An unknown answer gives
    no points.

    References:
        Lindström & Tuomilehto (2003), doi:10.2337/diacare.26.3.725.
    """
    age, bmi, waist = _column(cohort, "age_years"), _column(cohort, "bmi"), _column(cohort, "waist")
    male = _column(cohort, "sex") == 1
    of_men, of_women = _steps(waist, (94, 3), (102.01, 4)), _steps(waist, (80, 3), (88.01, 4))
    points = (
        _steps(age, (45, 2), (55, 3), (65, 4)) + _steps(bmi, (25.01, 1), (30.01, 3)) + np.where(male, of_men, of_women)
    )
    return (
        points
        + 2 * np.nan_to_num(cohort.answers["antihypertensive_now"])
        + 5 * np.nan_to_num(cohort.answers["family_history_diabetes"])
    )


def _column(cohort: Cohort, name: str) -> Floats:
    found = (row[name].value for row in cohort.rows)
    return np.array([np.nan if value is None else value for value in found], dtype=np.float64)


def _steps(values: Floats, *steps: tuple[float, float]) -> Floats:
    """Points by the highest limit that is reached; an unknown value gives none."""
    points = np.zeros(len(values))
    for limit, worth in steps:
        points[np.nan_to_num(values, nan=-np.inf) >= limit] = worth
    return points
