"""Each row of the shipped service's ``[when]``: what is seen excludes at once, what is not seen needs proof."""

import pytest

from tests.asking import ask, call_of, made_desk, outcome, whole_chart
from tests.clinical.charts import FASTING, HBA1C, JLAC_CASUAL, ME, ago, bundle, concept, person, quantity, result

MINE = {"reference": f"Patient/{ME}"}
SNOMED, ICD, RXNORM = (
    "http://snomed.info/sct",
    "http://hl7.org/fhir/sid/icd-10",
    "http://www.nlm.nih.gov/research/umls/rxnorm",
)
JDS = "http://medis.or.jp/CodeSystem/master-JLAC10-17digits|3D045000001920402"
PREGNANCY, PREGNANT, NOT_PREGNANT = "http://loinc.org|82810-3", f"{SNOMED}|77386006", f"{SNOMED}|60001007"


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    return made_desk(tmp_path_factory.mktemp("assets"))


def problem(token=f"{SNOMED}|44054006", id_="c", **fields):
    return {"resourceType": "Condition", "id": id_, "code": concept(token), "subject": MINE, **fields}


def drug(token=f"{RXNORM}|6809", **fields):
    coded = {"medicationCodeableConcept": concept(token)} if token else {}
    return {"resourceType": "MedicationRequest", "id": "m", "status": "active", "subject": MINE, **coded, **fields}


def procedure(token, when, **fields):
    dated = {"performedDateTime": when} if when else {}
    return {
        "resourceType": "Procedure",
        "id": "p",
        "status": "completed",
        "code": concept(token),
        "subject": MINE,
        **dated,
        **fields,
    }


def a1c(value=5.5, days=100, id_="a", code=HBA1C, **fields):
    given = result(id_, value, "%", code=code, at=ago(days), **fields)
    return {key: field for key, field in given.items() if field is not None}


def pregnancy(code=PREGNANT, days=30, id_="g", **fields):
    given = result(id_, code=PREGNANCY, at=ago(days), valueQuantity=None, valueCodeableConcept=concept(code), **fields)
    return {key: field for key, field in given.items() if field is not None}


def encounter(code, **fields):
    return {
        "resourceType": "Encounter",
        "id": "e",
        "status": "in-progress",
        "class": {"code": code},
        "subject": MINE,
        **fields,
    }


CARD = (1, "PredictionMade", None, None)
RULE = (1, "RuleFired", None, None)
NEXT = [{"relation": "next", "url": "https://ehr.example/fhir?page=2"}]
FULL = [a1c(days=100 + number, id_=f"f{number}", status="entered-in-error") for number in range(50)]


def no(reason, detail=None):
    return (0, "PredictionWithheld", reason, detail)


def told(reason, detail):
    return (1, "PredictionWithheld", reason, detail)


UNKNOWN_A1C, RECENT = no("data_unknown", "hba1c"), no("recent_measurement", "hba1c")

TABLE = [
    pytest.param({}, CARD, id="whole chart, nothing known: the model speaks"),
    # age and life
    pytest.param({"patient": person(birthDate="1991-06-01")}, CARD, id="35 today"),
    pytest.param({"patient": person(birthDate="1991-06-02")}, no("excluded_age"), id="34 for one more day"),
    pytest.param({"patient": person(birthDate="1946-06-02")}, CARD, id="79 for one more day"),
    pytest.param({"patient": person(birthDate="1946-06-01")}, no("excluded_age"), id="80 today"),
    pytest.param({"patient": person(birthDate="1991")}, no("data_unknown", "age_years"), id="34 or 35: not known"),
    pytest.param({"patient": person(birthDate="1995")}, no("excluded_age"), id="30 or 31: too young either way"),
    pytest.param({"patient": {**person(), "birthDate": "unknown"}}, no("data_unknown", "age_years"), id="no date of birth"),
    pytest.param({"patient": None}, no("data_unknown", "age_years"), id="no patient was found"),
    pytest.param({"patient": person(deceasedBoolean=True)}, no("patient_deceased"), id="dead"),
    pytest.param({"patient": person(deceasedDateTime="2026-05")}, no("patient_deceased"), id="dead since May"),
    # encounter, where the chart says so
    pytest.param({"encounter": encounter("AMB")}, CARD, id="an out-patient"),
    pytest.param({"encounter": encounter("IMP")}, no("excluded_encounter"), id="an in-patient"),
    pytest.param({"encounter": encounter("EMER")}, no("excluded_encounter"), id="an emergency"),
    pytest.param({"encounter": ...}, CARD, id="the encounter was not sent"),
    # known diabetes
    pytest.param({"problems": bundle(problem())}, no("excluded_condition"), id="type 2 diabetes"),
    pytest.param({"problems": bundle(problem(f"{ICD}|E11.9"))}, no("excluded_condition"), id="an ICD-10 chapter by its prefix"),
    pytest.param({"problems": bundle(problem(f"{ICD}|E1"))}, CARD, id="less than the prefix is another code"),
    pytest.param({"problems": bundle(problem("http://other|E11.9"))}, CARD, id="the same code of another system"),
    pytest.param({"problems": bundle(problem(f"{SNOMED}|440540060"))}, CARD, id="a SNOMED code is no prefix"),
    pytest.param({"problems": bundle(problem(f"{SNOMED}|15777000"))}, CARD, id="prediabetes is not diabetes"),
    pytest.param({"problems": bundle(problem(f"{ICD}|R73.0"))}, CARD, id="nor is a raised glucose"),
    pytest.param({"problems": bundle(problem(clinicalStatus=concept("s|resolved")))}, no("excluded_condition"), id="a resolved diabetes is known"),
    pytest.param({"problems": bundle(problem(verificationStatus=concept("s|provisional")))}, CARD, id="a suspected one is not"),
    pytest.param({"problems": bundle(problem(verificationStatus=concept("s|refuted")))}, CARD, id="a refuted one is not"),
    pytest.param({"problems": bundle(problem(subject={"reference": "Patient/you"}))}, CARD, id="another patient's diabetes"),
    pytest.param({"problems": bundle(problem(subject={"reference": "urn:x"}))}, no("data_unknown", "problems"), id="the diabetes of nobody"),
    pytest.param({"problems": bundle({**problem(), "code": {"text": "diabetes"}})}, no("data_unknown", "problems"), id="a problem in words"),
    pytest.param({"problems": bundle({**problem(), "code": 7})}, no("data_unknown", "problems"), id="an unreadable problem"),
    pytest.param({"problems": bundle(problem(f"{SNOMED}|38341003"), link=NEXT)}, no("data_unknown", "problems"), id="one page of the problems"),
    pytest.param({"problems": bundle(problem(), link=NEXT)}, no("excluded_condition"), id="what one page shows excludes"),
    pytest.param({"problems": bundle(total=2)}, no("data_unknown", "problems"), id="two problems, none shown"),
    pytest.param({"problems": bundle(problem(f"{ICD}|I10"), problem(f"{ICD}|E10", "d"))}, no("excluded_condition"), id="among others"),
    # glucose-lowering drugs
    pytest.param({"medications": bundle(drug())}, no("excluded_medication"), id="metformin"),
    pytest.param({"medications": bundle(drug(status="on-hold"))}, no("excluded_medication"), id="metformin, paused"),
    pytest.param({"medications": bundle(drug(status="completed"))}, no("excluded_medication"), id="metformin, taken"),
    pytest.param({"medications": bundle(drug(status="entered-in-error"))}, CARD, id="metformin in error"),
    pytest.param({"medications": bundle(drug(f"{RXNORM}|197361"))}, CARD, id="amlodipine"),
    pytest.param({"medications": bundle(drug(None))}, no("data_unknown", "medications"), id="a drug without a code"),
    pytest.param({"medications": bundle(drug(None, medicationReference={"reference": "Medication/1"}))}, no("data_unknown", "medications"), id="a drug by reference"),
    pytest.param({"medications": bundle({"resourceType": "MedicationStatement", "id": "m"})}, told("data_missing", "medications"), id="the drugs of another version"),
    # an HbA1c lately
    pytest.param({"hba1c": bundle(a1c())}, RECENT, id="an HbA1c 100 days ago"),
    pytest.param({"hba1c": bundle(a1c(days=36 * 30.4375))}, RECENT, id="36 months ago to the second"),
    pytest.param({"hba1c": bundle(a1c(days=36 * 30.4375 + 0.001))}, CARD, id="a minute before"),
    pytest.param({"hba1c": bundle(a1c(value=5.9, days=400))}, CARD, id="a raised one 400 days ago: its year is over"),
    pytest.param({"hba1c": bundle(a1c(5.9, 500), a1c(5.5, 200, "b"))}, RECENT, id="raised before, measured 200 days ago"),
    pytest.param({"hba1c": bundle(a1c(5.9, 1000), a1c(5.5, 500, "b"))}, CARD, id="raised before: a year without suffices"),
    pytest.param({"hba1c": bundle(a1c(5.6, 1000), a1c(5.5, 500, "b"))}, RECENT, id="never raised: it does not"),
    pytest.param({"hba1c": bundle(a1c(code=JDS))}, RECENT, id="a JDS value proves the measurement"),
    pytest.param({"hba1c": bundle(a1c(9.9, 1000, code=JDS), a1c(5.5, 500, "b"))}, RECENT, id="but is no raised value"),
    pytest.param({"labs": bundle(result("glucose", 168), a1c())}, RECENT, id="an HbA1c that came with the laboratory values"),
    pytest.param({"hba1c": bundle(a1c(valueQuantity=None, valueString="see report"))}, RECENT, id="an HbA1c in words was measured"),
    pytest.param({"hba1c": bundle(a1c(status="preliminary"))}, RECENT, id="a preliminary one too"),
    pytest.param({"hba1c": bundle(a1c(days=-3))}, RECENT, id="one dated in the future"),
    pytest.param({"hba1c": bundle(a1c(status="entered-in-error"))}, CARD, id="one in error was not"),
    pytest.param({"hba1c": bundle(a1c(status="cancelled", valueQuantity=None, effectiveDateTime=None))}, CARD, id="a cancelled test without a date was not"),
    pytest.param({"hba1c": bundle(a1c(subject={"reference": "Patient/you"}))}, CARD, id="another patient's"),
    pytest.param({"hba1c": bundle(a1c(subject={"reference": "Group/1"}))}, UNKNOWN_A1C, id="one of an unknown patient"),
    pytest.param({"hba1c": bundle(a1c(effectiveDateTime=None))}, UNKNOWN_A1C, id="an undated one may be recent"),
    pytest.param({"labs": bundle(result("glucose", 168), a1c(effectiveDateTime=None))}, UNKNOWN_A1C, id="in whichever key it came"),
    pytest.param({"labs": bundle(result("glucose", 168), a1c(subject=None))}, UNKNOWN_A1C, id="and whoever's it may be"),
    pytest.param({"hba1c": bundle(a1c(effectiveDateTime="2023"))}, RECENT, id="a year that may be within the months"),
    pytest.param({"hba1c": bundle(a1c(effectiveDateTime="2022"))}, CARD, id="a year that is surely before"),
    pytest.param({"hba1c": bundle(a1c(valueQuantity=quantity(5, "%", comparator="<")))}, RECENT, id="a limit was measured"),
    # proof that there is none
    pytest.param({"hba1c": ...}, told("data_missing", "hba1c"), id="the HbA1c key was not sent"),
    pytest.param({"hba1c": {"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": "forbidden"}]}}, told("data_missing", "hba1c"), id="it was refused"),
    pytest.param({"hba1c": bundle(*FULL)}, UNKNOWN_A1C, id="fifty that never happened fill the page and hide what comes after"),
    pytest.param({"hba1c": bundle(*[a1c(days=1200 + n, id_=f"g{n}") for n in range(50)])}, CARD, id="fifty that reach back behind the edge"),
    pytest.param({"hba1c": bundle(*[a1c(days=1300 - n, id_=f"g{n}") for n in range(50)])}, UNKNOWN_A1C, id="fifty in the wrong order"),
    pytest.param({"hba1c": bundle(link=NEXT)}, UNKNOWN_A1C, id="an empty page before another"),
    # states
    pytest.param({"pregnancy": bundle(pregnancy())}, no("excluded_state", "pregnant"), id="pregnant"),
    pytest.param({"pregnancy": bundle(pregnancy(days=301))}, CARD, id="pregnant 301 days ago"),
    pytest.param({"pregnancy": bundle(pregnancy(), pregnancy(NOT_PREGNANT, 3, "h"))}, CARD, id="pregnant, and since then not"),
    pytest.param({"pregnancy": bundle(pregnancy(NOT_PREGNANT, 60), pregnancy(days=3, id_="h"))}, no("excluded_state", "pregnant"), id="not, and since then pregnant"),
    pytest.param({"pregnancy": bundle(pregnancy(NOT_PREGNANT), pregnancy(id_="h"))}, no("excluded_state", "pregnant"), id="both at once: what is seen counts"),
    pytest.param({"pregnancy": bundle(pregnancy(), pregnancy(NOT_PREGNANT, 3, "h", status="entered-in-error"))}, no("excluded_state", "pregnant"), id="what was entered in error hides nothing"),
    pytest.param({"pregnancy": bundle(pregnancy(effectiveDateTime="2026-06-01"))}, no("excluded_state", "pregnant"), id="pregnant today, as a date"),
    pytest.param({"pregnancy": bundle(pregnancy(effectiveDateTime=None))}, no("excluded_state", "pregnant"), id="pregnant, undated"),
    pytest.param({"pregnancy": bundle(pregnancy(subject={"reference": "Patient/you"}))}, CARD, id="another is pregnant"),
    pytest.param({"problems": bundle(problem(f"{SNOMED}|77386006", clinicalStatus=concept("s|active")))}, no("excluded_state", "pregnant"), id="pregnancy as a problem"),
    pytest.param({"problems": bundle(problem(f"{SNOMED}|77386006", clinicalStatus=concept("s|resolved")))}, CARD, id="a pregnancy that is over"),
    pytest.param({"problems": bundle(problem(f"{ICD}|O24.4"))}, no("excluded_state", "pregnant"), id="ICD-10 chapter XV"),
    pytest.param({"problems": bundle(problem(f"{SNOMED}|105502003"))}, no("excluded_state", "dialysis"), id="dialysis"),
    pytest.param({"procedures": bundle(procedure(f"{SNOMED}|302497006", ago(119)))}, no("excluded_state", "dialysis"), id="haemodialysis 119 days ago"),
    pytest.param({"procedures": bundle(procedure(f"{SNOMED}|302497006", ago(121)))}, CARD, id="haemodialysis 121 days ago"),
    pytest.param({"procedures": bundle(procedure(f"{SNOMED}|116863004", None))}, no("excluded_state", "transfusion_120_days"), id="a transfusion, undated"),
    pytest.param({"procedures": bundle(procedure(f"{SNOMED}|116863004", ago(10), status="not-done"))}, CARD, id="a transfusion that was not given"),
    pytest.param({"procedures": bundle(procedure(f"{SNOMED}|385763009", ago(100)))}, no("excluded_state", "palliative"), id="hospice care"),
    pytest.param({"procedures": ...}, CARD, id="procedures were not sent: said on the card, no hindrance"),
    # what the model must have
    pytest.param({"labs": None}, no("required_input_missing", "glucose"), id="no glucose"),
    pytest.param({"labs": bundle(result("glucose", 168, "mg/dl", system=None))}, CARD, id="a glucose in a listed spelling"),
    pytest.param({"labs": bundle(result("glucose", valueQuantity=quantity(168, comparator="<")))}, no("required_input_missing", "glucose"), id="a glucose that is only a limit"),
    pytest.param({"labs": bundle(result("glucose", 168, at=ago(800)))}, no("required_input_missing", "glucose"), id="a glucose that is too old"),
    pytest.param({"labs": ...}, told("data_unknown", "labs"), id="the laboratory values were not sent"),
    pytest.param({"vitals": ...}, CARD, id="vital signs were not sent: the model goes on without"),
    pytest.param({"patient": ...}, told("data_missing", "patient"), id="the patient was not sent"),
    pytest.param({"problems": ...}, told("data_missing", "problems"), id="the problems were not sent"),
    pytest.param({"problems": ..., "patient": person(birthDate="2015-01-01")}, no("excluded_age"), id="a child is excluded whatever is missing"),
    # the rule
    pytest.param({"labs": bundle(result("glucose", 200))}, RULE, id="glucose 200: the rule speaks, not the model"),
    pytest.param({"labs": bundle(result("glucose", 199.9))}, CARD, id="below it the model"),
    pytest.param({"labs": bundle(result("glucose", 126, code=FASTING))}, RULE, id="126 fasting"),
    pytest.param({"labs": bundle(result("glucose", 125.9, code=FASTING))}, CARD, id="just under"),
    pytest.param({"labs": bundle(result("glucose", 126))}, CARD, id="126 is judged as fasting only where the code says so"),
    pytest.param({"labs": bundle(result("glucose", 150, code=JLAC_CASUAL))}, CARD, id="a casual one never"),
    pytest.param({"labs": bundle(result("glucose", 250)), "problems": bundle(problem())}, no("excluded_condition"), id="the rule does not speak of a known diabetes"),
    pytest.param({"labs": bundle(result("glucose", 250)), "hba1c": bundle(link=NEXT)}, UNKNOWN_A1C, id="nor where an HbA1c may have been done"),
]  # fmt: skip


@pytest.mark.parametrize(("keys", "expected"), TABLE)
def test_each_row_of_when(desk, keys, expected):
    assert outcome(ask(desk, call_of(whole_chart(**keys)))) == expected


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("Practitioner/1", CARD),
        ("PractitionerRole/1", CARD),
        ("Patient/me", no("viewer_not_clinician")),
        ("RelatedPerson/1", no("viewer_not_clinician")),
    ],
)
def test_only_clinicians_see_cards(desk, user, expected):
    assert outcome(ask(desk, call_of(whole_chart(), user=user))) == expected


def test_the_months_on_the_card_are_those_that_were_proved(desk):
    (card,) = ask(desk, call_of(whole_chart(hba1c=bundle(a1c(5.9, 1000), a1c(5.5, 500, "b"))))).cards
    assert "past 12 months" in card.summary
    (card,) = ask(desk).cards
    assert "past 36 months" in card.summary
