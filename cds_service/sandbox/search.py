"""FHIR R4 search on resources in memory: what matches, in what order. No HTTP."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from cds_service.errors import BadRequest, Fault
from cds_service.sandbox.search_parameters import PARAMETERS, Parameter, find_parameter

__all__ = ["matching", "ordered", "read_conditions"]

PREFIXES = ("eq", "ge", "le", "gt", "lt")
_DATE = re.compile(
    r"(?P<year>\d{4})(-(?P<month>\d\d)(-(?P<day>\d\d)(T(?P<clock>\d\d:\d\d(?P<seconds>:\d\d(\.\d+)?)?)(?P<zone>Z|[+-]\d\d:\d\d)?)?)?)?"
)
_FAR_PAST, _FAR_FUTURE = datetime.min, datetime.max  # noqa: DTZ901 (wall clock: see _Span)

Resource = Mapping[str, Any]
Span = tuple[datetime, datetime, timedelta | None]
"""From (included) to (excluded) by the wall clock, and the clock's offset from UTC, if it was written."""


def read_conditions(resource_type: str, query: Sequence[tuple[str, str]]) -> list[tuple[Parameter, tuple[str, ...]]]:
    """Read the parameters of a search: each line must hold, one of its comma-separated values is enough.

    Raises:
        BadRequest: A parameter, modifier or date that this server does not know. It is refused, not
            ignored: a filter that silently does nothing answers with the wrong patients.
    """
    faults: list[Fault] = []
    conditions = []
    for name, value in query:
        parameter = find_parameter(resource_type, name)
        if parameter is None:
            known = ", ".join(known.name for known in PARAMETERS[resource_type])
            what = (
                "a modifier or chain that this server does not know" if ":" in name or "." in name else "not known here"
            )
            faults.append(Fault(f"{resource_type}?{name[:40]}", what, f"Use one of: {known}"))
            continue
        values = tuple(part for part in value.split(",") if part)
        if parameter.kind == "date":
            faults += [
                Fault(
                    f"{resource_type}?{name}", "not a date of FHIR search", f"Use {' '.join(PREFIXES)} and YYYY-MM-DD"
                )
                for part in values
                if not _is_date(part)
            ]
        conditions.append((parameter, values))
    if faults:
        raise BadRequest(*faults)
    return conditions


def _is_date(value: str) -> bool:
    text = value[2:] if value[:2] in PREFIXES else value
    try:
        _span(text)
    except ValueError:
        return False
    return True


def matching(
    resources: Iterable[dict[str, Any]], conditions: Sequence[tuple[Parameter, tuple[str, ...]]]
) -> list[dict[str, Any]]:
    """Keep the resources for which every condition holds."""
    return [resource for resource in resources if all(_holds(resource, *condition) for condition in conditions)]


def _holds(resource: Resource, parameter: Parameter, values: tuple[str, ...]) -> bool:
    elements = [element for path in parameter.paths for element in _walk(resource, path.split("."))]
    match = {"token": _is_token, "reference": _is_reference, "date": _is_in_time, "string": _starts}[parameter.kind]
    return any(match(element, value) for value in values for element in elements)


def _walk(value: Any, path: list[str]) -> Iterator[Any]:
    if isinstance(value, list):
        for item in value:
            yield from _walk(item, path)
    elif not path:
        yield value
    elif isinstance(value, dict) and path[0] in value:
        yield from _walk(value[path[0]], path[1:])


def _is_token(element: Any, value: str) -> bool:
    """R4 search, token: ``system|code``, ``|code`` (no system), ``system|`` (any code), ``code`` (any system)."""
    if isinstance(element, dict) and "coding" in element:
        return any(_is_token(coding, value) for coding in element["coding"])
    if isinstance(element, dict):
        system, code = element.get("system", ""), element.get("code", element.get("value", ""))
    else:
        system, code = "", str(element)
        if "|" in value and not isinstance(element, bool):  # a bare code has the one system of its element
            return value.partition("|")[2] == code
    wanted_system, bar, wanted_code = value.rpartition("|")
    if not bar:
        return bool(code == wanted_code)
    return bool(system == wanted_system and wanted_code in ("", code))


def _is_reference(element: Any, value: str) -> bool:
    target = element.get("reference", "") if isinstance(element, dict) else ""
    return bool(target) and (target == value or target.rpartition("/")[2] == value or value.endswith("/" + target))


def _starts(element: Any, value: str) -> bool:
    return isinstance(element, str) and element.casefold().startswith(value.casefold())


def _span(text: str) -> Span:
    """Read a FHIR date or dateTime as the span of time that it covers.

    Raises:
        ValueError: It is not one.
    """
    match = _DATE.fullmatch(text)
    if match is None:
        raise ValueError("not a FHIR date")
    year, month, day, clock = int(match["year"]), match["month"], match["day"], match["clock"]
    if clock:
        start = datetime.fromisoformat(f"{text[:10]}T{clock}")
        step = timedelta(seconds=1) if match["seconds"] else timedelta(minutes=1)
        zone = match["zone"]
        return (
            start,
            start + step,
            None if zone is None else datetime.fromisoformat(f"2000-01-01T00:00{zone}").utcoffset(),
        )
    low = datetime(year, int(month or 1), int(day or 1))  # noqa: DTZ001
    if day:
        return low, low + timedelta(days=1), None
    if month:
        return low, (low + timedelta(days=31)).replace(day=1), None
    return low, low.replace(year=year + 1), None


def _element_span(element: Any) -> Span:
    if isinstance(element, str):
        return _span(element)
    start, end = element.get("start"), element.get("end")
    low, _, zone = _span(start) if start else (_FAR_PAST, _FAR_PAST, None)
    high = _span(end)[1] if end else _FAR_FUTURE
    return low, high, zone


def _is_in_time(element: Any, value: str) -> bool:
    """R4 search, date. A value without a zone means the wall clock of the place where the measurement was taken."""
    prefix, text = (value[:2], value[2:]) if value[:2] in PREFIXES else ("eq", value)
    low, high, zone = _span(text)
    start, end, own = _element_span(element)
    if zone is not None:
        low, high = low - zone, high - zone
        start, end = _to_utc(start, own), _to_utc(end, own)
    within = low <= start and end <= high
    return {
        "eq": within,
        "gt": end > high,
        "lt": start < low,
        "ge": within or end > high,
        "le": within or start < low,
    }[prefix]


def _to_utc(moment: datetime, offset: timedelta | None) -> datetime:
    return moment if moment in (_FAR_PAST, _FAR_FUTURE) else moment - (offset or timedelta(0))


def ordered(resource_type: str, resources: list[dict[str, Any]], sort: str) -> list[dict[str, Any]]:
    """Sort as ``_sort`` says: ``date``, ``-date,code`` …; resources without the element come last.

    Raises:
        BadRequest: A sort key that is neither ``_id`` nor a date or token parameter of this type.
    """
    result = resources
    for key in reversed([part for part in sort.split(",") if part]):
        descending, name = key.startswith("-"), key.removeprefix("-")
        parameter = find_parameter(resource_type, name)
        if parameter is None or parameter.kind == "reference":
            raise BadRequest.of(
                "not a sort key here", where=f"{resource_type}?_sort", do="Use _id or a date, token or string parameter"
            )
        keyed = [(_sort_key(resource, parameter), resource) for resource in result]
        present = sorted(
            ((value, resource) for value, resource in keyed if value is not None),
            key=lambda pair: pair[0],
            reverse=descending,
        )
        result = [resource for _, resource in present] + [resource for value, resource in keyed if value is None]
    return result


def _sort_key(resource: Resource, parameter: Parameter) -> str | None:
    for path in parameter.paths:
        for element in _walk(resource, path.split(".")):
            if parameter.kind == "date":
                start, _, zone = _element_span(element)
                return _to_utc(start, zone).replace(tzinfo=UTC).isoformat()
            if isinstance(element, dict):
                codings: list[dict[str, str]] = element.get("coding") or [element]
                return codings[0].get("code", "")
            return str(element)
    return None
