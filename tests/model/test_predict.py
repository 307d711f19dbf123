"""What the model says, when it is silent, and how a number is kept from saying more than is known."""

import json
import math
import random
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cds_service.clinical.features import Feature
from cds_service.model.bundle import load_bundle
from cds_service.model.chain import Chain, prevalence_shift
from cds_service.model.predict import Abstention, Prediction, predict, predict_many
from cds_service.model.runtime import open_model

NAMES = ("age_years", "sex", "bmi", "waist", "sbp", "dbp", "total_cholesterol", "hdl", "glucose", "fasting")


def people(model, count):
    """Rows drawn inside the ranges of training, each input missing now and then, age never."""
    draw = random.Random(count)
    rows = []
    for _ in range(count):
        row = {}
        for name, seen in model.bundle.reference.inputs.items():
            value = (
                draw.choice((0.0, 1.0))
                if name in {"sex", "fasting"}
                else draw.uniform(seen.deciles[0], seen.deciles[-1])
            )
            row[name] = Feature(name, value if name == "age_years" or draw.random() > 0.15 else None)
        rows.append(row)
    return [row for row in rows if sum(one.value is not None for one in row.values()) >= 3]


def test_outputs_contain_each_other(model):
    for answer in predict_many(model, people(model, 500)):
        ge57, ge60, ge65 = answer.probabilities.values()
        assert 0 < ge65 < ge60 < ge57 < 1


@pytest.mark.parametrize("threads", [1, 8])
def test_alone_or_in_a_batch(bundle, model, threads):
    """Case B-075: batch size, order and threads are no inputs."""
    rows = people(model, 257)
    other = open_model(bundle, threads=threads)
    alone = [predict(model, row) for row in rows]
    together = predict_many(other, rows)
    backwards = predict_many(other, rows[::-1])[::-1]
    for one, batch, reverse in zip(alone, together, backwards, strict=True):
        for output, probability in one.probabilities.items():
            assert batch.probabilities[output] == pytest.approx(probability, abs=bundle.golden.tolerance)
            assert reverse.probabilities[output] == pytest.approx(probability, abs=bundle.golden.tolerance)
        assert (one.operating_point, one.used) == (batch.operating_point, batch.used)


def test_threads_never_share_a_row(model):
    """One session, many threads: each gets its own patient's number."""
    rows = people(model, 64)
    expected = [predict(model, row).probabilities for row in rows]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(10):
            found = list(pool.map(lambda row: predict(model, row).probabilities, rows))
            assert found == expected


@pytest.mark.parametrize("gone", NAMES[1:])
def test_any_input_but_age_may_be_missing(model, someone, gone):
    without = {name: feature for name, feature in someone.items() if name != gone}
    as_reason = {**someone, gone: Feature(gone, None, "stale")}
    answer = predict(model, without)
    assert answer.missing == (gone,)
    assert answer == predict(model, as_reason)
    assert answer.probabilities != predict(model, someone).probabilities


@pytest.mark.sec("SEC-123")
@pytest.mark.fault("F62")
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", NAMES)
def test_a_number_that_is_none_is_never_scored(model, someone, name, value):
    answer = predict(model, {**someone, name: Feature(name, value)})
    assert answer == Abstention("dysglycaemia", "1.0.0", "non_finite", (name,))
    assert predict_many(model, [{**someone, name: Feature(name, value)}, someone])[0] == answer


@pytest.mark.sec("SEC-123")
def test_a_graph_that_gives_nan_is_never_shown(model, someone, monkeypatch):
    monkeypatch.setattr(model, "logits", lambda _: [1.0, math.nan, 0.0])
    assert predict(model, someone).reason == "non_finite"


@pytest.mark.parametrize(
    ("change", "reason", "features"),
    [
        pytest.param({"age_years": None}, "not_enough_inputs", ("age_years",), id="no age"),
        pytest.param({"glucose": 1500.0}, "out_of_distribution", ("glucose",), id="a glucose that training never saw"),
        pytest.param({"bmi": 100.0, "hdl": 1.0}, "out_of_distribution", ("bmi", "hdl"), id="two such values"),
        pytest.param({"sex": 7.0}, "out_of_distribution", ("sex",), id="a code that is none"),
        pytest.param(dict.fromkeys(NAMES[2:]), "not_enough_inputs", NAMES[2:], id="age and sex alone"),
    ],
)
def test_the_model_says_why_it_is_silent(model, someone, change, reason, features):
    answer = predict(model, {**someone, **{name: Feature(name, value) for name, value in change.items()}})
    assert answer == Abstention("dysglycaemia", "1.0.0", reason, features)


def test_age_is_clipped_as_the_survey_tops_it(model, someone):
    at = {age: predict(model, {**someone, "age_years": Feature("age_years", age)}) for age in (80.0, 81.0, 104.0)}
    assert at[80.0].probabilities == at[81.0].probabilities == at[104.0].probabilities


def test_an_age_and_two_biomarkers_are_enough(model, row):
    answer = predict(model, row(age_years=64.0, glucose=118.0, hdl=39.0))
    assert isinstance(answer, Prediction)
    assert len(answer.missing) == 7


def test_it_points_where_medicine_points(model, row, someone):
    """Over the middle of the range, more glucose, age and waist mean more risk. Not guaranteed by construction: watched."""
    for name, values in {
        "glucose": range(85, 180, 5),
        "age_years": range(30, 78, 4),
        "waist": range(80, 130, 5),
    }.items():
        risks = [
            predict(model, {**someone, name: Feature(name, float(value))}).probabilities["ge57"] for value in values
        ]
        assert all(later >= earlier - 0.01 for earlier, later in pairwise(risks)), name
        assert risks[-1] > risks[0]


def test_the_operating_point_is_reached_at_its_threshold(model):
    threshold = model.bundle.operating_points["high"].threshold
    for answer in predict_many(model, people(model, 500)):
        assert (answer.operating_point == "high") == (answer.probabilities["ge65"] >= threshold)


def thin(copy, edit, name, place):
    edit(copy, "calibration.json", lambda d: d["bins"][name][place].update(cases=19))
    return open_model(load_bundle(copy))


def test_a_thin_bin_shows_its_edge_and_no_number(copy, edit, row, someone):
    """19 cases stand behind the last bin of ge65: whatever the probability in it, "over 0.9" is all that is shown."""
    thinned = thin(copy, edit, "ge65", -1)
    extreme = {
        **someone,
        "glucose": Feature("glucose", 400.0),
        "bmi": Feature("bmi", 40.0),
        "waist": Feature("waist", 130.0),
    }
    answer = predict(thinned, extreme)
    assert answer.probabilities["ge65"] > 0.9
    assert answer.display["ge65"] == (0.9, ">")


def test_a_thin_lowest_bin_shows_its_edge(copy, edit, model, row):
    thinned = thin(copy, edit, "ge65", 0)
    young = row(age_years=20.0, sex=0.0, bmi=20.0, glucose=80.0, hdl=70.0, waist=68.0)
    answer = predict(thinned, young)
    assert answer.display["ge65"] == (0.005, "<")
    shifted = predict(thinned, young, site_prevalence={"ge65": 0.10}).display["ge65"]
    assert shifted[1] == "<"
    assert shifted[0] > 0.005


@pytest.mark.parametrize("site", [0.01, 0.08, 0.3])
def test_a_single_prevalence_shifts_the_odds_by_the_ratio_of_the_odds(model, someone, site):
    before = predict(model, someone).probabilities["ge65"]
    answer = predict(model, someone, site_prevalence={"ge65": site})
    ours = model.bundle.prevalence["ge65"]
    odds = before / (1 - before) * (site / (1 - site)) / (ours / (1 - ours))
    assert answer.probabilities["ge65"] == pytest.approx(odds / (1 + odds))
    assert answer.at_site_prevalence
    assert not predict(model, someone).at_site_prevalence


def test_the_same_prevalence_changes_nothing(model, someone):
    same = predict(model, someone, site_prevalence=model.bundle.prevalence)
    assert list(same.probabilities.values()) == pytest.approx(list(predict(model, someone).probabilities.values()))


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.floats(0.001, 0.999), min_size=3, max_size=3, unique=True),
    st.lists(st.floats(0.001, 0.999), min_size=3, max_size=3, unique=True),
    st.lists(st.floats(0.001, 0.999), min_size=3, max_size=3, unique=True),
    st.sets(st.sampled_from(["a", "b", "c"]), min_size=1),
)
def test_a_shift_keeps_the_order(ours, theirs, probabilities, declared):
    names = ("a", "b", "c")
    falling = [dict(zip(names, sorted(one, reverse=True), strict=True)) for one in (ours, theirs)]
    shift = prevalence_shift(falling[0], {name: falling[1][name] for name in declared}, names)
    shifted = shift(sorted(probabilities, reverse=True))
    assert all(0 <= one <= 1 + 1e-12 for one in shifted)
    assert all(later <= earlier + 1e-12 for earlier, later in pairwise(shifted))


@pytest.mark.parametrize(
    "site", [{"ge65": 0.0}, {"ge65": 1.0}, {"ge65": math.nan}, {"ge57": 0.1, "ge65": 0.2}, {"ge99": 0.1}]
)
def test_an_impossible_prevalence_is_refused(model, someone, site):
    with pytest.raises(ValueError, match="prevalence"):
        predict(model, someone, site_prevalence=site)


def test_a_chain_multiplies_its_steps():
    chain = Chain(("a", "b"), ((0.0, 1.0), (0.5, 2.0)), ((0.0, 1.0), (0.0, 1.0)))
    first, second = chain.probabilities([0.0, 1.0])
    assert first == 0.5
    assert second == pytest.approx(0.5 / (1 + math.exp(-2.5)))
    assert chain.probabilities([1000.0, -1000.0]) == [1.0, 0.0]
    assert chain.probabilities([-800.0, 0.0])[0] == 0.0


def test_a_prediction_can_be_written_down(model, someone):
    answer = predict(model, someone)
    assert json.loads(msgspec.json.encode(answer))["used"] == list(NAMES)


@settings(max_examples=300, deadline=None)
@given(
    st.dictionaries(
        st.sampled_from((*NAMES, "ethnicity")),
        st.one_of(st.none(), st.floats(width=64), st.integers(-5, 500).map(float)),
    )
)
def test_whatever_comes_in_what_comes_out_is_finite_or_a_reason(model, values):
    answer = predict(model, {name: Feature(name, value) for name, value in values.items()})
    if isinstance(answer, Prediction):
        shown = [*answer.probabilities.values(), *(number for number, _ in answer.display.values())]
        assert all(0 <= number <= 1 for number in shown)
    else:
        assert answer.reason in {"non_finite", "out_of_distribution", "not_enough_inputs"}


def test_order_of_the_mapping_is_no_input(model, someone):
    names = list(someone)
    random.Random(1).shuffle(names)
    assert predict(model, {name: someone[name] for name in names}) == predict(model, someone)
