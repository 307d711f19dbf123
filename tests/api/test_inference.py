"""Open Inference Protocol v2, REST: optional tensors, rows that may lack values, its own error form."""

import pytest

INFER = "/v2/models/dysglycaemia/infer"


def tensor(name, *data, shape=None, datatype="FP64", **more):
    return {"name": name, "datatype": datatype, "shape": shape or [len(data)], "data": list(data), **more}


FEW = [tensor("age_years", 62), tensor("bmi", 31.2), tensor("glucose", 111.7), tensor("hdl", 38)]


def outputs(response):
    return {one["name"]: one["data"] for one in response.json()["outputs"]}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v2", {"name": "cds-service", "extensions": []}),
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        ("/v2/models/dysglycaemia/ready", {"name": "dysglycaemia", "ready": True}),
        ("/v2/models/dysglycaemia/versions/1.2.3/ready", {"ready": True}),
        ("/v2/models/dysglycaemia", {"versions": ["1.2.3"], "platform": "onnx_onnxv1"}),
        ("/v2/models/dysglycaemia/versions/1.2.3", {"name": "dysglycaemia"}),
    ],
)
def test_what_can_be_asked_without_data(ask, path, expected):
    response = ask("GET", path)
    assert response.status_code == 200
    assert expected.items() <= response.json().items()


def test_metadata_tell_units_and_what_may_be_absent(ask):
    inputs = {one["name"]: one for one in ask("GET", "/v2/models/dysglycaemia").json()["inputs"]}
    assert inputs["glucose"]["parameters"] == {"unit": "mg/dL", "optional": True}
    assert inputs["age_years"]["parameters"]["optional"] is False
    assert inputs["sex"]["parameters"]["values"] == "1 male, 0 female"
    assert all(one["datatype"] == "FP64" and one["shape"] == [-1, 1] for one in inputs.values())


def test_the_two_windows_give_the_same_number(ask):
    """Case B-075."""
    body = {
        "age_years": 62,
        "sex": "male",
        "fasting": True,
        "bmi": {"value": 31.2, "unit": "kg/m2"},
        "glucose": {"value": 6.2, "unit": "mmol/L"},
        "hdl": {"value": 38, "unit": "mg/dL"},
    }
    plain = ask("POST", "/predict/dysglycaemia", json=body).json()["probabilities"]
    tensors = [
        tensor("age_years", 62),
        tensor("sex", 1),
        tensor("fasting", 1.0),
        tensor("bmi", [31.2], shape=[1, 1], datatype="FP32"),
        tensor("glucose", 6.2, parameters={"unit": "mmol/L"}),
        tensor("hdl", 38),
    ]
    response = ask("POST", INFER, json={"inputs": tensors})
    assert {name: value["value"] for name, value in plain.items()} == {
        name: data[0] for name, data in outputs(response).items() if name != "abstained"
    }


def test_rows_singly_together_and_reversed_are_equal(ask):
    rows = [(62, 31.2, 111.0, 38), (40, 22.0, 90.0, 60), (75, 28.0, 180.0, 45)]

    def asked(rows):
        names = ("age_years", "bmi", "glucose", "hdl")
        columns = [tensor(name, *column) for name, column in zip(names, zip(*rows, strict=True), strict=True)]
        return outputs(ask("POST", INFER, json={"inputs": columns}))["ge57"]

    together = asked(rows)
    assert together == pytest.approx([asked([row])[0] for row in rows], abs=1e-7)
    assert together == pytest.approx(asked(rows[::-1])[::-1], abs=1e-7)
    assert len(set(together)) == 3


def test_a_row_without_enough_abstains_beside_one_that_speaks(ask, kept):
    inputs = [tensor("age_years", 62, None), tensor("bmi", 31, 30), tensor("glucose", 110, None), tensor("hdl", 40, 41)]
    response = ask("POST", INFER, json={"inputs": inputs})
    assert response.status_code == 200
    found = outputs(response)
    assert found["abstained"] == ["", "not_enough_inputs"]
    assert found["ge65"][0] > 0
    assert found["ge65"][1] is None
    assert [type(event).__name__ for event in kept.events] == ["PredictionMade", "PredictionWithheld"]
    assert {event.hook for event in kept.events} == {"infer"}


@pytest.mark.parametrize(
    ("sent", "echoed"),
    [("a-1.b:c_2", "a-1.b:c_2"), ("Mrs Example", None), ("x" * 65, None), ("<b>", None), (None, None)],
)
def test_an_id_is_echoed_only_if_it_can_be_no_text(ask, sent, echoed):
    response = ask("POST", INFER, json={"id": sent, "inputs": FEW})
    assert response.status_code == 200
    assert response.json().get("id") == echoed


def test_only_the_outputs_that_were_asked_for(ask):
    response = ask("POST", INFER, json={"inputs": FEW, "outputs": [{"name": "ge65"}]})
    assert list(outputs(response)) == ["ge65"]


@pytest.mark.parametrize(
    "body",
    [
        pytest.param({}, id="no inputs"),
        pytest.param([], id="a list"),
        pytest.param({"inputs": []}, id="no tensor"),
        pytest.param({"inputs": [tensor("hba1c", 7)]}, id="not an input"),
        pytest.param({"inputs": [tensor("bmi", 30), tensor("bmi", 30)]}, id="named twice"),
        pytest.param({"inputs": [tensor("bmi", 30, datatype="INT64")]}, id="another datatype"),
        pytest.param({"inputs": [tensor("bmi", 30, shape=[2])]}, id="another shape"),
        pytest.param({"inputs": [tensor("bmi", [30, 31], shape=[1, 2])]}, id="two columns"),
        pytest.param({"inputs": [tensor("bmi", 30), tensor("hdl", 40, 41)]}, id="different rows"),
        pytest.param({"inputs": [tensor("bmi", *[30] * 513)]}, id="too many rows"),
        pytest.param({"inputs": [tensor("bmi", shape=[0])]}, id="no rows"),
        pytest.param({"inputs": [tensor("bmi", "30")]}, id="text"),
        pytest.param({"inputs": [tensor("sex", True)]}, id="true is no number"),
        pytest.param({"inputs": [tensor("sex", 2)]}, id="a third sex code"),
        pytest.param({"inputs": [tensor("bmi", 9000)]}, id="implausible"),
        pytest.param({"inputs": [tensor("bmi", 30, parameters={"unit": "mg/dL"})]}, id="another unit"),
        pytest.param({"inputs": [tensor("bmi", 30, parameters={"unit": 3})]}, id="a unit that is a number"),
        pytest.param({"inputs": [{"name": "bmi", "shape": [1], "data": [1]}]}, id="no datatype"),
        pytest.param({"inputs": [tensor("bmi", 30)], "outputs": [{"name": "nothing"}]}, id="unknown output"),
    ],
)
def test_faults_in_the_protocols_own_form(ask, body):
    response = ask("POST", INFER, json=body)
    assert response.status_code == 400
    assert list(response.json()) == ["error"]
    assert response.json()["error"]


def test_faults_name_the_row_and_never_the_value(ask):
    inputs = [tensor("age_years", 62, 63), tensor("bmi", 30, 987654)]
    error = ask("POST", INFER, json={"inputs": inputs}).json()["error"]
    assert "row 1, bmi.value" in error
    assert "987654" not in error


@pytest.mark.parametrize("path", ["/v2/models/other", "/v2/models/dysglycaemia/versions/9", "/v2/models/other/ready"])
def test_unknown_models_and_versions(ask, path):
    response = ask("GET", path)
    assert response.status_code == 404
    assert list(response.json()) == ["error"]


def test_a_store_that_fails_keeps_the_answer_back(ask, kept):
    kept.fails = True
    response = ask("POST", INFER, json={"inputs": FEW})
    assert response.status_code == 503
    assert "outputs" not in response.json()
    assert response.headers["retry-after"]
