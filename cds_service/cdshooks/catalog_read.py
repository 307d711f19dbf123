"""One folder of ``hooks/`` → one :class:`Service`, or every fault of it with file and line."""

import re
from pathlib import Path
from typing import Literal, cast

from cds_service.cdshooks.catalog_card import read_card
from cds_service.cdshooks.catalog_codes import read_codes_file, read_state_file
from cds_service.cdshooks.catalog_keys import ABSTENTIONS, ENCOUNTER_CLASSES, LANGUAGES, SERVICE_KEYS, VIEWERS
from cds_service.cdshooks.catalog_table import Table
from cds_service.cdshooks.catalog_texts import check_slots, read_texts
from cds_service.cdshooks.catalog_toml import Document, read_document
from cds_service.cdshooks.declaration import NoRecent, Outcome, Owner, PrefetchKey, Repeat, Rule, Service, When
from cds_service.cdshooks.hook_specs import CUSTOM_HOOK, HOOKS
from cds_service.cdshooks.prefetch_lint import lint_order, lint_query
from cds_service.cdshooks.text_slots import card_texts
from cds_service.clinical.codes import CodeSet
from cds_service.errors import DeclarationError, Fault

__all__ = ["read_service"]

_ID = r"[a-z0-9-]{1,64}"
_KEY_NAME = r"[A-Za-z][A-Za-z0-9_-]{0,63}"
_RULE_NAME = r"[a-z][a-z0-9_]{0,63}"


def read_service(folder: Path) -> tuple[Service, Document]:
    """Read one service folder.

    Args:
        folder: ``hooks/<service-id>/`` with ``service.toml``, ``texts.*.toml``, ``codes/`` and templates.

    Raises:
        DeclarationError: Anything in it is wrong; all faults at once, each with file and line.
    """
    document = read_document(folder / "service.toml")
    faults: list[Fault] = []
    top = Table(document, (), faults, SERVICE_KEYS[""])
    languages = top.texts("languages", ("en",))
    for language in languages:
        if language not in LANGUAGES:
            top.fault(("languages",), f"the language '{language}' is not spoken", f"use {', '.join(sorted(LANGUAGES))}")
    spoken = tuple(language for language in languages if language in LANGUAGES)
    texts = {language: read_texts(folder, language, faults) for language in spoken}
    hook = _hook(top)
    prefetch = _prefetch(top, hook)
    holdout, audit = _evaluation(top)
    service = Service(
        id=_matching(top, "id", folder.name, _ID, "lower-case letters, digits and hyphens, at most 64"),
        hook=hook,
        title=top.text("title"),
        description=top.text("description"),
        usage_requirements=top.text("usage_requirements", ""),
        model=top.text("model"),
        prefetch=prefetch,
        card=read_card(top, folder, {language: read for language, (read, _) in texts.items()}),
        texts={language: read for language, (read, _) in texts.items()},
        languages=spoken,
        on_missing=cast("Literal['412', 'card']", top.choice("on_missing", {"412", "card"}, "412")),
        on_abstain=_on_abstain(top),
        viewers=_viewers(top),
        when=_when(top, folder, prefetch),
        rules=_rules(top),
        repeat=_repeat(top),
        owner=_owner(top),
        outcome=_outcome(top),
        holdout=holdout,
        audit=audit,
        topic_display={
            language: read.sentences["topic"] for language, (read, _) in texts.items() if "topic" in read.sentences
        },
        folder=str(folder),
    )
    if service.card.show_from:  # a card that could be read: its labels decide which sentences are needed
        for read, text_document in texts.values():
            if text_document is not None:
                check_slots(read, text_document, card_texts(service), faults)
    if faults:
        raise DeclarationError(*faults)
    return service, document


def _matching(table: Table, key: str, default: str, pattern: str, words: str) -> str:
    value = table.text(key, default)
    if not re.fullmatch(pattern, value):
        table.fault((key,), f"'{value}' is not a good {key}", f"use {words}")
    return value


def _hook(top: Table) -> str:
    hook = top.text("hook")
    if hook and hook not in HOOKS and not CUSTOM_HOOK.fullmatch(hook):
        top.fault(
            ("hook",),
            f"'{hook}' is no published hook, and a hook of our own has a dotted name",
            f"use org.example.noun-verb, or one of: {', '.join(HOOKS)}",
        )
    return hook


def _on_abstain(top: Table) -> tuple[str, ...]:
    reasons = top.texts("on_abstain", ())
    for reason in reasons:
        if reason not in ABSTENTIONS:
            top.fault(("on_abstain",), f"no model abstains for '{reason}'", f"use {', '.join(sorted(ABSTENTIONS))}")
    return reasons


def _viewers(top: Table) -> tuple[str, ...]:
    viewers = top.texts("viewers", ("Practitioner", "PractitionerRole"))
    for viewer in viewers:
        if viewer not in VIEWERS:
            top.fault(("viewers",), f"'{viewer}' never opens a chart", f"use {', '.join(sorted(VIEWERS))}")
    return viewers


def _prefetch(top: Table, hook: str) -> tuple[PrefetchKey, ...]:
    section = top.table("prefetch", None)
    if section is None:
        return ()
    keys = []
    for name in section.data:
        table = section.table(name, SERVICE_KEYS["prefetch.NAME"])
        if table is None:  # pragma: no cover - the name comes from the table itself
            continue
        if not re.fullmatch(_KEY_NAME, name):
            table.fault((), "a prefetch key is a letter, then letters, digits, _ and -", "rename it")
        key = PrefetchKey(
            name,
            table.text("query"),
            table.flag("required", False),
            cast("Literal['abstain', 'omit']", table.choice("on_failure", {"abstain", "omit"}, "abstain")),
        )
        if key.required and table.has("on_failure"):
            table.fault(("on_failure",), "a required key never asks for on_failure", "remove one of the two")
        for remark in lint_query(key.query, hook, required=key.required) if key.query else ():
            if remark.level == "error":
                table.fault(("query",), remark.what, remark.do)
        keys.append(key)
    for name, remarks in lint_order({key.name: key.query for key in keys}).items():
        for remark in remarks:
            section.fault((name, "query"), remark.what, remark.do)
    return tuple(keys)


def _when(top: Table, folder: Path, prefetch: tuple[PrefetchKey, ...]) -> When:
    table = top.table("when", SERVICE_KEYS["when"])
    if table is None:
        return When()
    ages = table.table("age_years", SERVICE_KEYS["when.age_years"])
    age_years = None if ages is None else (ages.integer("from"), ages.integer("to"))
    if ages is not None and age_years is not None and age_years[0] > age_years[1]:
        ages.fault(("to",), "no age lies in this range", "write the lower age as 'from'")
    encounter = table.texts("encounter", ())
    for code in encounter:
        if code not in ENCOUNTER_CLASSES:
            table.fault(
                ("encounter",), f"'{code}' is no encounter class", f"use {', '.join(sorted(ENCOUNTER_CLASSES))}"
            )
    return When(
        age_years=age_years,
        encounter=encounter,
        no_condition=_codes(table, "no_condition", folder),
        no_medication=_codes(table, "no_medication", folder),
        not_state=tuple(
            read_state_file(name, path, table.faults)
            for name in table.texts("not_state", ())
            if (path := _file(table, "not_state", folder, f"codes/{name}.toml"))
        ),
        no_recent=_no_recent(table, prefetch),
        require_any=table.texts("require_any", ()),
    )


def _codes(table: Table, key: str, folder: Path) -> CodeSet | None:
    if not table.has(key):
        return None
    path = _file(table, key, folder, table.text(key))
    return CodeSet() if path is None else read_codes_file(path, table.faults)


def _file(table: Table, key: str, folder: Path, name: str) -> Path | None:
    path = folder / name
    if not name or Path(name).is_absolute() or ".." in Path(name).parts or not path.is_file():
        table.fault((key,), f"there is no file '{name}' in this folder", "name a file inside the service folder")
        return None
    return path


def _no_recent(table: Table, prefetch: tuple[PrefetchKey, ...]) -> NoRecent | None:
    inner = table.table("no_recent", SERVICE_KEYS["when.no_recent"])
    if inner is None:
        return None
    feature = inner.text("feature")
    key = inner.text("key", feature) if feature else ""
    if key and key not in {found.name for found in prefetch}:
        inner.fault(
            ("key",),
            f"no prefetch key '{key}' can prove that there is no recent {feature}",
            f"declare [prefetch.{feature}] with every code of the feature, or name its key here",
        )
    raised = inner.integer("months_if_previously_raised", least=1) if inner.has("months_if_previously_raised") else None
    return NoRecent(feature, inner.integer("months", least=1), raised, key)


def _rules(top: Table) -> tuple[Rule, ...]:
    rules = []
    for table in top.tables("rule", SERVICE_KEYS["rule"]):
        name = _matching(table, "name", "", _RULE_NAME, "a lower-case letter, then letters, digits and _")
        condition = table.table("if", SERVICE_KEYS["rule.if"], required=True)
        if condition is None:
            continue
        fasting = condition.number("or_fasting_at_least") if condition.has("or_fasting_at_least") else None
        rules.append(
            Rule(name, condition.text("feature"), condition.number("at_least"), fasting, condition.text("unit"))
        )
        if name in {rule.name for rule in rules[:-1]}:
            table.fault(("name",), "two rules have this name", "rename one: events count by name")
    return tuple(rules)


def _repeat(top: Table) -> Repeat:
    table = top.table("repeat", SERVICE_KEYS["repeat"])
    if table is None:
        return Repeat()
    return Repeat(
        table.integer("after_override_days", 0),
        table.integer("after_accept_days", 0),
        table.integer("at_most_per_patient_year", least=1) if table.has("at_most_per_patient_year") else None,
        table.number("cards_per_100_opens_max", least=0) if table.has("cards_per_100_opens_max") else None,
    )


def _owner(top: Table) -> Owner:
    table = top.table("owner", SERVICE_KEYS["owner"])
    return (
        Owner()
        if table is None
        else Owner(table.text("clinical", ""), table.day("review_by"), table.text("stop_if", ""))
    )


def _outcome(top: Table) -> Outcome | None:
    table = top.table("outcome", SERVICE_KEYS["outcome"])
    if table is None:
        return None
    within = table.integer("within_days", least=1)
    return Outcome(
        table.text("feature"), table.numbers("at_least"), within, table.integer("maturity_days", within, least=1)
    )


def _evaluation(top: Table) -> tuple[float, float]:
    """Holding back a card, or asking below the threshold, is research on patients: a committee allows it first."""
    table = top.table("evaluation", SERVICE_KEYS["evaluation"])
    if table is None:
        return 0.0, 0.0
    shares = {key: table.number(key, 0.0, least=0) for key in ("holdout", "audit")}
    for key, share in shares.items():
        if share >= 1:
            table.fault((key,), "this share of patients is not below 1", "write a share, as in 0.10")
        if share > 0 and not table.text("ethics", ""):
            table.fault((key,), "this needs an ethics reference", 'write ethics = "committee, number, date"')
    if shares["audit"]:
        table.fault(("audit",), "this release can't ask for audit tests", "leave audit out")
    return shares["holdout"], shares["audit"]
