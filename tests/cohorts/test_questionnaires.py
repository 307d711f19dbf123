"""Published questionnaire scores, point by point, and the plain baseline."""

import numpy as np
import pytest
from msgspec.structs import replace

from cds_service.clinical.features import Feature
from cds_service.cohorts.baselines import fit_baseline
from cds_service.cohorts.questionnaires import ada_risk_score, findrisc_score
from cds_service.cohorts.tables import Cohort


def person(*, age=30.0, male=False, bmi=22.0, waist=75.0, family=0.0, drugs=0.0, hypertension=0.0):
    values = {"age_years": age, "sex": float(male), "bmi": bmi, "waist": waist}
    answers = {"family_history_diabetes": family, "antihypertensive_now": drugs, "hypertension_told": hypertension}
    return Cohort(
        name="one",
        ids=("1",),
        rows=({name: Feature(name, value) for name, value in values.items()},),
        label=np.array([5.0]),
        groups={},
        answers={name: np.array([np.nan if value is None else value]) for name, value in answers.items()},
        files={},
        read=1,
        left_out={},
    )


ADA = [  # Bang et al. (2009), figure 2
    ({}, 0), ({"age": 40.0}, 1), ({"age": 50.0}, 2), ({"age": 60.0}, 3), ({"age": 39.0}, 0), ({"male": True}, 1),
    ({"family": 1.0}, 1), ({"hypertension": 1.0}, 1), ({"bmi": 25.0}, 1), ({"bmi": 30.0}, 2), ({"bmi": 40.0}, 3),
    ({"bmi": None}, 0), ({"family": None}, 0),
    ({"age": 70.0, "male": True, "family": 1.0, "hypertension": 1.0, "bmi": 45.0}, 9),
]  # fmt: skip
FINDRISC = [  # Lindström & Tuomilehto (2003); age over 64 and relatives as in the form in use
    ({}, 0), ({"age": 45.0}, 2), ({"age": 55.0}, 3), ({"age": 65.0}, 4), ({"bmi": 25.0}, 0), ({"bmi": 26.0}, 1),
    ({"bmi": 31.0}, 3), ({"waist": 80.0}, 3), ({"waist": 88.0}, 3), ({"waist": 89.0}, 4),
    ({"waist": 93.0, "male": True}, 0), ({"waist": 94.0, "male": True}, 3), ({"waist": 103.0, "male": True}, 4),
    ({"drugs": 1.0}, 2), ({"family": 1.0}, 5), ({"waist": None}, 0), ({"drugs": None}, 0),
    ({"age": 70.0, "bmi": 35.0, "waist": 110.0, "drugs": 1.0, "family": 1.0}, 18),
]  # fmt: skip


@pytest.mark.parametrize(("who", "points"), ADA)
def test_ada_risk_score(who, points):
    assert ada_risk_score(person(**who)).tolist() == [points]


@pytest.mark.parametrize(("who", "points"), FINDRISC)
def test_findrisc_score(who, points):
    assert findrisc_score(person(**who)).tolist() == [points]


def test_the_label_moves_no_score():
    one = person(age=60.0)
    assert ada_risk_score(one) == ada_risk_score(replace(one, label=np.array([12.0])))


def test_the_baseline_takes_a_missing_input_for_an_average_one():
    rng = np.random.default_rng(3)
    values = rng.normal(50, 10, size=(800, 2)).astype(np.float32)
    truth = {"ge65": rng.random(800) < 1 / (1 + np.exp(-(values[:, 0] - 50) / 10))}
    fitted = fit_baseline(("a", "b"), values, np.ones_like(values), truth)
    intercept, slope, none = fitted.coefficients["ge65"]
    assert slope == pytest.approx(1, abs=0.25)
    assert abs(none) < 0.2
    missing = fitted.probability("ge65", np.zeros((1, 2), dtype=np.float32), np.zeros((1, 2), dtype=np.float32))
    assert missing[0] == pytest.approx(1 / (1 + np.exp(-intercept)))
