"""The ``[card]`` of a service: operating point, indicator, topic, suggestions, override reasons, links."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from cds_service.cdshooks.catalog_keys import NON_ADHERENCE_REASONS, SERVICE_KEYS
from cds_service.cdshooks.catalog_table import Table
from cds_service.cdshooks.declaration import CardSpec, OverrideReason, Suggestion, Texts
from cds_service.cdshooks.order_template import unknown_slots
from cds_service.errors import Fault

__all__ = ["read_card"]

_NO_CARD = CardSpec("", {}, "", "")


def read_card(top: Table, folder: Path, texts: Mapping[str, Texts]) -> CardSpec:
    """Read ``[card]``; a card with faults is returned with what could be read."""
    table = top.table("card", SERVICE_KEYS["card"], required=True)
    if table is None:
        return _NO_CARD
    topic = table.table("topic", SERVICE_KEYS["card.topic"], required=True)
    reasons = table.tables("override_reason", SERVICE_KEYS["card.override_reason"])
    system = _url(table, "override_system") if reasons else ""
    return CardSpec(
        show_from=table.text("show_from"),
        indicator=_indicators(table),
        topic_system="" if topic is None else _url(topic, "system"),
        topic_code="" if topic is None else topic.text("code"),
        suggestions=_suggestions(table, folder),
        override_reasons=_override_reasons(reasons, system, texts),
        source_url=_url(table, "source_url") if table.has("source_url") else None,
        links=_links(table),
    )


def _url(table: Table, key: str) -> str:
    value = table.text(key)
    if value and not value.startswith(("https://", "http://", "urn:")):
        table.fault((key,), "this is not an absolute URI", "write one, as in https://cds.example.org/topics")
    return value


def _indicators(table: Table) -> dict[str, Literal["info", "warning"]]:
    inner = table.table("indicator", None)
    if inner is None:
        return {}
    read: dict[str, Literal["info", "warning"]] = {}
    for point in inner.data:
        value = inner.text(point)
        if value == "critical":
            inner.fault(
                (point,), "no service of ours is 'critical': a pop-up that is not needed costs the next one", "use info"
            )
        elif value in ("info", "warning"):
            read[point] = "info" if value == "info" else "warning"
        elif value:
            inner.fault((point,), f"'{value}' is no indicator", "use info or warning")
    return read


def _suggestions(table: Table, folder: Path) -> tuple[Suggestion, ...]:
    suggestions = []
    for inner in table.tables("suggestion", SERVICE_KEYS["card.suggestion"]):
        label, name = inner.text("label"), inner.text("resource")
        order = inner.text("order") if inner.has("order") else None
        suggestions.append(Suggestion(label, _template(inner, folder, name), order))
    return tuple(suggestions)


def _template(table: Table, folder: Path, name: str) -> Mapping[str, Any]:
    path = folder / name
    if not name or Path(name).is_absolute() or ".." in Path(name).parts or not path.is_file():
        table.fault(("resource",), f"there is no file '{name}' in this folder", "name a FHIR template in the folder")
        return {}
    try:
        template = json.loads(path.read_text("utf-8"))
    except json.JSONDecodeError as problem:
        table.faults.append(Fault(f"{path}:{problem.lineno}", f"this is not JSON: {problem.msg}", "mend the syntax"))
        return {}
    except UnicodeDecodeError:
        table.faults.append(Fault(f"{path}:1", "the file is not UTF-8", "save it as UTF-8"))
        return {}
    if not isinstance(template, dict) or not isinstance(template.get("resourceType"), str):
        table.faults.append(Fault(f"{path}:1", "this is no FHIR resource", "write an object with resourceType"))
        return {}
    for slot in unknown_slots(template):
        line = path.read_text("utf-8").partition(slot)[0].count("\n") + 1
        table.faults.append(
            Fault(f"{path}:{line}", f"no code fills the slot {slot}", "use a slot of order_template.SLOTS")
        )
    return template


def _override_reasons(tables: list[Table], system: str, texts: Mapping[str, Texts]) -> tuple[OverrideReason, ...]:
    reasons: list[OverrideReason] = []
    for table in tables:
        code, key = table.text("code"), table.text("display")
        display = {}
        for language, read in texts.items():
            if key in read.sentences:
                display[language] = read.sentences[key]
            elif key and read.sentences:
                table.fault(("display",), f"texts.{language}.toml has no sentence '{key}'", "write it there")
        if code in {reason.code for reason in reasons}:
            table.fault(("code",), "two reasons have this code", "a code has one meaning, for ever")
        maps_to = table.choice("maps_to", NON_ADHERENCE_REASONS)
        reasons.append(OverrideReason(code, system, display, table.flag("alarm", False), maps_to))
    return tuple(reasons)


def _links(table: Table) -> tuple[Mapping[str, str], ...]:
    links = []
    for inner in table.tables("link", SERVICE_KEYS["card.link"]):
        url = inner.text("url")
        if url and not url.startswith("https://"):
            inner.fault(("url",), "a link is an absolute https address", "write https://…")
        if "{" in url:
            inner.fault(("url",), "a link carries nothing of the patient", "write a fixed address")
        links.append(
            {"label": inner.text("label"), "url": url, "type": inner.choice("type", {"absolute", "smart"}, "absolute")}
        )
    return tuple(links)
