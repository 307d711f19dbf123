"""Is this prefetch template one that an EHR can resolve? CDS Hooks, "Prefetch Template" (CH-040 … CH-053).

Used for what we publish and for a client's own query in ``clients.toml``, where relative dates are welcome.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from cds_service.cdshooks.fhir_types import RESOURCE_TYPES
from cds_service.cdshooks.hook_specs import CUSTOM_FIELDS, HOOKS, USER_TOKENS

__all__ = ["QueryShape", "Remark", "lint_order", "lint_query", "parse_query", "tokens_of"]

REFERENCE_PARAMETERS = frozenset(
    {
        "patient",
        "subject",
        "encounter",
        "performer",
        "requester",
        "practitioner",
        "organization",
        "location",
        "based-on",
    }
)
TOKEN_PARAMETERS = frozenset(
    {"_id", "identifier", "category", "class", "clinical-status", "code", "combo-code", "component-code", "intent",
     "modality", "priority", "status", "type", "verification-status"}
)  # fmt: skip
DATE_PARAMETERS = frozenset(
    {"_lastUpdated", "authored", "authoredon", "date", "effective-time", "issued", "onset-date", "period",
     "recorded-date", "started"}
)  # fmt: skip
DATE_PREFIXES = frozenset({"eq", "lt", "gt", "ge", "le"})

_TOKEN = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_TODAY = re.compile(r"today\(\)(?:\s*[-+]\s*(\d+)\s+(\w+))?")
_KEY = re.compile(r"%([A-Za-z][A-Za-z0-9_-]*)(?:\.[A-Za-z].*)?", re.DOTALL)
_OF_TYPE = re.compile(r"ofType\(\s*([^)]*?)\s*\)")
_DATE = re.compile(r"\d{4}(-\d\d(-\d\d(T[0-9:.]+(Z|[-+]\d\d:\d\d))?)?)?")
_REFERENCE_FIELDS = frozenset({"userId", "performer", "order"})
"""Context fields that are ``Type/id`` themselves, hence whole read templates (CH-045)."""


@dataclass(frozen=True, slots=True)
class Remark:
    """One thing to say about a template: an error refuses it, a warning doubts that most servers can do it."""

    level: Literal["error", "warning"]
    what: str
    do: str


@dataclass(frozen=True, slots=True)
class QueryShape:
    """A template taken apart: ``Observation?code=a,b&_count=5``."""

    resource_type: str
    """Empty for a template that is one reference token."""
    parameters: tuple[tuple[str, str, str], ...]
    """Name, modifier, value, in the order written; empty for a read."""

    def values(self, name: str) -> tuple[str, ...]:
        """All comma-separated values of a parameter, whatever its modifier."""
        return tuple(
            value for key, _, written in self.parameters if key == name for value in _split_outside_tokens(written, ",")
        )


def tokens_of(query: str) -> tuple[str, ...]:
    """The tokens of a template, without braces and outer spaces."""
    return tuple(found.strip() for found in _TOKEN.findall(query))


def parse_query(query: str) -> QueryShape:
    """Take a template apart; nothing is judged here."""
    head, mark, tail = _cut(query, "?")
    if not mark:
        return QueryShape("" if head.startswith("{{") else head.partition("/")[0], ())
    parameters = []
    for pair in _split_outside_tokens(tail, "&"):
        key, _, value = _cut(pair, "=")
        name, _, modifier = key.partition(":")
        parameters.append((name, modifier, value))
    return QueryShape(head, tuple(parameters))


def lint_query(query: str, hook: str, *, required: bool = False, for_client: bool = False) -> list[Remark]:
    """Judge one template.

    Args:
        query: The template.
        hook: The hook whose context fields may be used.
        required: Whether the service can't answer without the key: then a token that a 2.0 client leaves
            unresolved is refused, since there would be no fallback.
        for_client: The query is a client's own, agreed with it: relative dates and FHIRPath are fine.
    """
    return [*_shape(query), *_tokens(query, hook, required=required, for_client=for_client), *_search(query)]


def lint_order(queries: Mapping[str, str]) -> dict[str, list[Remark]]:
    """Judge templates that use another key's result (CH-051, CH-052): listed later, reads only, no cycle."""
    remarks: dict[str, list[Remark]] = {name: [] for name in queries}
    uses = {name: [_KEY.fullmatch(t)[1] for t in tokens_of(q) if _KEY.fullmatch(t)] for name, q in queries.items()}  # type: ignore[index]
    names = list(queries)
    for name, needed in uses.items():
        for other in needed:
            if other not in queries:
                remarks[name].append(
                    Remark("error", f"there is no prefetch key '{other}'", "declare it, before this key")
                )
            elif cycle := _cycle(name, uses):
                remarks[name].append(
                    Remark("error", f"the keys wait for each other: {' → '.join(cycle)}", "break the circle")
                )
            elif names.index(other) > names.index(name):
                remarks[name].append(Remark("error", f"key '{other}' is declared later", "declare it before this key"))
            elif "?" in queries[other]:
                remarks[name].append(Remark("error", f"key '{other}' is a search", "use the result of a read only"))
    return remarks


def _cycle(start: str, uses: Mapping[str, Sequence[str]]) -> list[str] | None:
    stack: list[list[str]] = [[start]]
    while stack:
        way = stack.pop()
        for following in uses.get(way[-1], ()):
            if following == start:
                return [*way, start]
            if following not in way:
                stack.append([*way, following])
    return None


def _shape(query: str) -> Iterator[Remark]:
    bare = _TOKEN.sub("x", query)
    if "{" in bare or "}" in bare:
        yield Remark("error", "a token is not closed, or braces stand alone", "write tokens as {{context.patientId}}")
    if re.search(r"\s", bare):
        yield Remark("error", "there is a space in the template", "remove it")
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", bare):
        yield Remark("error", "the template names a scheme or host", "write it relative to the client's FHIR base")
        return
    if bare.startswith("/"):
        yield Remark("error", "the template begins with a slash", "write it relative to the client's FHIR base")
        return
    path = bare.partition("?")[0]
    if "$" in path:
        yield Remark("error", "the template calls an operation", "use a read or a search")
        return
    only = tokens_of(query)
    if len(only) == 1 and _TOKEN.fullmatch(query):
        if only[0].removeprefix("context.") not in _REFERENCE_FIELDS:
            yield Remark("error", "the token alone is not a reference", "write Type/{{…}}")
        return
    kind, slash, rest = path.partition("/")
    if kind not in RESOURCE_TYPES:
        yield Remark("error", "the template does not begin with a FHIR R4 resource type", "write Type/id or Type?…")
    elif "?" in bare and slash:
        yield Remark("error", "a search stands under an instance or compartment", "search at type level: Type?…")
    elif "?" not in bare and (not rest or "/" in rest):
        yield Remark("error", "the template is neither a read nor a search", "write Type/id or Type?…")
    elif not only:
        yield Remark(
            "error", "the template has no token: every patient would get the same data", "bind it to the context"
        )


def _tokens(query: str, hook: str, *, required: bool, for_client: bool) -> Iterator[Remark]:
    spec = HOOKS.get(hook)
    usable = spec.tokens if spec else {field.name for field in CUSTOM_FIELDS if field.token}
    for token in tokens_of(query):
        name = token.removeprefix("context.")
        if token in USER_TOKENS or (token.startswith("context.") and name in usable):
            continue
        for wanted in _OF_TYPE.findall(token):
            if wanted not in RESOURCE_TYPES:
                yield Remark(
                    "error", f"ofType({wanted}) names no FHIR resource type", "name one, as in ofType(Patient)"
                )
        today = _TODAY.fullmatch(token)
        if today and today[2] not in (None, "day", "days"):
            yield Remark("error", f"today() counts in days, not in {today[2]}", "write {{today() - 90 days}}")
        elif today or _is_path(token):
            if required and not for_client:
                yield Remark(
                    "error",
                    f"a CDS Hooks 2.0 client leaves {{{{{token}}}}} unresolved and drops the key, but the key is required",
                    "filter in the service, or put this query into [client.prefetch] of clients.toml",
                )
            elif not for_client:
                yield Remark(
                    "warning", f"only a CDS Hooks 3.0 client resolves {{{{{token}}}}}", "expect the key to be absent"
                )
        elif _KEY.fullmatch(token):
            yield Remark(
                "warning", f"{{{{{token}}}}} uses another key's result, which is experimental", "prefer a context field"
            )
        else:
            yield Remark(
                "error",
                f"the token {{{{{token}}}}} is not usable in {hook}",
                f"use one of: {', '.join(sorted([*(f'context.{field}' for field in usable), *USER_TOKENS]))}",
            )


def _is_path(token: str) -> bool:
    """Small FHIRPath (CH-050): chains below ``context`` that plain tokens don't cover."""
    if not token.startswith("context."):
        return False
    head = token.partition("|")[0].strip().split(".")
    return len(head) > 2 and re.fullmatch(r"[\w.()|\s,'%+-]+", token) is not None


def _search(query: str) -> Iterator[Remark]:
    if "sort:" in _TOKEN.sub("", query):
        yield Remark("error", "'sort:' is not FHIR, though the specification's examples use it", "write _sort=-date")
    for name, modifier, value in parse_query(query).parameters:
        if not name or not value:
            yield Remark("error", "a search parameter has no name or no value", "write name=value")
            continue
        if name.startswith("sort"):
            continue  # said above
        if modifier and not (modifier == "in" and name in TOKEN_PARAMETERS):
            yield Remark("warning", f"few servers know the modifier '{name}:{modifier}'", "use :in on a token, or none")
        if name == "_count":
            if not value.isdigit() or int(value) == 0:
                yield Remark("error", "_count is not a positive whole number", "write _count=100")
        elif name == "_maxresults":
            yield Remark("warning", "_maxresults is CDS Hooks 3.0 only", "use _count")
        elif name == "_sort":
            if not re.fullmatch(r"-?[a-z_-]+(,-?[a-z_-]+)*", value):
                yield Remark("error", "_sort names no search parameters", "write _sort=-date")
        elif name in DATE_PARAMETERS:
            yield from _date_values(name, value)
        elif name not in REFERENCE_PARAMETERS | TOKEN_PARAMETERS:
            yield Remark(
                "warning", f"few servers know the search parameter '{name}'", "keep to reference, token and date ones"
            )


def _date_values(name: str, value: str) -> Iterator[Remark]:
    for one in _split_outside_tokens(value, ","):
        prefix, rest = (one[:2], one[2:]) if one[:2].isalpha() else ("eq", one)
        if prefix not in DATE_PREFIXES:
            yield Remark("warning", f"few servers know the prefix '{prefix}' at '{name}'", "use eq, lt, gt, ge or le")
        if not _TOKEN.fullmatch(rest) and not _DATE.fullmatch(rest):
            yield Remark("error", f"'{name}' has no date", "write a date as in ge2026-01-31, or a token")


def _cut(text: str, mark: str) -> tuple[str, str, str]:
    """``partition`` that does not look inside tokens."""
    for place in _outside(text):
        if text[place] == mark:
            return text[:place], mark, text[place + 1 :]
    return text, "", ""


def _split_outside_tokens(text: str, mark: str) -> list[str]:
    parts, start = [], 0
    for place in _outside(text):
        if text[place] == mark:
            parts.append(text[start:place])
            start = place + 1
    return [*parts, text[start:]]


def _outside(text: str) -> Iterator[int]:
    inside = {place for found in _TOKEN.finditer(text) for place in range(found.start(), found.end())}
    return (place for place in range(len(text)) if place not in inside)
