"""The plain window: every fault at once, the hook's own features, an event before the answer."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from cds_service.clinical.building import build_features
from cds_service.clinical.facts import Facts, PatientFact, measured
from cds_service.clinical.times import Interval
from cds_service.events.schema import CallRefused, PredictionMade, PredictionWithheld, encode
from cds_service.model.predict import predict

NOW = datetime(2026, 6, 1, 9, 0, tzinfo=UTC)

SHORTEST = {
    "age_years": 62,
    "bmi": {"value": 31.2, "unit": "kg/m2"},
    "glucose": {"value": 6.2, "unit": "mmol/L"},
    "hdl": {"value": 38, "unit": "mg/dL"},
}


def paths(response):
    return [issue["expression"][0] for issue in response.json()["issue"]]


def test_an_age_and_a_few_biomarkers_are_enough(ask, kept):
    response = ask("POST", "/predict/dysglycaemia", json=SHORTEST)
    answer = response.json()
    assert response.status_code == 200
    assert answer["abstained"] is None
    assert list(answer["probabilities"]) == ["ge57", "ge60", "ge65"]
    values = [one["value"] for one in answer["probabilities"].values()]
    assert values == sorted(values, reverse=True)
    assert answer["used"]["glucose"] == {"value": pytest.approx(6.2 * 18.0156), "unit": "mg/dL"}
    assert {"sex", "sbp"} <= set(answer["missing"])
    assert (answer["model"], answer["version"]) == ("dysglycaemia", "1.2.3")


def test_what_each_input_adds_is_told_when_it_is_asked_for(ask, kept):
    plain = ask("POST", "/predict/dysglycaemia", json=SHORTEST).json()
    asked = ask("POST", "/predict/dysglycaemia?explain=true", json=SHORTEST).json()
    assert "explanation" not in plain
    told = asked["explanation"]["ge65"]
    assert set(told["contributions"]) == {"bmi", "glucose", "hdl"}
    assert told["base"] + sum(told["contributions"].values()) == pytest.approx(told["estimate"])
    assert len(kept.events) == 2


def test_where_the_model_is_silent_nothing_is_explained(ask):
    answer = ask("POST", "/predict/dysglycaemia?explain=true", json={"age_years": 62}).json()
    assert answer["abstained"]["reason"] == "not_enough_inputs"
    assert "explanation" not in answer


def test_the_event_is_kept_before_the_answer(ask, kept):
    answer = ask("POST", "/predict/dysglycaemia", json=SHORTEST).json()
    (event,) = kept.events
    assert isinstance(event, PredictionMade)
    assert (event.id, event.hook, event.service, event.patient) == (answer["id"], "predict", None, None)
    assert event.scores == {name: one["value"] for name, one in answer["probabilities"].items()}
    assert (event.reported["glucose"].value, event.reported["glucose"].unit) == (6.2, "mmol/L")
    assert event.missing["sbp"] == "no_result"
    assert b"kg/m2" not in encode(event)


@pytest.mark.fault("F10")
def test_without_its_event_no_answer_leaves(ask, kept):
    kept.fails = True
    response = ask("POST", "/predict/dysglycaemia", json=SHORTEST)
    assert response.status_code == 503
    assert response.headers["retry-after"]
    assert "probabilities" not in response.text


def test_the_chart_and_the_plain_window_give_the_same_number(ask, model):
    """Case B-075."""
    born = datetime(1964, 1, 20, tzinfo=UTC)
    taken = NOW - timedelta(days=20)
    facts = Facts(
        patient=PatientFact(born=Interval(born, born), sex="female"),
        measurements={
            one.code: [one]
            for one in (
                measured("http://loinc.org|39156-5", 31.2, "kg/m2", taken),
                measured("http://loinc.org|1558-6", 6.2, "mmol/L", taken),
                measured("http://loinc.org|2085-9", 38, "mg/dL", taken),
            )
        },
    )
    from_chart = predict(model, build_features(model.features, facts, NOW))
    body = {**SHORTEST, "sex": "female", "fasting": True}
    answer = ask("POST", "/predict/dysglycaemia", json=body).json()
    assert answer["used"]["fasting"]["value"] == 1.0
    assert {name: one["value"] for name, one in answer["probabilities"].items()} == from_chart.probabilities


FAULTS = [
    pytest.param({"age_years": 62, "glucos": {"value": 1, "unit": "mg/dL"}}, ["$this"], id="an unknown name"),
    pytest.param({"age_years": 62, "hba1c": {"value": 7, "unit": "%"}}, ["$this"], id="a condition is no input"),
    pytest.param({"age_years": 62, "glucose": 90}, ["glucose"], id="a number without a unit"),
    pytest.param({"age_years": 62, "glucose": {"value": 90}}, ["glucose.unit"], id="no unit"),
    pytest.param(
        {"age_years": 62, "glucose": {"value": "90", "unit": "mg/dL"}}, ["glucose.value"], id="text as number"
    ),
    pytest.param(
        {"age_years": 62, "glucose": {"value": True, "unit": "mg/dL"}}, ["glucose.value"], id="true is no number"
    ),
    pytest.param(
        {"age_years": 62, "glucose": {"value": 10**400, "unit": "mg/dL"}}, ["glucose.value"], id="beyond a double"
    ),
    pytest.param({"age_years": 62, "glucose": {"value": 90, "unit": "mg/d"}}, ["glucose.unit"], id="another dimension"),
    pytest.param({"age_years": 62, "glucose": {"value": 90, "unit": "MG/DL"}}, ["glucose.unit"], id="no case folding"),
    pytest.param({"age_years": 62, "glucose": {"value": 9000, "unit": "mg/dL"}}, ["glucose.value"], id="implausible"),
    pytest.param(
        {"age_years": 62, "glucose": {"value": 90, "unit": "mg/dL", "code": "x"}}, ["glucose"], id="another member"
    ),
    pytest.param({"glucose": {"value": 90, "unit": "mg/dL"}}, ["age_years"], id="the model can't do without age"),
    pytest.param({"age_years": None}, ["age_years"], id="null is missing"),
    pytest.param({"age_years": 62.5}, ["age_years"], id="half a year"),
    pytest.param({"age_years": "62"}, ["age_years"], id="age as text"),
    pytest.param({"age_years": 7}, ["age_years"], id="a child"),
    pytest.param({"age_years": -1}, ["age_years"], id="before birth"),
    pytest.param({"age_years": {"value": 62, "unit": "mo"}}, ["age_years.unit"], id="age in months"),
    pytest.param({"age_years": 62, "sex": "Male"}, ["sex"], id="sex in another spelling"),
    pytest.param({"age_years": 62, "sex": ["male"]}, ["sex"], id="sex as a list"),
    pytest.param({"age_years": 62, "fasting": True}, ["fasting"], id="fasting without glucose"),
    pytest.param(
        {"age_years": 62, "glucose": {"value": 90, "unit": "mg/dL"}, "fasting": 1}, ["fasting"], id="1 is not true"
    ),
    pytest.param(
        {"age_years": "x", "sex": 1, "bmi": 3, "glucose": {"value": "v", "unit": 7}},
        ["age_years", "sex", "bmi", "glucose.value", "glucose.unit"],
        id="all faults at once",
    ),
]


@pytest.mark.parametrize(("body", "where"), FAULTS)
def test_every_fault_is_named_by_its_path(ask, kept, body, where):
    response = ask("POST", "/predict/dysglycaemia", json=body)
    assert response.status_code == 400
    assert paths(response) == where
    (event,) = kept.events
    assert isinstance(event, CallRefused)
    assert (event.door, event.reason, event.faults) == ("predict", "bad_request", len(where))


@pytest.mark.parametrize(
    "body",
    [
        b"", b"nonsense", b"[]", b"7", b"null", b'{"age_years": NaN}', b'{"age_years": 1e999}', b"\xef\xbb\xbf{}",
        b'{"age_years": 62, "age_years": 63}', b'{"age_years": 62} {}', b'"\xff"', b"[" * 60_000, b'{"a":' * 10_000,
    ],
)  # fmt: skip
@pytest.mark.sec("SEC-045")
def test_what_is_not_one_clear_object_is_400(ask, body):
    response = ask("POST", "/predict/dysglycaemia", content=body, headers={"content-type": "application/json"})
    assert response.status_code == 400
    assert response.json()["resourceType"] == "OperationOutcome"


@pytest.mark.sec("SEC-085")
def test_errors_repeat_nothing_that_was_sent(ask):
    canary = "Zanarkand"
    for body in (
        {canary: 1},
        {"age_years": canary},
        {"age_years": 62, "sex": canary, "bmi": {"value": canary, "unit": canary}, "hdl": {canary: canary}},
        {"age_years": 62, "glucose": {"value": 90, "unit": f"mg{{{canary}}}/d"}},
    ):
        response = ask("POST", "/predict/dysglycaemia", json=body)
        assert response.status_code == 400
        assert canary.lower() not in response.text.lower()
    assert canary not in ask("POST", f"/predict/{canary}", json=SHORTEST).text


@pytest.mark.sec("SEC-080")
def test_a_unit_reaches_the_log_without_its_annotation(ask, kept):
    body = {"age_years": 62, "bmi": SHORTEST["bmi"], "glucose": {"value": 0.09, "unit": "g{Zanarkand}/dL"}}
    assert ask("POST", "/predict/dysglycaemia", json=body).status_code == 200
    assert kept.events[0].reported["glucose"].unit == "g/dL"
    assert "Zanarkand" not in ask("POST", "/predict/dysglycaemia", json=body).text


def test_a_spelling_that_the_laboratory_declared_is_read(ask, kept):
    body = {"age_years": 62, "sbp": {"value": 141, "unit": "mmHg"}, "bmi": {"value": 31, "unit": "kg/m²"}}
    answer = ask("POST", "/predict/dysglycaemia", json=body).json()
    assert answer["used"]["sbp"] == {"value": 141.0, "unit": "mm[Hg]"}
    assert kept.events[0].reported["bmi"].unit == "kg/m2"
    assert "unit_from_text" in kept.events[0].flags


def test_too_little_to_go_on_is_an_answer(ask, kept):
    response = ask("POST", "/predict/dysglycaemia", json={"age_years": 62})
    assert response.status_code == 200
    assert response.json()["abstained"]["reason"] == "not_enough_inputs"
    assert "probabilities" not in response.json()
    assert isinstance(kept.events[0], PredictionWithheld)


@pytest.mark.parametrize("age", [18, 40, 80, 125])
@pytest.mark.parametrize("now", ["2026-01-01", "2028-02-29", "2026-12-31"])
def test_the_age_that_was_sent_is_the_age_that_is_used(model, age, now):
    from cds_service.api.values import read_values

    moment = datetime.fromisoformat(now).replace(tzinfo=UTC)
    assert read_values({"age_years": age}, model.features, moment)["age_years"].value == age


def test_an_unknown_model_is_404(ask):
    response = ask("POST", "/predict/other", json=SHORTEST)
    assert response.status_code == 404
    assert response.json()["issue"][0]["code"] == "not-found"


def test_json_goes_in_and_out(ask):
    response = ask(
        "POST", "/predict/dysglycaemia", content=json.dumps(SHORTEST), headers={"content-type": "text/plain"}
    )
    assert response.status_code == 415
    assert ask("GET", "/predict/dysglycaemia").headers["allow"] == "POST"
