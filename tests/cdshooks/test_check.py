"""One planted fault a row: check names the file, the line, and what is wrong. The good folder stays silent."""

import shutil
from datetime import date

import pytest

from cds_service.cdshooks.catalog import load_services
from cds_service.cdshooks.check import check_services, refuse_unfit
from cds_service.errors import DeclarationError
from tests.cdshooks.planted import ID, MODELS, SHIPPED, TEST_HOOKS, Plant, planted

TODAY = date(2026, 6, 1)
TOML, EN, JA = "service.toml", "texts.en.toml", "texts.ja.toml"
KEY_PATIENT = "[prefetch.patient]"
KEY_HBA1C = "[prefetch.hba1c]"
HBA1C_QUERY = 'query    = "Observation?patient={{context.patientId}}&code'


def errors(hooks, **options):
    return [found for found in check_services(hooks, MODELS, today=TODAY, **options) if found.level == "error"]


def test_the_shipped_services_have_no_error():
    assert errors(SHIPPED) == []
    assert errors(TEST_HOOKS) == []


def test_the_shipped_services_load_for_their_model():
    refuse_unfit(SHIPPED, MODELS)
    assert [service.id for service in load_services(SHIPPED).services] == [ID]


PLANTS = [
    # the declaration itself
    pytest.param(Plant(TOML, 'hook        = "patient-view"', 'hook = "patient-view', "hook =", "this is not TOML"), id="broken TOML"),
    pytest.param(Plant(TOML, "on_missing ", "on_mising ", "on_mising", "this key is not known"), id="a misspelt key"),
    pytest.param(Plant(TOML, 'on_missing  = "card"', 'on_missing = "404"', "on_missing =", "not one of 412, card"), id="a value out of its set"),
    pytest.param(Plant(TOML, 'title       = "Undetected diabetes"\n', "", "", "'title' is missing"), id="a missing key"),
    pytest.param(Plant(TOML, 'languages   = ["ja", "en"]', 'languages = ["ja", "fr"]', "languages =", "'fr' is not spoken"), id="a language that is not spoken"),
    pytest.param(Plant(TOML, '["Practitioner", "PractitionerRole"]', '["Doctor"]', "viewers", "'Doctor' never opens a chart"), id="an unknown viewer"),
    pytest.param(Plant(TOML, "{ from = 35, to = 79 }", "{ from = 79, to = 35 }", "age_years", "no age lies in this range"), id="an empty age range"),
    pytest.param(Plant(TOML, '["AMB"]', '["OUTPATIENT"]', "encounter     =", "'OUTPATIENT' is no encounter class"), id="an unknown encounter class"),
    pytest.param(Plant(TOML, "codes/known_diabetes.toml", "codes/unknown.toml", "no_condition", "there is no file 'codes/unknown.toml'"), id="a code set that is not there"),
    pytest.param(Plant(TOML, "codes/known_diabetes.toml", "../x.toml", "no_condition", "there is no file '../x.toml'"), id="a code set outside the folder"),
    pytest.param(Plant("codes/dialysis.toml", "http://snomed.info/sct|108241001", "108241001", '"108241001"', "'108241001' is not a code"), id="a code without its system"),
    pytest.param(Plant("codes/glucose_lowering.toml", "http://www.whocc.no/atc|A10", "A10", '"A10"', "'A10' is not a code"), id="a prefix without its system"),
    pytest.param(Plant("codes/palliative.toml", "[conditions]", "[condition]", "[condition]", "this key is not known"), id="a misspelt table of a state"),
    pytest.param(Plant(TOML, "# holdout = 0.10", "holdout = 0.10", "holdout", "needs an ethics reference"), id="a holdout without a committee"),
    pytest.param(Plant(TOML, 'indicator = { high = "info" }', 'indicator = { high = "critical" }', "indicator =", "no service of ours is 'critical'"), id="a critical card"),
    pytest.param(Plant(TOML, "2027-06-30", '"soon"', "review_by", "this is not a date"), id="a review date that is none"),
    # prefetch templates
    pytest.param(Plant(TOML, "Patient/{{context.patientId}}", "Patient/{{context.draftOrders}}", 'query    = "Patient', "is not usable in patient-view"), id="a token of another hook"),
    pytest.param(Plant(TOML, "Patient/{{context.patientId}}", "Patient/{{context.patientId}", 'query    = "Patient', "a token is not closed"), id="an open brace"),
    pytest.param(Plant(TOML, "Patient/{{context.patientId}}", "/Patient/{{context.patientId}}", 'query    = "/Patient', "begins with a slash"), id="a leading slash"),
    pytest.param(Plant(TOML, "&_sort=-date&_count=50", "&sort:desc=date&_count=50", HBA1C_QUERY, "'sort:' is not FHIR"), id="sort: instead of _sort"),
    pytest.param(Plant(TOML, "&_sort=-date&_count=50", "&date=ge{{today() - 900 days}}", HBA1C_QUERY, "leaves {{today() - 900 days}} unresolved"), id="a relative date in a required key"),
    pytest.param(Plant(TOML, 'on_failure = "omit"                   # go on', 'on_failure = "guess"  # go on', 'on_failure = "guess"', "not one of abstain, omit"), id="a policy that does not exist"),
    # data that prove, or don't
    pytest.param(Plant(TOML, KEY_HBA1C, "[prefetch.a1c]", "no_recent", "no prefetch key 'hba1c' can prove"), id="no_recent without its key"),
    pytest.param(Plant(TOML, "&_sort=-date&_count=50", "&_count=50", HBA1C_QUERY, "may leave out the newest result"), id="no_recent by an unsorted page"),
    pytest.param(Plant(TOML, "&_sort=-date&_count=50", "&date=ge2025-01-01", HBA1C_QUERY, "it filters by date"), id="no_recent by a filter that does not move"),
    pytest.param(Plant(TOML, '&_sort=-date&_count=50"\nrequired = true', '&date=ge{{today() - 400 days}}"', HBA1C_QUERY, "it reaches back 400 days"), id="no_recent by a window that is too short"),
    pytest.param(Plant(TOML, ",3D045000001920402", "", HBA1C_QUERY, "leaves out http://medis.or.jp/CodeSystem/master-JLAC10-17digits|3D045000001920402"), id="no_recent without a code that proves"),
    pytest.param(Plant(TOML, '&_sort=-date&_count=50"\nrequired = true', '&_sort=-date&_count=50"\non_failure = "omit"', 'on_failure = "omit"', "can't be proved by a key that is left out"), id="no_recent by a key that may be left out"),
    pytest.param(Plant(TOML, "Condition?patient={{context.patientId}}", "Procedure?patient={{context.patientId}}", "no_condition", "no prefetch key brings Condition"), id="no_condition without Condition"),
    pytest.param(Plant(TOML, "Condition?patient={{context.patientId}}", "Condition?patient={{context.patientId}}&code=http://snomed.info/sct|44054006", 'query    = "Condition', "leave out some of 'no_condition'"), id="no_condition by some codes only"),
    pytest.param(Plant(TOML, "MedicationRequest?patient={{context.patientId}}&status=active", "MedicationStatement?patient={{context.patientId}}", "no_medication", "no prefetch key brings MedicationRequest"), id="no_medication without MedicationRequest"),
    pytest.param(Plant(TOML, "Encounter/{{context.encounterId}}", "Location/{{context.encounterId}}", "encounter     =", "no prefetch key brings the Encounter"), id="encounter without Encounter"),
    pytest.param(Plant(TOML, "Procedure?patient={{context.patientId}}", "Goal?patient={{context.patientId}}", "not_state", "no prefetch key brings Procedure"), id="a state without its data"),
    pytest.param(Plant(TOML, "http://loinc.org|82810-3", "http://loinc.org|1-8", "not_state", "no prefetch key brings http://loinc.org|82810-3") , id="a state without its observation"),
    # the model
    pytest.param(Plant(TOML, 'model       = "dysglycaemia"', 'model = "hba1c-risk"', "model =", "there is no model 'hba1c-risk'"), id="a model that is not there"),
    pytest.param(Plant(TOML, 'require_any   = ["glucose"]', 'require_any = ["blood_sugar"]', "require_any", "has no feature 'blood_sugar'"), id="require_any names no feature"),
    pytest.param(Plant(TOML, 'if   = { feature = "glucose", at_least = 200, unit = "mg/dL"', 'if = { feature = "glucose", at_least = 11.1, unit = "mmol/L"', "if = {", "the limit is in mmol/L"), id="a rule in another unit"),
    pytest.param(Plant(TOML, "at_least = 200,", "at_least = 20000,", "at_least = 20000", "no plausible glucose is near 20000"), id="a rule that can't be right"),
    pytest.param(Plant(TOML, 'show_from = "high"', 'show_from = "sure"', "show_from", "has no operating point 'sure'"), id="an operating point that is not there"),
    pytest.param(Plant(TOML, 'feature       = "hba1c"', 'feature = "glucose"', 'feature = "glucose"\nat_least', "it would judge itself"), id="an outcome that is an input"),
    # texts
    pytest.param(Plant(JA, "summary       =", "sumary =", "", "the sentence 'summary' is missing"), id="a missing sentence"),
    pytest.param(Plant(EN, '{missing}"\nmissing_detail', 'the data"\nmissing_detail', "missing_summary =", "lacks the slot {missing}"), id="a value without a slot"),
    pytest.param(Plant(EN, "Estimated probability of HbA1c ≥ 6.5 %: {p65}", "Probability: {p65} for {name}", "summary       =", "no code fills the slot {name}"), id="a slot without a value"),
    pytest.param(Plant(EN, "{p65} (≥", "{p70} (≥", "summary       =", "has no output for {p70}"), id="a slot of another model"),
    pytest.param(Plant(EN, "{p65} (≥", "{p65:.1f} (≥", "summary       =", "the slots cannot be read"), id="a slot with a format"),
    pytest.param(Plant(EN, 'summary_words = "', 'summary_words = "' + "On record it is written that " * 2, "summary_words", "the summary can reach"), id="a summary of 140 characters"),
    pytest.param(Plant(EN, "hdl               = ", "hdl_c = ", "[features]", "has no name for 'hdl'"), id="a feature without a name"),
    pytest.param(Plant(JA, 'vitals      = "', 'vital = "', "[data]", "has no name for prefetch key 'vitals'"), id="a key without a name"),
    pytest.param(Plant(JA, "6.5%以上", "6.5 %以上", "summary       =", "Japanese writes no space before %"), id="a space before % in Japanese"),
    pytest.param(Plant(EN, "6.5 %: ", "6.5%: ", "summary       =", "English writes one space before %"), id="no space before % in English"),
    pytest.param(Plant(JA, "override_wrong   ", "override_bad   ", 'display = "override_wrong"', "texts.ja.toml has no sentence 'override_wrong'", TOML), id="a reason without a text"),
    # suggestions and reasons
    pytest.param(Plant(TOML, "order_hba1c.json", "order.json", "resource =", "there is no file 'order.json'"), id="a template that is not there"),
    pytest.param(Plant("order_hba1c.json", '"{patient}"', '"{patient_name}"', "{patient_name}", "no code fills the slot {patient_name}"), id="an unknown slot in a template"),
    pytest.param(Plant("order_hba1c.json", '"intent": "proposal",', '"intent": ,', '"intent"', "this is not JSON"), id="a template that is not JSON"),
    pytest.param(Plant("order_hba1c.json", '"intent": "proposal",\n', "", "resource =", "no valid FHIR R4B resource: intent", TOML), id="a template that is not FHIR"),
    pytest.param(Plant("order_hba1c.json", '"category": [\n', '"kategorie": [\n', "resource =", "no valid FHIR R4B resource: kategorie", TOML), id="a template with a field that FHIR does not know"),
    pytest.param(Plant(EN, 'override_wrong              = "A value used', 'override_wrong = "The display', 'code    = "wrong_patient_or_value"', "changed its meaning", TOML), id="a reason that changed its meaning"),
    pytest.param(Plant(TOML, 'maps_to = "patient-refuses"', 'maps_to = "patient-contraindication"', 'code    = "patient_refuses"', "changed its meaning"), id="a reason that is counted otherwise"),
    pytest.param(Plant(TOML, 'code    = "already_planned"', 'code    = "planned"', 'code    = "planned"', "'planned' is not in override_reasons.lock.toml"), id="a reason without a locked meaning"),
    pytest.param(Plant(TOML, 'maps_to = "patient-refuses"', 'maps_to = "declined"', 'maps_to = "declined"', "this value is not one of"), id="a reason that maps to nothing"),
    # examples
    pytest.param(Plant("examples/card.request.json", '"patientId": "ex-card",\n', "", "", "context.patientId"), id="an example that is no request"),
    pytest.param(Plant("examples/card.request.json", '"status": "final"', '"status": 3', "", "prefetch.labs"), id="an example with a broken resource"),
    pytest.param(Plant("examples/card.request.json", '"vitals": {', '"vital": {', "", "the service declares no such key"), id="an example with an undeclared key"),
]  # fmt: skip


@pytest.mark.parametrize("plant", PLANTS)
def test_a_planted_fault_is_found_with_file_and_line(plant, tmp_path):
    hooks, told_in, line = planted(plant, tmp_path)
    found = [one for one in errors(hooks) if plant.what in one.what]
    assert [(one.file, one.line) for one in found][:1] == [(str(told_in), line)]
    assert found[0].do


WARNINGS = [
    pytest.param(Plant(TOML, "Condition?patient={{context.patientId}}", "Condition?patient={{context.patientId}}&category=problem-list-item", 'query    = "Condition', "outside the problem list"), id="diagnoses of the problem list only"),
    pytest.param(Plant(TOML, "category=vital-signs", "value-quantity=gt5", 'query      = "Observation?patient={{context.patientId}}&value', "few servers know the search parameter 'value-quantity'"), id="a search parameter that few servers know"),
    pytest.param(Plant(TOML, "category=vital-signs", "category:below=vital-signs", 'query      = "Observation?patient={{context.patientId}}&category:', "few servers know the modifier"), id="a modifier that few servers know"),
    pytest.param(Plant(TOML, "category=laboratory", "category=vital-signs", "[prefetch.patient]", "no prefetch query usually brings http://loinc.org|14646-4"), id="laboratory values under another category"),
    pytest.param(Plant(TOML, "cards_per_100_opens_max  = 8", "# none", "[repeat]", "nothing limits how often"), id="no ceiling on cards"),
    pytest.param(Plant(TOML, '"Department of Diabetes"', '""', "clinical  =", "no clinical owner"), id="no owner"),
    pytest.param(Plant(TOML, "2027-06-30", "2026-05-31", "review_by", "the review date has passed"), id="a review that is overdue"),
    pytest.param(Plant(EN, "order_hba1c_reason =", 'order_ogtt = "Draft a glucose tolerance test"\norder_hba1c_reason =', "order_ogtt", "no code reads the sentence 'order_ogtt'"), id="a sentence that nobody reads"),
]  # fmt: skip


@pytest.mark.parametrize("plant", WARNINGS)
def test_a_doubt_is_a_warning(plant, tmp_path):
    hooks, told_in, line = planted(plant, tmp_path)
    found = [one for one in check_services(hooks, MODELS, today=TODAY) if plant.what in one.what]
    assert [(one.file, one.line, one.level) for one in found] == [(str(told_in), line, "warning")]


@pytest.mark.parametrize("what", ["no clinical owner", "no review date", "no stop rule"])
def test_production_demands_an_owner(what, tmp_path):
    shutil.copytree(SHIPPED / ID, tmp_path / ID)
    path = tmp_path / ID / TOML
    text = path.read_text("utf-8")
    path.write_text(text[: text.index("[owner]")] + text[text.index("[when]") :], "utf-8")
    assert what not in "".join(found.what for found in errors(tmp_path))
    assert what in "".join(found.what for found in errors(tmp_path, production=True))


def test_a_service_that_does_not_fit_its_model_does_not_start(tmp_path):
    hooks, _, _ = planted(Plant(TOML, 'show_from = "high"', 'show_from = "sure"', "show_from", ""), tmp_path)
    with pytest.raises(DeclarationError, match="no operating point 'sure'"):
        refuse_unfit(hooks, MODELS)


def test_an_input_that_no_query_brings_is_an_error(tmp_path):
    hooks, told_in, line = planted(
        Plant(TOML, "category=laboratory", "code=http://loinc.org|2345-7", KEY_PATIENT, ""), tmp_path
    )
    path = hooks / ID / TOML
    path.write_text(path.read_text("utf-8").replace("category=vital-signs", "code=http://loinc.org|8480-6"), "utf-8")
    told = [(found.file, found.line) for found in errors(hooks) if "no prefetch query brings" in found.what]
    assert len(told) == 7
    assert set(told) == {(str(told_in), line)}


def test_several_faults_come_at_once(tmp_path):
    hooks, _, _ = planted(Plant(TOML, 'on_missing  = "card"', "on_missing = 1\nhok = 2", "", ""), tmp_path)
    assert {found.what.partition(":")[0] for found in errors(hooks)} >= {"on_missing", "hok"}
