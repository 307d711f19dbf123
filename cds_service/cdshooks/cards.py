"""A prediction, a rule or missing data becomes a card: fixed sentences, slots filled by code only.

What does not depend on the patient (source, topic, override reasons) is built and checked once per language; a
chart open pays for its sentences and its uuids.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, tzinfo
from typing import Any

from cds_service.cdshooks.card_text import shorten
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
from cds_service.cdshooks.client import Client, SitePrevalence
from cds_service.cdshooks.declaration import Rule, Service, Texts
from cds_service.cdshooks.declaration import Suggestion as DeclaredSuggestion
from cds_service.cdshooks.order_template import fill_template
from cds_service.cdshooks.text_slots import output_slot
from cds_service.clinical.facts import Facts
from cds_service.clinical.feature_spec import FeatureSet
from cds_service.clinical.features import Feature
from cds_service.model.bundle import Bundle
from cds_service.model.predict import Abstention, Prediction
from cds_service.texts import (
    day,
    fill,
    joined,
    number,
    percent,
    plain,
    quantity,
    reason_words,
    sentence,
    unit_words,
    with_note,
)

__all__ = ["CardWriter", "Chart"]

_BLANK_LINES = re.compile(r"\n{3,}")
_ANOTHER = ("other_patient", "subject_unresolved")
_UNREADABLE = ("invalid_resource", "time_invalid", "time_missing", "time_ambiguous")
_NOT_HAD = ("absent", "failed", "refused")
_NOTED_REASONS = ("implausible", "text_value", "conflicting")


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
    states: Mapping[str, str] = field(default_factory=dict)
    """Prefetch key → how it was answered, so that the card says what it went on without."""


@dataclass(frozen=True, slots=True)
class _Fixed:
    """The parts of a card that are the same for every patient."""

    source: Source
    reasons: tuple[OverrideReasonCoding, ...]
    links: tuple[Link, ...]
    names: Mapping[str, str]
    """Feature → its name as plain text."""


class CardWriter:
    """Writes one service's cards in each of its languages."""

    def __init__(self, service: Service, bundle: Bundle, service_url: str | None) -> None:
        self._service = service
        self._bundle = bundle
        self._fixed = {
            language: _fixed(service, bundle.features, language, service_url) for language in service.languages
        }
        points = list(bundle.operating_points)
        self._shown = frozenset(points[points.index(service.card.show_from) :])

    def is_shown(self, prediction: Prediction) -> bool:
        """Whether the operating point that was reached is one from which a card is shown."""
        return prediction.operating_point in self._shown

    def prediction(self, prediction: Prediction, chart: Chart, client: Client, language: str) -> Card:
        """The card of a prediction; a percentage only at the site's declared prevalence (design decision 7)."""
        service, texts = self._service, self._service.texts[language]
        slots = self._slots(chart, language, prediction, client.prevalence.get(service.id))
        key = "summary" if prediction.at_site_prevalence else "summary_words"
        return self._card(
            fill(texts[key], slots),
            fill(texts["detail"], slots),
            service.card.indicator.get(prediction.operating_point or "", "info"),
            language,
            self._suggestions(chart, client, language),
            cds_hooks_1=client.cds_hooks_1,
        )

    def rule(self, rule: Rule, chart: Chart, client: Client, language: str) -> Card:
        """The card of a rule, in the rule's own words: the value, its unit and its date."""
        texts = self._service.texts[language]
        one = chart.features[rule.feature]
        slots = self._slots(chart, language, None)
        slots["value"] = number(one.value or 0.0)
        slots["unit"] = unit_words(one.unit, language)
        slots["date"] = self._date(one, chart, language)
        slots["fasting"] = self._fasting(rule, chart, language)
        return self._card(
            fill(texts[f"rule_{rule.name}_summary"], slots),
            fill(texts[f"rule_{rule.name}_detail"], slots),
            "info",
            language,
            self._suggestions(chart, client, language),
            cds_hooks_1=client.cds_hooks_1,
        )

    def abstention(self, abstention: Abstention, chart: Chart, language: str) -> Card:
        """The card that says why the model gives no figure, and which values it is about; no suggestion."""
        texts = self._service.texts[language]
        slots = self._slots(chart, language, None)
        slots["reason"] = sentence(f"abstained_{abstention.reason}", language)
        summary = fill(texts["abstained_summary"], slots)
        about = [texts.features.get(name, name) for name in abstention.features]
        if about:
            slots["reason"] = with_note(slots["reason"], joined(about, language), language)
        return self._card(summary, fill(texts["abstained_detail"], slots), "info", language, ())

    def missing(self, keys: Sequence[str], states: Mapping[str, str], chart: Chart, language: str) -> Card:
        """The card that names what could not be had, since a 412 shows a clinician nothing (W-04)."""
        texts = self._service.texts[language]
        slots = self._slots(chart, language, None)
        slots["missing"] = joined([texts.data.get(key, key) for key in keys], language)
        slots["reason"] = joined(
            sorted({reason_words("key_absent" if states[key] == "absent" else "key_failed", language) for key in keys}),
            language,
        )
        return self._card(
            fill(texts["missing_summary"], slots),
            fill(texts["missing_detail"], slots),
            "info",
            language,
            (),
        )

    def _card(
        self,
        summary: str,
        detail: str,
        indicator: Indicator,
        language: str,
        suggestions: tuple[Suggestion, ...],
        *,
        cds_hooks_1: bool = False,
    ) -> Card:
        fixed = self._fixed[language]
        return Card(
            summary=shorten(summary),
            indicator=indicator,
            source=fixed.source,
            detail=_BLANK_LINES.sub("\n\n", detail).strip(),
            suggestions=suggestions,
            selection_behavior=selection_behavior(len(suggestions), cds_hooks_1=cds_hooks_1),
            override_reasons=fixed.reasons,
            links=fixed.links,
        )

    def _slots(
        self, chart: Chart, language: str, prediction: Prediction | None, site: SitePrevalence | None = None
    ) -> dict[str, str]:
        bundle = self._bundle
        slots = {
            "months": str(chart.months),
            "values": self._values(chart, language),
            "missing": self._missing(chart, language),
            "set_aside": _set_aside(chart, language, self._service.texts[language]),
            "model": bundle.manifest.model,
            "version": bundle.manifest.version,
            "population": bundle.manifest.population.get(language, ""),
            "site_calibration": _site_calibration(site, language),
        }
        if prediction is not None:
            for output, (probability, bound) in prediction.display.items():
                slots[output_slot(output)] = percent(probability, language, bound)
        return slots

    def _values(self, chart: Chart, language: str) -> str:
        """A table of the values used: name, value and unit, date, and the record that proves it."""
        names = self._fixed[language].names
        rows = []
        for spec in self._bundle.features.inputs:
            feature = chart.features[spec.name]
            if feature.value is None:
                continue
            rows.append(
                f"| {names[spec.name]} | {_value(spec.origin, feature, language)} "
                f"| {self._date(feature, chart, language) if feature.taken else '–'} "
                f"| {plain((feature.source or '–')[:80])} |"
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
                name = names.get(spec.name, spec.name)
                parts.append(with_note(name, reason_words(feature.reason or "absent", language), language))
        return joined(parts, language)

    def _fasting(self, rule: Rule, chart: Chart, language: str) -> str:
        for spec in self._bundle.features.features:
            if spec.origin == "fasting_state" and spec.fasting_of == rule.feature:
                state = chart.features[spec.name].value
                return sentence(
                    "fasting" if state == 1.0 else "casual" if state == 0.0 else "fasting_unknown", language
                )
        return sentence("fasting_unknown", language)

    def _date(self, feature: Feature, chart: Chart, language: str) -> str:
        if feature.taken is None:
            return "–"
        taken = feature.taken
        if chart.zone is not None and "time_partial" not in feature.flags:
            taken = taken.astimezone(chart.zone)
        return day(taken.date(), language)

    def _suggestions(self, chart: Chart, client: Client, language: str) -> tuple[Suggestion, ...]:
        return tuple(_suggestion(self._service, one, chart, client, language) for one in self._service.card.suggestions)


def _fixed(service: Service, features: FeatureSet, language: str, url: str | None) -> _Fixed:
    texts = service.texts[language]
    topic = Coding(service.card.topic_system, service.card.topic_code, texts["topic"])
    return _Fixed(
        Source(label=texts["source"], topic=topic, url=service.card.source_url or url),
        tuple(
            OverrideReasonCoding(reason.system, reason.code, reason.display[language])
            for reason in service.card.override_reasons
        ),
        tuple(Link(texts[link["label"]], link["url"], "absolute") for link in service.card.links),
        {spec.name: plain(texts.features.get(spec.name, spec.name)) for spec in features.features},
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
        "{patient}": f"Patient/{chart.patient}",
        "{encounter}": f"Encounter/{chart.encounter}" if chart.encounter else None,
        "{requester}": chart.user or None,
        "{authored_on}": chart.now.isoformat(timespec="seconds"),
        "{reason}": texts.sentences.get(f"{declared.label}_reason"),
        "{order_coding}": {"system": order.system, "code": order.code} if order is not None else None,
    }
    return Suggestion(label=label, actions=(Action("create", label, fill_template(declared.resource, slots)),))


def _value(origin: str, feature: Feature, language: str) -> str:
    value = feature.value or 0.0
    if origin == "patient.sex":
        return sentence("male" if value == 1.0 else "female", language)
    if origin == "fasting_state":
        return sentence("fasting" if value == 1.0 else "casual", language)
    return quantity(value, feature.unit, language)


def _site_calibration(site: SitePrevalence | None, language: str) -> str:
    if site is None:
        return sentence("site_calibration_none", language)
    shares = joined([percent(share, language) for share in site.by_output.values()], language)
    return sentence("site_calibration", language, prevalence=shares, source=plain(site.source), date=plain(site.since))


def _set_aside(chart: Chart, language: str, texts: Texts) -> str:
    """What was not used or not had and a clinician must know: another patient's, unreadable or undatable, newer."""
    aside, names = chart.facts.set_aside, texts.features
    notes: list[str] = []
    for note, unlike in (("note_not_available", _NOT_HAD), ("note_maybe_incomplete", ("incomplete",))):
        keys = [texts.data.get(key, key) for key, state in chart.states.items() if state in unlike]
        if keys:
            notes.append(sentence(note, language, data=joined(keys, language)))
    if any(aside.get(reason) for reason in _ANOTHER):
        notes.append(sentence("note_other_patient", language))
    unreadable = sum(aside.get(reason, 0) for reason in _UNREADABLE)
    if unreadable:
        notes.append(sentence("note_unreadable", language, count=str(unreadable)))
    for name, feature in chart.features.items():
        words = names.get(name, name)
        if feature.newer_unusable in ("time_invalid", "time_missing", "time_ambiguous"):
            notes.append(sentence("note_newer_undated", language, feature=words))
        elif feature.newer_unusable is not None:
            reason = reason_words(feature.newer_unusable, language)
            notes.append(sentence("note_newer_unusable", language, feature=words, reason=reason))
        if feature.reason in _NOTED_REASONS:
            notes.append(sentence(f"note_{feature.reason}", language, feature=words))
        if "unit_from_text" in feature.flags:
            notes.append(sentence("note_unit_from_text", language, feature=words))
    return ("" if language == "ja" else " ").join(notes)
