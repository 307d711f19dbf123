"""What the slots of a card's sentences are filled with: values with their proof, gaps, what was set aside.

Everything here is made from fixed sentences, declared names and typed values; what came as text goes through ``plain``.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from cds_service.cdshooks.chart import Chart
from cds_service.cdshooks.client import SitePrevalence
from cds_service.cdshooks.declaration import Rule, Texts
from cds_service.cdshooks.text_slots import output_slot
from cds_service.clinical.feature_spec import FeatureSet
from cds_service.clinical.features import Feature
from cds_service.model.bundle import Manifest
from cds_service.model.predict import Prediction
from cds_service.texts import (
    day,
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

__all__ = ["SlotWriter"]

_ANOTHER = ("other_patient", "subject_unresolved")
_UNREADABLE = ("invalid_resource", "time_invalid", "time_missing", "time_ambiguous")
_NOT_HAD = ("absent", "failed", "refused")
_NOTED_REASONS = ("implausible", "text_value", "conflicting")


@dataclass(frozen=True, slots=True)
class SlotWriter:
    """Writes the slots of one service's sentences in one language."""

    features: FeatureSet
    manifest: Manifest
    texts: Texts
    names: Mapping[str, str]
    """Feature → its name as plain text."""

    def of_chart(self, chart: Chart, site: SitePrevalence | None = None) -> dict[str, str]:
        """The slots that every card has: what was used, what was not, and which model looked at it."""
        language = self.texts.language
        return {
            "months": str(chart.months),
            "values": self._values(chart),
            "missing": self._missing(chart),
            "set_aside": _set_aside(chart, self.texts),
            "model": self.manifest.model,
            "version": self.manifest.version,
            "population": self.manifest.population.get(language, ""),
            "site_calibration": _site_calibration(site, language),
        }

    def of_prediction(self, prediction: Prediction) -> dict[str, str]:
        """The model's probabilities as percentages, a slot for each output."""
        language = self.texts.language
        return {
            output_slot(output): percent(probability, language, bound)
            for output, (probability, bound) in prediction.display.items()
        }

    def of_rule(self, rule: Rule, chart: Chart) -> dict[str, str]:
        """The value that a rule speaks of: its number, unit, date and fasting state."""
        one = chart.features[rule.feature]
        return {
            "value": number(one.value or 0.0),
            "unit": unit_words(one.unit, self.texts.language),
            "date": _date(one, chart, self.texts.language),
            "fasting": self._fasting(rule, chart),
        }

    def _values(self, chart: Chart) -> str:
        """A table of the values used: name, value and unit, date, and the record that proves it."""
        language = self.texts.language
        rows = []
        for spec in self.features.inputs:
            feature = chart.features[spec.name]
            if feature.value is None:
                continue
            rows.append(
                f"| {self.names[spec.name]} | {_value(spec.origin, feature, language)} "
                f"| {_date(feature, chart, language) if feature.taken else '–'} "
                f"| {plain((feature.source or '–')[:80])} |"
            )
        if not rows:
            return sentence("none", language)
        head = " | ".join(sentence(f"column_{name}", language) for name in ("item", "value", "date", "record"))
        return f"\n\n| {head} |\n|---|---|---|---|\n" + "\n".join(rows)

    def _missing(self, chart: Chart) -> str:
        language, names = self.texts.language, self.texts.features
        parts = []
        for spec in self.features.inputs:
            feature = chart.features[spec.name]
            if feature.value is None:
                name = names.get(spec.name, spec.name)
                parts.append(with_note(name, reason_words(feature.reason or "absent", language), language))
        return joined(parts, language)

    def _fasting(self, rule: Rule, chart: Chart) -> str:
        language = self.texts.language
        for spec in self.features.features:
            if spec.origin == "fasting_state" and spec.fasting_of == rule.feature:
                state = chart.features[spec.name].value
                return sentence(
                    "fasting" if state == 1.0 else "casual" if state == 0.0 else "fasting_unknown", language
                )
        return sentence("fasting_unknown", language)


def _date(feature: Feature, chart: Chart, language: str) -> str:
    if feature.taken is None:
        return "–"
    taken = feature.taken
    if chart.zone is not None and "time_partial" not in feature.flags:
        taken = taken.astimezone(chart.zone)
    return day(taken.date(), language)


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


def _set_aside(chart: Chart, texts: Texts) -> str:
    """What was not used or not had and a clinician must know: another patient's, unreadable or undatable, newer."""
    language = texts.language
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
