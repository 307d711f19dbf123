"""Does the data that a service asks for carry what its rules need, and can it prove an absence?"""

import re
from collections.abc import Iterable, Iterator

from cds_service.cdshooks.check_findings import Checked, Finding
from cds_service.cdshooks.declaration import NoRecent, PrefetchKey, Service
from cds_service.cdshooks.prefetch_lint import DATE_PARAMETERS, parse_query
from cds_service.clinical.codes import CodeSet, canonical

__all__ = ["asks_for", "brings", "check_data", "usually_brings"]

_DAYS_A_MONTH = 30.4375
_LOINC_VITAL_SIGNS = frozenset(
    {"2708-6", "29463-7", "39156-5", "56086-2", "59408-5", "8280-0", "8302-2", "8310-5", "8462-4", "8480-6", "85353-1",
     "85354-9", "8867-4", "9279-1", "96608-5", "96609-3", "9843-4"}
)  # fmt: skip
"""What FHIR's vital-signs profiles and US Core file under ``vital-signs``."""
_BACK = re.compile(r"(?:ge|gt)\{\{\s*today\(\)\s*-\s*(\d+)\s+days\s*\}\}")


def check_data(checked: Checked) -> Iterator[Finding]:
    """Rows of the issue: an undeclared data key, a key that may be incomplete."""
    service, when = checked.service, checked.service.when
    if when.age_years is not None and not _of_type(service, "Patient"):
        yield checked.error(("when", "age_years"), "no prefetch key brings the Patient", "declare [prefetch.patient]")
    if when.encounter and not _of_type(service, "Encounter"):
        yield checked.error(
            ("when", "encounter"),
            "no prefetch key brings the Encounter, so it is never known",
            "declare [prefetch.encounter]",
        )
    for name, kind, codes in (
        ("no_condition", "Condition", when.no_condition),
        ("no_medication", "MedicationRequest", when.no_medication),
    ):
        if codes is not None:
            yield from _absence_of_codes(checked, name, kind, codes)
    yield from _states(checked)
    if when.no_recent is not None:
        yield from _no_recent(checked, when.no_recent)


def brings(key: PrefetchKey, token: str) -> bool:
    """Whether a key's query can bring a resource with this ``system|code``; one without ``code`` brings all codes."""
    shape = parse_query(key.query)
    asked = [value for name in ("code", "combo-code", "component-code") for value in shape.values(name)]
    if not asked or any(value.startswith("{{") for value in asked):
        return True
    return any(_names(value, token) for value in asked)


def asks_for(key: PrefetchKey, token: str) -> bool:
    """Whether a key asks for this very code, or for all Observations whatever their category."""
    shape = parse_query(key.query)
    return brings(key, token) and (bool(shape.values("code")) or not shape.values("category"))


def usually_brings(key: PrefetchKey, token: str) -> bool:
    """As :func:`brings`, minding how charts file things: a blood pressure is no laboratory value."""
    categories = {value.rpartition("|")[2] for value in parse_query(key.query).values("category")}
    system, _, code = token.partition("|")
    is_vital = code in _LOINC_VITAL_SIGNS if system == "http://loinc.org" else code.startswith(("9A", "9N"))
    fits = not categories or ("vital-signs" if is_vital else "laboratory") in categories
    return brings(key, token) and (fits or not categories & {"vital-signs", "laboratory"})


def _names(asked: str, token: str) -> bool:
    system, bar, code = asked.partition("|")
    return (canonical(system, code) if bar and system else f"|{code or system}") in (
        token,
        f"|{token.partition('|')[2]}",
    )


def _of_type(service: Service, kind: str) -> list[PrefetchKey]:
    return [key for key in service.prefetch if key.resource_type == kind]


def _absence_of_codes(checked: Checked, name: str, kind: str, codes: CodeSet) -> Iterator[Finding]:
    keys = _of_type(checked.service, kind)
    if not keys:
        yield checked.error(
            ("when", name),
            f"no prefetch key brings {kind}, so its absence is never proved",
            f"declare a key {kind}?patient=…",
        )
    for key in keys:
        place = ("prefetch", key.name, "query")
        shape = parse_query(key.query)
        if not key.required and key.on_failure == "omit":
            yield checked.error(
                ("prefetch", key.name, "on_failure"),
                f"'{name}' can't be judged when this key is left out",
                'write "abstain" or required',
            )
        missing = sorted(token for token in codes.codes if not brings(key, token))
        if missing or (codes.prefixes and shape.values("code")):
            yield checked.error(
                place, f"the query's codes leave out some of '{name}'", "ask without code, or list every code"
            )
        yield from _date_filter(checked, key, f"'{name}' asks about all of the past", None)
        if shape.values("_count"):
            yield checked.warning(place, f"a full first page proves no absence for '{name}'", "ask without _count")
        if "problem-list-item" in shape.values("category"):
            yield checked.warning(place, "diagnoses outside the problem list are not seen", "ask without category")


def _states(checked: Checked) -> Iterator[Finding]:
    service = checked.service
    for state in service.when.not_state:
        needs = [("Condition", bool(state.conditions.codes or state.conditions.prefixes))]
        needs.append(("Procedure", bool(state.procedures.codes or state.procedures.prefixes)))
        for kind, needed in needs:
            if needed and not _of_type(service, kind):
                yield checked.error(
                    ("when", "not_state"),
                    f"no prefetch key brings {kind}, so '{state.name}' is never seen there",
                    f"declare a key {kind}?patient=…",
                )
        for token in state.observations:
            if not any(asks_for(key, token) for key in _of_type(service, "Observation")):
                yield checked.error(
                    ("when", "not_state"),
                    f"no prefetch key brings {token}, so '{state.name}' is never seen there",
                    "declare a key for it",
                )


def _no_recent(checked: Checked, rule: NoRecent) -> Iterator[Finding]:
    key = checked.service.key(rule.key)
    place = ("prefetch", key.name, "query")
    shape = parse_query(key.query)
    if key.resource_type != "Observation" or not key.is_search:
        yield checked.error(
            place,
            f"'{key.name}' must prove that there is no {rule.feature}: it is no search of Observation",
            "write Observation?…",
        )
        return
    if not key.required and key.on_failure == "omit":
        yield checked.error(
            ("prefetch", key.name, "on_failure"),
            "an absence can't be proved by a key that is left out",
            'write "abstain" or required',
        )
    yield from _date_filter(checked, key, f"no_recent asks about {rule.months} months", rule.months)
    sort = shape.values("_sort")
    if shape.values("_count") and (not sort or sort[0] != "-date"):
        yield checked.error(
            place,
            "the key may be incomplete: _count without _sort=-date may leave out the newest result",
            "add &_sort=-date",
        )
    if shape.values("status"):
        yield checked.warning(place, "a filter by status hides a test that is under way", "ask without status")
    if checked.model is not None and rule.feature in checked.model.features:
        spec = checked.model.features[rule.feature]
        missing = sorted(token for token in spec.codes | spec.excludes_only if not brings(key, token))
        if missing:
            yield checked.error(
                place,
                f"the key may be incomplete: its query leaves out {_first(missing)} of feature '{rule.feature}'",
                "list every code of the feature, those of excludes_only too",
            )


def _date_filter(checked: Checked, key: PrefetchKey, asks: str, months: int | None) -> Iterator[Finding]:
    place = ("prefetch", key.name, "query")
    for name, _, value in parse_query(key.query).parameters:
        if name not in DATE_PARAMETERS:
            continue
        back = _BACK.fullmatch(value)
        if months is None or back is None:
            yield checked.error(
                place, f"the key may be incomplete: it filters by {name}, but {asks}", f"ask without {name}"
            )
        elif int(back[1]) < months * _DAYS_A_MONTH:
            yield checked.error(
                place,
                f"the key may be incomplete: it reaches back {back[1]} days, but {asks}",
                f"ask without {name}, or for longer",
            )


def _first(tokens: Iterable[str]) -> str:
    listed = list(tokens)
    return listed[0] if len(listed) == 1 else f"{listed[0]} and {len(listed) - 1} more"
