"""Checks of ``POST {base}/cds-services/{id}`` for patient-view: sections D to H."""

import statistics
from typing import Any

from cds_service.contract.bad_calls import BAD_AUTHORIZATIONS, BAD_BODIES, BAD_CALLS
from cds_service.contract.output_walk import check_answers
from cds_service.contract.probe import Answer, Probe
from cds_service.contract.results import Results
from cds_service.contract.synthetic import CHARTS, MARKER, Subject, empty_searchset, operation_outcome

__all__ = ["check_calls"]

_ANSWERED = {200, 412}
"""What a service may say to a faultless request: an answer, or that it needs more FHIR data."""
_BUDGET_S = 0.5
"""CH-009."""


def check_calls(probe: Probe, subject: Subject, results: Results) -> list[dict[str, Any]]:
    """Check one service; give the cards that it showed."""
    baseline = probe.post(subject.path, subject.request())
    results.claim(
        "CH-060 CH-160", "SHALL", "a valid call is answered with 200, or 412 for want of FHIR data",
        baseline.status in _ANSWERED, f"{baseline.said} to an adult with an empty chart",
    )  # fmt: skip
    answers = [probe.post(subject.path, subject.request(subject.chart(chart))) for _, chart in CHARTS]
    again = subject.request(subject.chart(CHARTS[-1][1]))
    answers += [probe.post(subject.path, again), probe.post(subject.path, again)]
    _check_tolerance(probe, subject, baseline, results)
    answers += _check_prefetch(probe, subject, results)
    errors = _check_bad(probe, subject, results)
    errors += _check_methods(probe, subject, results)
    _check_errors(errors, results)
    took = statistics.median(answer.took_s for answer in answers)
    results.claim(
        "CH-009", "SHOULD", "answers come in the order of 500 ms",
        took <= _BUDGET_S, f"median {took * 1000:.0f} ms", because=f"median {took * 1000:.0f} ms",
    )  # fmt: skip
    return check_answers([baseline, *answers], results)


def _check_tolerance(probe: Probe, subject: Subject, baseline: Answer, results: Results) -> None:
    """Variations that a service must take exactly like the plain request."""

    def same(ids: str, title: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> None:
        answer = probe.post(subject.path, body, headers)
        otherwise = f"{answer.said}, but {baseline.said} without that"
        results.claim(ids, "SHALL", title, answer.status == baseline.status, otherwise)

    plain = subject.request()
    same("CH-072", "an extension in the request is ignored", {**plain, "extension": {"org.example.contract": {"a": 1}}})
    same("CH-073", "an unknown field is ignored", {**plain, "user": "Practitioner/1", "somethingNew": [1]})
    upper = {**plain, "hookInstance": plain["hookInstance"].upper()}
    same("CH-063", "an upper-case hookInstance is accepted", upper)
    context = {**plain["context"], "encounterId": "contract-encounter-1"}
    same("CH-082", "encounterId may be there or not", {**plain, "context": context})
    named = {"Content-Type": "application/json; charset=UTF-8"}
    same("CH-001", "Content-Type may name its charset", plain, named)
    unasked = {**plain, "prefetch": {**plain.get("prefetch", {}), "neverAskedFor": {"resourceType": "Basic"}}}
    same("CH-055", "a prefetch key that was not asked for is ignored", unasked)
    users = [
        kind
        for kind in ("PractitionerRole", "Patient", "RelatedPerson")
        if probe.post(
            subject.path, {**plain, "context": {**plain["context"], "userId": f"{kind}/contract-user-2"}}
        ).status
        not in _ANSWERED
    ]
    results.claim(
        "CH-080", "SHALL", "each of the four types of user is accepted", not users, f"refused: {', '.join(users)}"
    )


def _check_prefetch(probe: Probe, subject: Subject, results: Results) -> list[Answer]:
    """The states of a prefetch key: absent, null, empty, refused, and wrong."""
    if not subject.prefetch:
        results.skip("CH-101 CH-102 CH-103", "SHALL", "the states of a prefetch key", "the service asks for none")
        return []
    absent = probe.post(subject.path, subject.request({}))
    results.claim(
        "CH-101 CH-111", "SHALL", "without prefetch and without FHIR: 412, or an answer that can do without",
        absent.status in _ANSWERED, absent.said,
    )  # fmt: skip
    empty = probe.post(subject.path, subject.request())
    null = probe.post(subject.path, subject.request(subject.chart(_nothing, empty=lambda: None)))
    no_entry = probe.post(
        subject.path,
        subject.request(subject.chart(_nothing, empty=lambda: {"resourceType": "Bundle", "type": "searchset"})),
    )
    no_entries = probe.post(
        subject.path, subject.request(subject.chart(_nothing, empty=lambda: {**empty_searchset(), "entry": []}))
    )
    results.claim(
        "CH-102", "SHALL", "null means that there is nothing, and is no error", null.status in _ANSWERED, null.said
    )
    statuses = {answer.status for answer in (empty, null, no_entry, no_entries)}
    results.claim(
        "CH-103", "SHALL", "null, a Bundle without entry and one with none mean the same",
        len(statuses) == 1, f"answered by {', '.join(map(str, sorted(statuses)))}",
    )  # fmt: skip
    refused = probe.post(subject.path, subject.request({key: operation_outcome() for key in subject.prefetch}))
    results.claim(
        "CH-104",
        "SHALL",
        "an OperationOutcome under a key is no data and no crash",
        refused.status in _ANSWERED,
        refused.said,
    )
    crashed = [
        f"{answer.said} to {what}"
        for what, value in (
            ("a text", "<html>gateway error</html>"),
            ("a list", []),
            ("a number", 7),
            ("no type", {"a": 1}),
        )
        if not (
            (answer := probe.post(subject.path, subject.request(dict.fromkeys(subject.prefetch, value)))).status == 200
            or answer.is_client_error
        )
    ]
    results.claim("CH-164", "SHALL", "an error page under a key is no crash", not crashed, "; ".join(crashed))
    _check_other_patient(probe, subject, results)
    return [empty, null, no_entry, no_entries]


def _check_other_patient(probe: Probe, subject: Subject, results: Results) -> None:
    title = "another patient in the prefetch is never used"
    chart = subject.chart(CHARTS[-1][1])
    patients = [
        key for key, value in chart.items() if isinstance(value, dict) and value.get("resourceType") == "Patient"
    ]
    if not patients:
        results.skip("CH-109", "SHALL", title, "the service does not ask for the patient")
        return
    for key in patients:
        chart[key] = {**chart[key], "id": "contract-patient-2"}
    answer = probe.post(subject.path, subject.request(chart))
    body = answer.json
    silent = answer.status == 200 and isinstance(body, dict) and body.get("cards") == []
    results.claim("CH-109", "SHALL", title, answer.is_client_error or silent, f"{answer.said} with cards")


def _check_bad(probe: Probe, subject: Subject, results: Results) -> list[Answer]:
    """Requests that break the specification, one fault each: refused by the client's fault, never ours."""
    errors: list[Answer] = []
    for bad in BAD_CALLS:
        body = bad.spoil(subject.request(extension={"org.example.contract": MARKER}))
        answer = probe.post(subject.path, body)
        errors.append(answer)
        results.claim(bad.ids, bad.level, f"refused: {bad.title}", _is_refused(answer), f"{answer.said} instead of 400")
    for bad in BAD_AUTHORIZATIONS:
        body = bad.spoil(subject.request())
        answer = probe.post(subject.path, body)
        errors.append(answer)
        results.claim(bad.ids, bad.level, f"refused: {bad.title}", _is_refused(answer), f"{answer.said} instead of 400")
    for raw in BAD_BODIES:
        answer = probe.post_bytes(subject.path, raw.content(), {"Content-Type": raw.media_type})
        fine = _is_refused(answer) or (raw.may_close and not answer.status)
        errors.append(answer)
        results.claim(raw.ids, raw.level, f"refused: {raw.title}", fine, f"{answer.said} instead of {raw.expected}")
    return errors


def _check_methods(probe: Probe, subject: Subject, results: Results) -> list[Answer]:
    got = probe.get(subject.path)
    results.claim(
        "CH-060", "SHALL", "a service is called by POST only", got.is_client_error, f"GET: {got.said} instead of 405"
    )
    if got.status == 405:
        allow = got.headers.get("allow", "")
        results.claim("CH-060", "SHOULD", "405 says which methods are allowed", "POST" in allow, "no Allow: POST")
    nobody = probe.post("/contract-no-such-service", subject.request())
    results.claim("CH-061", "SHALL", "an unknown service is 404", nobody.status == 404, f"{nobody.said} instead of 404")
    return [got, nobody]


def _check_errors(errors: list[Answer], results: Results) -> None:
    refused = [
        answer for answer in errors if answer.is_client_error and answer.status not in {401, 405} and answer.body
    ]
    wrong = [
        f"{answer.said}: {answer.headers.get('content-type', 'no type')[:40]}"
        for answer in refused
        if not answer.is_json_type or not _is_outcome(answer.json)
    ]
    results.claim_all("CH-165", "SHOULD", "an error carries an OperationOutcome in JSON", wrong, len(refused))
    echoed = [f"{answer.said} does" for answer in errors if MARKER.encode() in answer.body]
    results.claim_all("CH-074", "SHALL", "an error does not echo what was sent", echoed, len(errors))
    crashed = [answer.said for answer in errors if answer.status >= 500]
    results.claim_all("CH-164", "SHALL", "no bad input is answered with 5xx", crashed, len(errors))


def _is_refused(answer: Answer) -> bool:
    """Whether the caller is told that it is at fault; 412 says something else: data could not be had (CH-163)."""
    return answer.is_client_error and answer.status != 412


def _is_outcome(body: object) -> bool:
    if not isinstance(body, dict) or body.get("resourceType") != "OperationOutcome":
        return False
    issues = body.get("issue")
    return (
        isinstance(issues, list)
        and bool(issues)
        and all(isinstance(issue, dict) and issue.get("severity") and issue.get("code") for issue in issues)
    )


def _nothing(_: str) -> list[dict[str, Any]]:
    return []
