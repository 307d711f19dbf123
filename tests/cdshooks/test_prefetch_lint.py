"""CDS Hooks, "Prefetch Template": what a template may say, row by row of section C."""

import pytest

from cds_service.cdshooks.prefetch_lint import lint_order, lint_query, parse_query, tokens_of

PATIENT = "patient={{context.patientId}}"


@pytest.mark.parametrize(
    ("query", "hook"),
    [
        pytest.param("Patient/{{context.patientId}}", "patient-view", marks=pytest.mark.ch("CH-041"), id="CH-041 a read"),
        pytest.param(f"Observation?{PATIENT}&code=http://loinc.org|4548-4&_sort=-date&_count=1", "patient-view", marks=pytest.mark.ch("CH-041", "CH-048"), id="CH-048 most recent"),
        pytest.param("Patient/{{ context.patientId }}", "patient-view", marks=pytest.mark.ch("CH-042"), id="CH-042 spaces inside a token"),
        pytest.param("Encounter/{{context.encounterId}}", "order-sign", marks=pytest.mark.ch("CH-043"), id="CH-043 a field of the hook"),
        pytest.param("Practitioner/{{userPractitionerId}}", "patient-view", marks=pytest.mark.ch("CH-044"), id="CH-044 the user as practitioner"),
        pytest.param("PractitionerRole/{{userPractitionerRoleId}}", "patient-view", marks=pytest.mark.ch("CH-044"), id="CH-044 the user as role"),
        pytest.param("Patient/{{userPatientId}}", "patient-view", marks=pytest.mark.ch("CH-044"), id="CH-044 the user as patient"),
        pytest.param("RelatedPerson/{{userRelatedPersonId}}", "patient-view", marks=pytest.mark.ch("CH-044"), id="CH-044 the user as related person"),
        pytest.param("{{context.userId}}", "patient-view", marks=pytest.mark.ch("CH-045"), id="CH-045 a reference is a whole template"),
        pytest.param(f"Observation?{PATIENT}&category:in=http://example.org/vs&date=ge2026-01-01", "patient-view", marks=pytest.mark.ch("CH-046"), id="CH-046 :in and a date"),
    ],
)  # fmt: skip
def test_allowed(query, hook):
    assert lint_query(query, hook, required=True) == []


@pytest.mark.parametrize(
    ("query", "hook", "what"),
    [
        pytest.param("https://ehr.example/Patient/{{context.patientId}}", "patient-view", "names a scheme", marks=pytest.mark.ch("CH-041"), id="CH-041 a scheme"),
        pytest.param("/Patient/{{context.patientId}}", "patient-view", "begins with a slash", marks=pytest.mark.ch("CH-041"), id="CH-041 a leading slash"),
        pytest.param("Patient/{{context.patientId}}/$everything", "patient-view", "calls an operation", marks=pytest.mark.ch("CH-041"), id="CH-041 an operation"),
        pytest.param("Patient/{{context.patientId}}/Observation?code=a", "patient-view", "under an instance", marks=pytest.mark.ch("CH-041"), id="CH-041 a compartment search"),
        pytest.param("Patient", "patient-view", "neither a read nor a search", marks=pytest.mark.ch("CH-041"), id="CH-041 neither"),
        pytest.param(f"Observations?{PATIENT}", "patient-view", "does not begin with a FHIR R4 resource type", marks=pytest.mark.ch("CH-041"), id="CH-041 no such type"),
        pytest.param("Observation?code=http://loinc.org|4548-4", "patient-view", "every patient would get the same", id="no token at all"),
        pytest.param("Patient/{{context.patientId}", "patient-view", "not closed", marks=pytest.mark.ch("CH-042"), id="CH-042 unbalanced"),
        pytest.param(f"Observation?{PATIENT}& code=a", "patient-view", "a space", id="a space"),
        pytest.param("Bundle/{{context.draftOrders}}", "order-sign", "is not usable in order-sign", marks=pytest.mark.ch("CH-043"), id="CH-043 a Bundle field"),
        pytest.param("Patient/{{context.selections}}", "order-select", "is not usable in order-select", marks=pytest.mark.ch("CH-043"), id="CH-043 a list field"),
        pytest.param("Practitioner/{{context.userId}}x{{userId}}", "patient-view", "{{userId}} is not usable", marks=pytest.mark.ch("CH-044"), id="CH-044 a fifth token"),
        pytest.param("{{context.patientId}}", "patient-view", "not a reference", marks=pytest.mark.ch("CH-045"), id="CH-045 an id is no reference"),
        pytest.param(f"Observation?{PATIENT}&sort:desc=date", "patient-view", "'sort:' is not FHIR", marks=pytest.mark.ch("CH-048"), id="CH-048 sort:"),
        pytest.param(f"Observation?{PATIENT}&_count=0", "patient-view", "_count is not a positive", id="no page at all"),
        pytest.param(f"Observation?{PATIENT}&date=ge", "patient-view", "has no date", id="a date without a date"),
        pytest.param(f"Observation?{PATIENT}&code", "patient-view", "no name or no value", id="a parameter without a value"),
        pytest.param(f"Observation?{PATIENT}&date=ge{{{{today() - 3 months}}}}", "patient-view", "counts in days", marks=pytest.mark.ch("CH-049"), id="CH-049 another unit"),
        pytest.param("Practitioner/{{context.draftOrders.entry.resource.ofType(Order).requester}}", "order-sign", "names no FHIR resource type", marks=pytest.mark.ch("CH-053"), id="CH-053 ofType of no type"),
    ],
)  # fmt: skip
def test_refused(query, hook, what):
    assert what in " / ".join(remark.what for remark in lint_query(query, hook) if remark.level == "error")


@pytest.mark.parametrize(
    ("query", "what"),
    [
        pytest.param(f"Observation?{PATIENT}&value-quantity=gt5", "search parameter 'value-quantity'", id="CH-046 another parameter"),
        pytest.param(f"Observation?{PATIENT}&code:below=a", "modifier 'code:below'", id="CH-046 another modifier"),
        pytest.param(f"Observation?{PATIENT}&date=ap2026-01-01", "prefix 'ap'", id="CH-046 another prefix"),
        pytest.param(f"Observation?{PATIENT}&_maxresults=5", "_maxresults", marks=pytest.mark.ch("CH-047"), id="CH-047 _maxresults"),
        pytest.param(f"Observation?{PATIENT}&date=ge{{{{today() - 90 days}}}}", "only a CDS Hooks 3.0 client", marks=pytest.mark.ch("CH-049"), id="CH-049 a relative date"),
        pytest.param("Practitioner/{{context.draftOrders.entry.resource.ofType(ServiceRequest).requester.resolve()}}", "only a CDS Hooks 3.0 client", marks=pytest.mark.ch("CH-050"), id="CH-050 small FHIRPath"),
    ],
)  # fmt: skip
@pytest.mark.ch("CH-046")
def test_doubted(query, what):
    remarks = lint_query(query, "order-sign" if "draftOrders" in query else "patient-view")
    assert [(remark.level, what in remark.what) for remark in remarks] == [("warning", True)]


@pytest.mark.ch("CH-049")
def test_a_relative_date_needs_a_fallback_unless_a_client_agreed_to_it():
    query = f"Observation?{PATIENT}&date=ge{{{{today() - 90 days}}}}"
    assert [remark.level for remark in lint_query(query, "patient-view", required=True)] == ["error"]
    assert lint_query(query, "patient-view", required=True, for_client=True) == []


@pytest.mark.parametrize(
    ("queries", "key", "what"),
    [
        pytest.param({"a": "Patient/{{context.patientId}}", "b": "Practitioner/{{%a.generalPractitioner}}"}, "b", None, id="CH-051 an earlier read"),
        pytest.param({"b": "Practitioner/{{%a.x}}", "a": "Patient/{{context.patientId}}"}, "b", "declared later", id="CH-051 listed before it"),
        pytest.param({"a": f"Observation?{PATIENT}", "b": "Practitioner/{{%a.performer}}"}, "b", "is a search", id="CH-051 a search's result"),
        pytest.param({"b": "Practitioner/{{%a.x}}"}, "b", "no prefetch key 'a'", id="CH-051 no such key"),
        pytest.param({"a": "Patient/{{%b.x}}", "b": "Patient/{{%a.x}}"}, "a", "a → b → a", id="CH-052 a circle names its keys"),
        pytest.param({"a": "Patient/{{%a.x}}"}, "a", "a → a", id="CH-052 a key that waits for itself"),
    ],
)  # fmt: skip
@pytest.mark.ch("CH-051", "CH-052")
def test_order(queries, key, what):
    told = [remark.what for remark in lint_order(queries)[key]]
    assert told == [] if what is None else what in told[0]


def test_a_template_taken_apart():
    shape = parse_query("Observation?patient={{context.patientId}}&code=a|b,c&date=ge{{today() - 90 days}}")
    assert shape.resource_type == "Observation"
    assert shape.values("code") == ("a|b", "c")
    assert tokens_of("x={{ a }}&y={{b}}") == ("a", "b")
