"""The story of one hook call: a chart becomes a card or none, and exactly one event with its reason."""

import asyncio
import json
from dataclasses import replace
from datetime import date, timedelta

import pytest
from starlette.testclient import TestClient

from cds_service.cdshooks.client import read_client
from cds_service.cdshooks.declaration import Owner
from cds_service.cdshooks.wire import read_request
from cds_service.clinical.building import build_features
from cds_service.clinical.key_content import decode_key
from cds_service.clinical.reading import read_facts
from cds_service.errors import PatientMismatch, SettingsError, StoreUnavailable
from cds_service.events.store import ShownCard
from cds_service.model.predict import Abstention
from cds_service.service_app import create_app, open_parts
from cds_service.settings import read_settings
from tests.asking import DECLARED, UNDECLARED, Log, ask, ask_async, call_of, made_desk, outcome, whole_chart
from tests.attacks.real import real_parts
from tests.bundles import write_tiny_bundle
from tests.clinical.charts import FEATURES, HBA1C, INDEX, ME, NOW, ROOT, ago, bundle, person, result

SILENT = replace(DECLARED, is_silent=True)
DISMISSED = Log(ShownCard("c", NOW - timedelta(days=3), "prediction_made", "overridden", NOW - timedelta(days=3)))
RULE = {"labs": bundle(result("g", 250))}


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    return made_desk(tmp_path_factory.mktemp("assets"))


@pytest.fixture(scope="module")
def low(tmp_path_factory):
    """A model whose probabilities never reach the operating point."""
    return made_desk(tmp_path_factory.mktemp("low"), offset=-2.0, threshold=0.9)


def changed(tmp_path, **fields):
    return made_desk(tmp_path, change=lambda service: replace(service, **fields))


@pytest.mark.parametrize(
    ("keys", "asked", "expected"),
    [
        pytest.param({}, {}, (1, "PredictionMade", None, None), id="the model speaks"),
        pytest.param(RULE, {}, (1, "RuleFired", None, None), id="the rule speaks"),
        pytest.param({}, {"client": UNDECLARED}, (1, "PredictionMade", None, None), id="in words, where no prevalence is declared"),
        pytest.param({}, {"client": SILENT}, (0, "PredictionWithheld", "silent_site", None), id="a silent site logs and shows nothing"),
        pytest.param(RULE, {"client": SILENT}, (0, "PredictionWithheld", "silent_site", None), id="nor what a rule says"),
        pytest.param({"problems": ...}, {"client": SILENT}, (0, "PredictionWithheld", "data_missing", "problems"), id="nor what is missing"),
        pytest.param({}, {"log": DISMISSED}, (0, "PredictionWithheld", "repeated", None), id="dismissed three days ago"),
        pytest.param(RULE, {"log": DISMISSED}, (0, "PredictionWithheld", "repeated", None), id="the rule repeats itself neither"),
        pytest.param({"problems": ...}, {"log": DISMISSED}, (0, "PredictionWithheld", "data_missing", "problems"), id="nor does a card of missing data"),
        pytest.param({}, {"log": Log(opens=1000, cards=79)}, (1, "PredictionMade", None, None), id="under the ceiling"),
        pytest.param({}, {"log": Log(opens=1000, cards=81)}, (0, "PredictionWithheld", "card_ceiling", None), id="over the ceiling: silent"),
        pytest.param({}, {"log": Log(opens=199, cards=100)}, (1, "PredictionMade", None, None), id="too few opens to speak of a rate"),
        pytest.param({"labs": bundle(result("g", 168, at=ago(-1)))}, {}, (0, "PredictionWithheld", "required_input_missing", "glucose"), id="a value from tomorrow"),
    ],
)  # fmt: skip
def test_chart_in_answer_out(desk, keys, asked, expected):
    made = ask(desk, call_of(whole_chart(**keys)), **asked)
    assert outcome(made) == expected
    (event,) = made.events
    assert event.took_ms == 1.0
    assert (event.card is None) == (not made.cards)
    if made.cards:
        assert event.card == made.cards[0].uuid
        assert event.suggestions == tuple(one.uuid for one in made.cards[0].suggestions)


def test_below_the_threshold_nothing_is_shown_and_the_scores_are_kept(low):
    made = ask(low)
    assert outcome(made) == (0, "PredictionWithheld", "below_threshold", None)
    assert set(made.events[0].scores) == {"ge57", "ge60", "ge65"}
    assert made.events[0].operating_point is None


def test_a_silent_site_keeps_its_scores(desk):
    assert set(ask(desk, client=SILENT).events[0].scores) == {"ge57", "ge60", "ge65"}


def test_past_its_review_a_service_is_silent(tmp_path):
    overdue = changed(tmp_path, owner=Owner("someone", date(2026, 5, 31)))
    assert outcome(ask(overdue)) == (0, "PredictionWithheld", "review_overdue", None)
    assert ask(overdue, now=NOW - timedelta(hours=1)).cards


@pytest.mark.ch("CH-111", "W-04")
def test_a_service_may_answer_412_and_names_every_key(tmp_path):
    strict = changed(tmp_path, on_missing="412")
    made = ask(strict, call_of(whole_chart(problems=..., hba1c=...)))
    assert outcome(made) == (0, "PredictionWithheld", "data_missing", "problems")
    assert [fault.where for fault in made.refusal.faults] == ["prefetch.problems", "prefetch.hba1c"]


@pytest.mark.ch("W-05")
def test_another_patients_chart_is_refused(desk):
    with pytest.raises(PatientMismatch):
        ask(desk, call_of(whole_chart(patient=person("you"))))


def test_the_event_says_what_was_used_and_what_was_not(desk):
    labs = bundle(
        result("g", 9.3, "mmol/L"),
        result("h", 45, "mg/dl", system=None, code="http://loinc.org|2085-9", status="preliminary"),
    )
    (event,) = ask(desk, call_of(whole_chart(labs=labs, vitals=...))).events
    assert event.features["glucose"] == pytest.approx(167.545, abs=0.001)
    assert (event.reported["glucose"].value, event.reported["glucose"].unit) == (9.3, "mmol/L")
    assert (event.missing["hdl"], event.missing["bmi"]) == ("status_not_usable", "key_absent")
    assert (event.prefetch["labs"], event.prefetch["vitals"], event.prefetch["problems"]) == ("sent", "absent", "none")


@pytest.mark.sec("SEC-080")
def test_an_annotated_unit_carries_nothing_into_the_event(desk):
    (event,) = ask(
        desk, call_of(whole_chart(labs=bundle(result("g", 9.3, "mmol{Zanarkand-Yuna-1958-and-a-long-tail}/L"))))
    ).events
    assert event.reported["glucose"].unit == "mmol/L"


@pytest.mark.parametrize("language", ["en", "ja"])
def test_a_model_that_gives_no_figure_says_so_where_the_service_wants_it(tmp_path, monkeypatch, language):
    told = Abstention("dysglycaemia", "1.1.0", "out_of_distribution", ("bmi", "glucose"))
    monkeypatch.setattr("cds_service.answer.predict", lambda *_, **__: told)
    open_ = changed(tmp_path / "a", on_abstain=("out_of_distribution",))
    made = ask(open_, client=replace(DECLARED, language=language), language=language)
    assert outcome(made) == (1, "PredictionWithheld", "out_of_distribution", "bmi")
    assert "BMI" in made.cards[0].detail
    assert made.cards[0].suggestions == ()
    assert "%" not in made.cards[0].summary
    quiet = changed(tmp_path / "b", on_abstain=())
    assert outcome(ask(quiet)) == (0, "PredictionWithheld", "out_of_distribution", "bmi")
    assert outcome(ask(open_, client=SILENT)) == (0, "PredictionWithheld", "out_of_distribution", "bmi")


def test_keys_that_nobody_asked_for_are_counted_in_the_event(desk):
    (event,) = ask(desk, call_of({**whole_chart(), "secret": None})).events
    assert "unknown_key" in event.flags


def test_without_a_shorter_window_a_raised_value_changes_no_months(tmp_path):
    def change(service):
        no_recent = replace(service.when.no_recent, months_if_previously_raised=None)
        return replace(service, when=replace(service.when, no_recent=no_recent))

    fixed = made_desk(tmp_path, change=change)
    raised = result("a", 6.2, "%", code=HBA1C, at=ago(1000))
    made = ask(fixed, call_of(whole_chart(hba1c=bundle(raised))))
    assert outcome(made) == (0, "PredictionWithheld", "recent_measurement", "hba1c")


def test_a_declared_holdout_keeps_the_card_back(tmp_path):
    assert outcome(ask(changed(tmp_path, holdout=1.0))) == (0, "PredictionWithheld", "holdout", None)


def chart_call(path):
    """A call for a patient of the sandbox, each key holding what the chart has of its type."""
    entries = json.loads(path.read_text(encoding="utf-8"))["entry"]
    of = lambda kind: [entry for entry in entries if entry["resource"]["resourceType"] == kind]  # noqa: E731
    patients = of("Patient")
    if not patients:
        return None
    patient = patients[0]["resource"]
    subject = [{"fullUrl": patients[0].get("fullUrl", "urn:x"), "resource": patient}]
    searched = lambda kind: {"resourceType": "Bundle", "type": "searchset", "entry": of(kind) + subject}  # noqa: E731
    observations = searched("Observation")
    return patient, {
        "patient": patient, "problems": searched("Condition"), "medications": searched("MedicationRequest"),
        "hba1c": observations, "labs": observations, "vitals": observations, "procedures": searched("Procedure"),
        "pregnancy": None, "encounter": None,
    }  # fmt: skip


CHARTS = [path for path in sorted((ROOT / "sandbox/patients").glob("*/*.json")) if path.parent.name != "ehr"]
PATIENTS = [path for path in CHARTS if "directory" not in path.name]


def read_chart(path):
    patient, keys = chart_call(path)
    contents = {key: decode_key(json.dumps(value).encode()) for key, value in keys.items() if key != "hba1c"}
    facts = read_facts(contents, patient=patient["id"], index=INDEX)
    dated = [one.end for found in facts.measurements.values() for one in found if one.end is not None]
    return facts, build_features(FEATURES, facts, max(dated, default=NOW))


@pytest.mark.parametrize("path", PATIENTS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_every_patient_of_the_sandbox_becomes_facts_and_features(path):
    facts, features = read_chart(path)
    assert facts.patient is not None
    assert "other_patient" not in facts.set_aside
    assert all((one.value is None) != (one.reason is None) for one in features.values())
    for name in ("glucose", "hdl", "total_cholesterol", "bmi", "sbp"):
        source = features[name].source
        assert source is None or source.removeprefix("Observation/") in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("jp-style/jp-001", {"age_years": 68, "sex": 0, "bmi": 24.1, "waist": 86.5, "sbp": 138, "dbp": 84, "total_cholesterol": 214,
                             "hdl": 58, "glucose": 102, "fasting": 1, "hba1c": 5.9}),
        ("jp-style/jp-002", {"age_years": 54, "sex": 1, "bmi": 29.8, "waist": 101, "glucose": 118, "fasting": 1, "hba1c": None}),
        ("us-core/patient-example", {"sbp": 109, "dbp": 72, "bmi": None, "glucose": None, "sex": None}),
        ("synthea/patient_01", {"age_years": 73, "sex": 1, "fasting": None, "waist": None}),
    ],
)  # fmt: skip
def test_known_patients_have_their_known_values(path, values):
    _, features = read_chart(ROOT / f"sandbox/patients/{path}.json")
    assert {name: features[name].value for name in values} == values


def newest_in_the_file(path, code):
    """The newest final value of a code, read without any of our own code."""
    entries = [entry["resource"] for entry in json.loads(path.read_text(encoding="utf-8"))["entry"]]
    found = [
        (one["effectiveDateTime"][:19], one["valueQuantity"]["value"])
        for one in entries
        if one["resourceType"] == "Observation" and one["status"] == "final" and "valueQuantity" in one
        and any(coding.get("code") == code for coding in one["code"]["coding"])
    ]  # fmt: skip
    return max(found)[1] if found else None


@pytest.mark.parametrize("path", [one for one in PATIENTS if one.parent.name == "synthea"], ids=lambda path: path.stem)
def test_synthea_values_are_those_in_the_file(path):
    """Where a value is given, it is the newest in the file; where none, the file's is too old or there is none."""
    _, features = read_chart(path)
    for name, code in (("glucose", "2339-0"), ("total_cholesterol", "2093-3"), ("hdl", "2085-9"), ("bmi", "39156-5")):
        feature, told = features[name], newest_in_the_file(path, code)
        if feature.value is None:
            assert told is None or feature.reason in ("stale", "implausible", "no_result", "conflicting")
        else:
            assert feature.value == pytest.approx(told)


DIABETIC = ("44054006", "E11", "73211009")


def is_diabetic(path):
    text = path.read_text(encoding="utf-8")
    return any(f'"{code}"' in text for code in DIABETIC)


def test_no_known_diabetic_of_the_sandbox_gets_the_card(desk):
    diabetics = [path for path in PATIENTS if path.parent.name == "synthea" and is_diabetic(path)]
    assert len(diabetics) >= 6
    for path in diabetics:
        patient, keys = chart_call(path)
        made = ask(desk, call_of(keys, patient=patient["id"]), now=NOW)
        assert made.cards == ()
        assert made.events[0].reason in ("excluded_condition", "excluded_age", "patient_deceased"), path.stem


def test_fifty_calls_at_once_answer_their_own_patient(desk):
    def one(number):
        name = f"p{number}"
        value = 100 + number
        keys = whole_chart(patient=person(name), labs=bundle(result(f"g{number}", value, of=name)))
        return call_of(keys, patient=name)

    async def all_at_once():
        return await asyncio.gather(*(ask_async(desk, one(number)) for number in range(50)))

    made = asyncio.run(all_at_once())
    assert [answer.events[0].features["glucose"] for answer in made] == [100 + number for number in range(50)]
    assert all(f"Observation/g{number} |" in answer.cards[0].detail for number, answer in enumerate(made))
    assert len({answer.events[0].patient for answer in made}) == 50


SERVICE = "/cds-services/dysglycaemia-screening"


@pytest.fixture
def parts(tmp_path):
    return real_parts(tmp_path)


def test_fifty_calls_over_http_each_have_their_event(parts):
    from concurrent.futures import ThreadPoolExecutor

    with TestClient(create_app(parts)) as client:
        calls = [
            call_of(
                whole_chart(patient=person(f"p{n}"), labs=bundle(result(f"g{n}", 101 + n, of=f"p{n}"))), patient=f"p{n}"
            )
            for n in range(50)
        ]
        with ThreadPoolExecutor(8) as pool:
            answers = list(pool.map(lambda call: client.post(SERVICE, json=call).json(), calls))
        by_card = {stored.event.card: stored.event for stored in parts.store.read(0, 100)}
    assert len(by_card) == 50
    for number, answer in enumerate(answers):
        (card,) = answer["cards"]
        assert f"Observation/g{number} |" in card["detail"]
        assert by_card[card["uuid"]].features["glucose"] == 101 + number


@pytest.mark.sec("SEC-047")
@pytest.mark.parametrize(
    "hidden",
    [
        pytest.param("\ue000", id="private use"),
        pytest.param("\u061c", id="Arabic letter mark"),
        pytest.param("\u180e", id="Mongolian vowel separator"),
        pytest.param("\u206a", id="a deprecated format character"),
        pytest.param("\ufff9", id="interlinear annotation"),
        pytest.param("\u202e", id="right-to-left override"),
    ],
)
def test_an_id_with_a_character_that_nobody_sees_costs_no_answer(parts, hidden):
    with TestClient(create_app(parts)) as client:
        answer = client.post(SERVICE, json=call_of(whole_chart(labs=bundle(result(f"g{hidden}1", 168)))))
    assert answer.status_code == 200
    (card,) = answer.json()["cards"]
    assert "| Observation/g 1 |" in card["detail"]


@pytest.mark.fault("F10")
def test_no_card_leaves_before_its_event_is_kept(parts, monkeypatch):
    order = []
    keep = parts.store.append

    async def kept(events):
        places = await keep(events)
        order.append("event")
        return places

    monkeypatch.setattr(type(parts.store), "append", staticmethod(kept))
    with TestClient(create_app(parts)) as client:
        answer = client.post(SERVICE, json=call_of(whole_chart()))
        order.append("card")
        assert len(answer.json()["cards"]) == 1
    assert order == ["event", "card"]


@pytest.mark.fault("F10")
def test_a_store_that_cannot_promise_gives_no_card(parts, monkeypatch):
    async def full(_):
        raise StoreUnavailable.of("the disk is full", where="event store", do="Make room")

    monkeypatch.setattr(type(parts.store), "append", staticmethod(full))
    with TestClient(create_app(parts)) as client:
        answer = client.post(SERVICE, json=call_of(whole_chart()))
    assert answer.status_code == 503
    assert "cards" not in answer.json()


@pytest.mark.parametrize("figures", ["ge57 = 0.1, ge60 = 0.2", "ge99 = 0.1"], ids=["rising", "of an unknown output"])
def test_a_prevalence_that_does_not_fit_stops_the_start_not_each_call(tmp_path, figures):
    clients = tmp_path / "clients.toml"
    clients.write_text(
        '[[client]]\nname = "development"\n[client.prevalence]\n'
        f'dysglycaemia-screening = {{ {figures}, source = "audit", from = "2026-01-01" }}\n'
    )
    write_tiny_bundle(
        tmp_path / "assets", "dysglycaemia", ROOT / "recipes/dysglycaemia/features.toml",
        outputs=("ge57", "ge60", "ge65"), point="high",
    )  # fmt: skip
    settings = read_settings(
        environment={}, auth="off-for-development", state=tmp_path / "state", hooks=ROOT / "hooks",
        assets=tmp_path / "assets", clients=clients,
    )  # fmt: skip
    with pytest.raises(SettingsError, match=r"prevalence\.dysglycaemia-screening"):
        open_parts(settings)


def test_a_client_is_silent_until_it_says_otherwise():
    assert read_client({"name": "a"}, where="clients.toml").is_silent


def test_a_patient_named_with_its_type_is_refused_or_read_as_agreed(desk):
    call = json.dumps(call_of(whole_chart(), patient=f"Patient/{ME}")).encode()
    assert read_request(call, patient_prefix_quirk=True).context.patient_id == ME
