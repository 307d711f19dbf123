"""Checks of ``GET {base}/cds-services``: sections A to C."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any

from cds_service.cdshooks.hook_specs import CUSTOM_HOOK, HOOKS, USER_TOKENS
from cds_service.contract.output_walk import emptiness
from cds_service.contract.probe import Answer, Probe
from cds_service.contract.results import Results

__all__ = ["check_discovery"]

_SEGMENT = re.compile(r"[A-Za-z0-9._~-]+")
_SEMVER = re.compile(r"(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})\.(0|[1-9]\d{0,8})(-[0-9A-Za-z.-]{1,64})?")
_TOKEN = re.compile(r"\{\{(.*?)\}\}")
_KNOWN = {"hook", "id", "title", "description", "prefetch", "usageRequirements", "version", "hookVersion", "extension"}


def check_discovery(probe: Probe, results: Results) -> list[dict[str, Any]]:
    """Check discovery and give the entries that are objects."""
    answer = probe.get("")
    results.claim(
        "CH-021", "SHALL", "discovery is answered in place, without a redirect",
        not 300 <= answer.status < 400, f"{answer.said} with a Location",
    )  # fmt: skip
    ok = results.claim(
        "CH-020 CH-024", "SHALL", "discovery answers GET with 200",
        answer.status == 200, f"{answer.said}; without discovery nothing more can be tested",
    )  # fmt: skip
    if not ok:
        return []
    _check_json(answer, results)
    body = answer.json
    services = body.get("services") if isinstance(body, dict) else None
    ok = results.claim(
        "CH-022", "SHALL", "discovery is an object with an array services",
        isinstance(services, list), "it has no array services",
    )  # fmt: skip
    if not ok or not isinstance(services, list):
        return []
    nulls, empties = emptiness(body, allowed_empty={"services"})
    results.claim_all("CH-002", "SHALL", "no null in discovery", [f"null at {path}" for path in nulls], 1)
    results.claim_all("CH-003", "SHALL", "nothing empty in discovery", [f"empty at {path}" for path in empties], 1)
    if not services:
        results.claim("CH-023", "SHOULD", "a server without services says so with 200", True, "")
        return []
    entries = [entry for entry in services if isinstance(entry, dict)]
    _check_entries(entries, len(services), results)
    _check_templates(entries, results)
    return entries


def _check_json(answer: Answer, results: Results) -> None:
    results.claim(
        "CH-001", "SHALL", "discovery is sent as JSON",
        answer.is_json_type, f"Content-Type {answer.headers.get('content-type', 'missing')[:60]}",
    )  # fmt: skip
    results.claim("CH-005", "SHOULD", "discovery is strict JSON", answer.json is not None, "a strict parser refuses it")


def _check_entries(entries: list[dict[str, Any]], listed: int, results: Results) -> None:
    results.claim("CH-022", "SHALL", "each entry is an object", len(entries) == listed, "some are not")
    for ids, field in (("CH-025", "hook"), ("CH-026", "description"), ("CH-027", "id")):
        broken = [_name(entry) for entry in entries if not _is_text(entry.get(field))]
        results.claim_all(
            ids, "SHALL", f"each entry has {field}", [f"missing in {name}" for name in broken], len(entries)
        )
    ids_of = [entry["id"] for entry in entries if _is_text(entry.get("id"))]
    broken = ["an id does not" for value in ids_of if _SEGMENT.fullmatch(value) is None]
    results.claim_all("CH-027", "SHALL", "each id survives as one URL segment", broken, len(ids_of))
    untitled = [f"missing in {_name(entry)}" for entry in entries if not _is_text(entry.get("title"))]
    results.claim_all("CH-028", "SHOULD", "each entry has a title", untitled, len(entries))
    pairs = Counter((str(entry.get("id")), str(entry.get("hook"))) for entry in entries)
    twice = [f"{name} for {hook} stands {count} times" for (name, hook), count in pairs.items() if count > 1]
    results.claim_all("CH-034", "SHALL", "each pair of id and hook is unique", twice, len(pairs))
    hooks = [entry["hook"] for entry in entries if _is_text(entry.get("hook"))]
    unknown = [f"unknown hook in {_name(entry)}" for entry in entries if not _is_hook(entry.get("hook"))]
    results.claim_all("CH-089", "SHALL", "hooks are published ones or in reverse-domain form", unknown, len(hooks))
    _check_optional(entries, results)


def _check_optional(entries: list[dict[str, Any]], results: Results) -> None:
    with_usage = [entry for entry in entries if "usageRequirements" in entry]
    broken = [f"no text in {_name(entry)}" for entry in with_usage if not _is_text(entry["usageRequirements"])]
    results.claim_all("CH-030", "SHALL", "usageRequirements is a text", broken, len(with_usage))
    with_version = [entry for entry in entries if "version" in entry]
    broken = [
        f"not in {_name(entry)}"
        for entry in with_version
        if not (_is_text(entry["version"]) and _SEMVER.fullmatch(entry["version"]))
    ]
    results.claim_all("CH-031", "SHOULD", "version is a semantic version", broken, len(with_version))
    with_hook_version = [entry for entry in entries if "hookVersion" in entry and entry.get("hook") in HOOKS]
    broken = [
        f"another one in {_name(entry)}"
        for entry in with_hook_version
        if entry["hookVersion"] != HOOKS[str(entry["hook"])].version
    ]
    results.claim_all("CH-032", "SHOULD", "hookVersion is the published hook's", broken, len(with_hook_version))
    unknown = [f"{_name(entry)} has a key of its own" for entry in entries if set(entry) - _KNOWN]
    results.claim_all("CH-292", "SHALL", "custom fields of an entry stand under extension only", unknown, len(entries))


def _check_templates(entries: list[dict[str, Any]], results: Results) -> None:
    shape: list[str] = []
    tokens: list[str] = []
    relative: list[str] = []
    sorting: list[str] = []
    seen = 0
    for entry in entries:
        if "prefetch" not in entry:
            continue
        templates = entry["prefetch"]
        if not isinstance(templates, dict) or not all(_is_text(value) for value in templates.values()):
            shape.append(f"not so in {_name(entry)}")
            continue
        allowed = _allowed_tokens(str(entry.get("hook")))
        for key, template in templates.items():
            seen += 1
            place = f"{_name(entry)}, key {str(key)[:40]}"
            if template.count("{{") != template.count("}}") or not _known_tokens(template, allowed):
                tokens.append(f"another token in {place}")
            bare = _TOKEN.sub("X", template)
            if re.match(r"[A-Za-z][A-Za-z0-9+.-]*://|/", bare) or "$" in bare.split("?", 1)[0] or not bare:
                relative.append(f"not so in {place}")
            if "sort:" in template:
                sorting.append(f"sort: in {place}")
    title = "prefetch is an object of templates, and is left out when there are none"
    results.claim_all("CH-029", "SHALL", title, shape, seen + len(shape))
    results.claim_all("CH-041", "SHALL", "a template is a read or a type-level search, relative", relative, seen)
    results.claim_all("CH-042 CH-043 CH-044", "SHALL", "templates use only the tokens of their hook", tokens, seen)
    results.claim_all("CH-048", "SHOULD", "sorting is written _sort", sorting, seen)


def _allowed_tokens(hook: str) -> frozenset[str] | None:
    """None for a custom hook: its context is its own."""
    spec = HOOKS.get(hook)
    if spec is None:
        return None
    return frozenset(f"context.{name}" for name in spec.tokens) | frozenset(USER_TOKENS)


def _known_tokens(template: str, allowed: frozenset[str] | None) -> bool:
    """Whether each token is one of 2.0; those of the 3.0 ballot (dates, ``%key``, FHIRPath) are left to the service."""
    for token in (match.strip() for match in _TOKEN.findall(template)):
        ballot = token.startswith(("today()", "%")) or "(" in token or token.count(".") > 1
        if ballot or (allowed is None and token.startswith("context.")):
            continue
        if token not in (allowed if allowed is not None else USER_TOKENS):
            return False
    return True


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _is_hook(value: object) -> bool:
    return isinstance(value, str) and (value in HOOKS or CUSTOM_HOOK.fullmatch(value) is not None)


def _name(entry: Mapping[str, Any]) -> str:
    name = entry.get("id")
    return name[:60] if isinstance(name, str) and name else "an entry without id"
