"""A prediction, a rule or missing data becomes a card: fixed sentences, slots filled by code only.

What does not depend on the patient (source, topic, override reasons) is built and checked once per language; a
chart open pays for its sentences and its uuids.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any

from cds_service.cdshooks.card_text import markdown_text, shorten
from cds_service.cdshooks.card_texts import output_slot
from cds_service.cdshooks.cards_wire import (
    Action,
    Card,
    Coding,
    Indicator,
    Link,
    OverrideReasonCoding,
    Source,
    Suggestion,
    selection_behavior,
)
from cds_service.cdshooks.client import Client
from cds_service.cdshooks.declaration import Rule, Service
from cds_service.cdshooks.declaration import Suggestion as DeclaredSuggestion
from cds_service.clinical.facts import Facts
from cds_service.clinical.features import Feature
from cds_service.model.bundle import Bundle
from cds_service.model.predict import Prediction
from cds_service.texts import day, list_of, number, percent, sentence

__all__ = ["CardWriter", "Chart"]

_BLANK_LINES = re.compile(r"\n{3,}")
_FACTS_SET_ASIDE = ("other_patient", "subject_unresolved", "time_invalid", "invalid_resource")


@dataclass(frozen=True, slots=True)
class Chart:
    """What one call says about itself and its patient."""

    patient: str
    user: str
    encounter: str | None
    facts: Facts
    features: Mapping[str, Feature]
    months: int
    """Without the measurement that the card would order; see ``absence_window_months``."""
    now: datetime
    zone: tzinfo | None


@dataclass(frozen=True, slots=True)
class _Fixed:
    """The parts of a card that are the same for every patient."""

    source: Source
    reasons: tuple[OverrideReasonCoding, ...]
    links: tuple[Link, ...]


class CardWriter:
    """Writes one service's cards in each of its languages."""

    def __init__(self, service: Service, bundle: Bundle, service_url: str | None) -> None:
        self._service = service
        self._bundle = bundle
        self._fixed = {language: _fixed(service, language, service_url) for language in service.languages}
        points = list(bundle.operating_points)
        self._shown = frozenset(points[points.index(service.card.show_from) :])

    def is_shown(self, prediction: Prediction) -> bool:
        """Whether the operating point that was reached is one from which a card is shown."""
        return prediction.operating_point in self._shown

    def prediction(self, prediction: Prediction, chart: Chart, client: Client, language: str) -> Card:
        """The card of a prediction; a percentage only at the site's declared prevalence (design decision 7)."""
        service, texts = self._service, self._service.texts[language]
        slots = self._slots(chart, language, prediction)
        key = "summary" if prediction.at_site_prevalence else "summary_words"
        return self._card(
            texts[key].format_map(slots),
            texts["detail"].format_map(slots),
            service.card.indicator.get(prediction.operating_point or "", "info"),
            language,
            self._suggestions(chart, client, language),
        )

    def rule(self, rule: Rule, chart: Chart, client: Client, language: str) -> Card:
        """The card of a rule, in the rule's own words: the value, its unit and its date."""
        texts = self._service.texts[language]
        one = chart.features[rule.feature]
        slots = self._slots(chart, language, None)
        slots["value"] = number(one.value or 0.0, language)
        slots["unit"] = _unit(one.unit)
        slots["date"] = self._date(one, chart, language)
        return self._card(
            texts[f"rule_{rule.name}_summary"].format_map(slots),
            texts[f"rule_{rule.name}_detail"].format_map(slots),
            "info",
            language,
            self._suggestions(chart, client, language),
        )

    def missing(self, keys: Sequence[str], states: Mapping[str, str], chart: Chart, language: str) -> Card:
        """The card that names what could not be had, since a 412 shows a clinician nothing (W-04)."""
        texts = self._service.texts[language]
        slots = self._slots(chart, language, None)
        slots["missing"] = list_of([texts.data.get(key, key) for key in keys], language)
        slots["reason"] = list_of(sorted({sentence(f"key_{states[key]}", language) for key in keys}), language)
        return self._card(
            texts["missing_summary"].format_map(slots),
            texts["missing_detail"].format_map(slots),
            "info",
            language,
            (),
        )

    def _card(
        self, summary: str, detail: str, indicator: Indicator, language: str, suggestions: tuple[Suggestion, ...]
    ) -> Card:
        fixed = self._fixed[language]
        return Card(
            summary=shorten(summary),
            indicator=indicator,
            source=fixed.source,
            detail=_BLANK_LINES.sub("\n\n", detail).strip(),
            suggestions=suggestions,
            selection_behavior=selection_behavior(len(suggestions)),
            override_reasons=fixed.reasons,
            links=fixed.links,
        )

    def _slots(self, chart: Chart, language: str, prediction: Prediction | None) -> dict[str, str]:
        bundle = self._bundle
        slots = {
            "months": str(chart.months),
            "values": self._values(chart, language),
            "missing": self._missing(chart, language),
            "set_aside": _set_aside(chart, language),
            "model": bundle.manifest.model,
            "version": bundle.manifest.version,
            "population": bundle.manifest.population.get(language, ""),
            "site_calibration": sentence("calibration_undeclared", language),
        }
        if prediction is not None:
            if prediction.at_site_prevalence:
                slots["site_calibration"] = sentence("calibration_declared", language)
            for output, (probability, bound) in prediction.display.items():
                slots[output_slot(output)] = percent(probability, language, bound)
        return slots

    def _values(self, chart: Chart, language: str) -> str:
        """A table of the values used: name, value and unit, date, and the record that proves it."""
        names = self._service.texts[language].features
        rows = []
        for spec in self._bundle.features.inputs:
            feature = chart.features[spec.name]
            if feature.value is None:
                continue
            rows.append(
                f"| {markdown_text(names.get(spec.name, spec.name))} | {_value(spec.origin, feature, language)} "
                f"| {self._date(feature, chart, language) if feature.taken else '–'} "
                f"| {markdown_text((feature.source or '–')[:80])} |"
            )
        if not rows:
            return sentence("none", language)
        head = " | ".join(sentence(f"column_{name}", language) for name in ("item", "value", "date", "record"))
        return f"\n\n| {head} |\n|---|---|---|---|\n" + "\n".join(rows)

    def _missing(self, chart: Chart, language: str) -> str:
        names = self._service.texts[language].features
        parts = []
        for spec in self._bundle.features.inputs:
            feature = chart.features[spec.name]
            if feature.value is None:
                reason = sentence(f"missing_{feature.reason}", language)
                parts.append(sentence("named_reason", language, name=names.get(spec.name, spec.name), reason=reason))
        return list_of(parts, language) if parts else sentence("none", language)

    def _date(self, feature: Feature, chart: Chart, language: str) -> str:
        if feature.taken is None:
            return "–"
        taken = feature.taken
        if chart.zone is not None and "time_partial" not in feature.flags:
            taken = taken.astimezone(chart.zone)
        return day(taken.date(), language)

    def _suggestions(self, chart: Chart, client: Client, language: str) -> tuple[Suggestion, ...]:
        return tuple(_suggestion(self._service, one, chart, client, language) for one in self._service.card.suggestions)


def _fixed(service: Service, language: str, url: str | None) -> _Fixed:
    texts = service.texts[language]
    topic = Coding(service.card.topic_system, service.card.topic_code, texts["topic"])
    return _Fixed(
        Source(label=texts["source"], topic=topic, url=service.card.source_url or url),
        tuple(
            OverrideReasonCoding(reason.system, reason.code, reason.display[language])
            for reason in service.card.override_reasons
        ),
        tuple(Link(texts[link["label"]], link["url"], "absolute") for link in service.card.links),
    )


def _suggestion(
    service: Service, declared: DeclaredSuggestion, chart: Chart, client: Client, language: str
) -> Suggestion:
    """A button; it drafts the order only where the EHR's own code for it is known (``[client.orders]``)."""
    texts = service.texts[language]
    label = texts[declared.label]
    order = client.orders.get(declared.order) if declared.order is not None else None
    if declared.order is not None and order is None:
        return Suggestion(label=label)
    slots: dict[str, Any] = {
        "patient": f"Patient/{chart.patient}",
        "encounter": f"Encounter/{chart.encounter}" if chart.encounter else None,
        "requester": chart.user or None,
        "authored_on": chart.now.isoformat(timespec="seconds"),
        "reason": texts.sentences.get(f"{declared.label}_reason"),
        "order_coding": {"system": order.system, "code": order.code} if order is not None else None,
    }
    resource = _filled(declared.resource, slots)
    return Suggestion(label=label, actions=(Action("create", label, resource),))


def _filled(value: Any, slots: Mapping[str, Any]) -> Any:
    """Fill a template's slots; what has no value is left out together with the object that only held it."""
    if isinstance(value, str):
        return slots.get(value[1:-1]) if value[:1] == "{" and value[-1:] == "}" else value
    if isinstance(value, Mapping):
        return {key: filled for key, inner in value.items() if (filled := _filled(inner, slots))} or None
    if isinstance(value, Sequence):
        return [filled for inner in value if (filled := _filled(inner, slots))] or None
    return value


def _value(origin: str, feature: Feature, language: str) -> str:
    value = feature.value or 0.0
    if origin == "patient.sex":
        return sentence("male" if value == 1.0 else "female", language)
    if origin == "fasting_state":
        return sentence("fasting" if value == 1.0 else "casual", language)
    if origin == "patient.age":
        return sentence("years", language, number=number(value, language))
    text = f"{number(value, language)} {_unit(feature.unit)}".strip()
    if feature.newer_unusable is not None:
        note = sentence(f"newer_{feature.newer_unusable}", language)
        return f"{text} ({note})" if language == "en" else f"{text}（{note}）"
    return text


_UNITS_AS_READ = {"mm[Hg]": "mmHg", "kg/m2": "kg/m²", "1": ""}


def _unit(unit: str) -> str:
    return markdown_text(_UNITS_AS_READ.get(unit, unit))


def _set_aside(chart: Chart, language: str) -> str:
    """What a clinician must know was not used: results of another or unknown patient, undatable or broken ones."""
    found = [reason for reason in _FACTS_SET_ASIDE if chart.facts.set_aside.get(reason)]
    if any(feature.reason == "implausible" for feature in chart.features.values()):
        found.append("implausible")
    if any(feature.reason == "text_value" for feature in chart.features.values()):
        found.append("text_value")
    return "\n\n".join(dict.fromkeys(sentence(f"set_aside_{reason}", language) for reason in found))
