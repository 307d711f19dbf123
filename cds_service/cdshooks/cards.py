"""A prediction, a rule or missing data becomes a card: fixed sentences, slots filled by code only.

What does not depend on the patient (source, topic, override reasons) is built and checked once per language; a
chart open pays for its sentences and its uuids.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cds_service.cdshooks.card_slots import SlotWriter
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
from cds_service.cdshooks.chart import Chart
from cds_service.cdshooks.client import Client
from cds_service.cdshooks.declaration import Rule, Service
from cds_service.cdshooks.declaration import Suggestion as DeclaredSuggestion
from cds_service.cdshooks.order_template import fill_template
from cds_service.model.bundle import Bundle
from cds_service.model.predict import Abstention, Prediction
from cds_service.texts import fill, joined, plain, reason_words, sentence, with_note

__all__ = ["CardWriter", "Chart"]

_BLANK_LINES = re.compile(r"\n{3,}")


@dataclass(frozen=True, slots=True)
class _Fixed:
    """The parts of a card that are the same for every patient."""

    source: Source
    reasons: tuple[OverrideReasonCoding, ...]
    links: tuple[Link, ...]
    slots: SlotWriter


class CardWriter:
    """Writes one service's cards in each of its languages."""

    def __init__(self, service: Service, bundle: Bundle, service_url: str | None) -> None:
        self._service = service
        self._fixed = {language: _fixed(service, bundle, language, service_url) for language in service.languages}
        points = list(bundle.operating_points)
        self._shown = frozenset(points[points.index(service.card.show_from) :])

    def is_shown(self, prediction: Prediction) -> bool:
        """Whether the operating point that was reached is one from which a card is shown."""
        return prediction.operating_point in self._shown

    def prediction(self, prediction: Prediction, chart: Chart, client: Client, language: str) -> Card:
        """The card of a prediction; a percentage only at the site's declared prevalence (design decision 7)."""
        service, texts = self._service, self._service.texts[language]
        writer = self._fixed[language].slots
        slots = writer.of_chart(chart, client.prevalence.get(service.id)) | writer.of_prediction(prediction)
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
        writer = self._fixed[language].slots
        slots = writer.of_chart(chart) | writer.of_rule(rule, chart)
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
        slots = self._fixed[language].slots.of_chart(chart)
        slots["reason"] = sentence(f"abstained_{abstention.reason}", language)
        summary = fill(texts["abstained_summary"], slots)
        about = [texts.features.get(name, name) for name in abstention.features]
        if about:
            slots["reason"] = with_note(slots["reason"], joined(about, language), language)
        return self._card(summary, fill(texts["abstained_detail"], slots), "info", language, ())

    def missing(self, keys: Sequence[str], states: Mapping[str, str], chart: Chart, language: str) -> Card:
        """The card that names what could not be had, since a 412 shows a clinician nothing (W-04)."""
        texts = self._service.texts[language]
        slots = self._fixed[language].slots.of_chart(chart)
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

    def _suggestions(self, chart: Chart, client: Client, language: str) -> tuple[Suggestion, ...]:
        return tuple(_suggestion(self._service, one, chart, client, language) for one in self._service.card.suggestions)


def _fixed(service: Service, bundle: Bundle, language: str, url: str | None) -> _Fixed:
    texts = service.texts[language]
    topic = Coding(service.card.topic_system, service.card.topic_code, texts["topic"])
    return _Fixed(
        Source(label=texts["source"], topic=topic, url=service.card.source_url or url),
        tuple(
            OverrideReasonCoding(reason.system, reason.code, reason.display[language])
            for reason in service.card.override_reasons
        ),
        tuple(Link(texts[link["label"]], link["url"], "absolute") for link in service.card.links),
        SlotWriter(
            bundle.features,
            bundle.manifest,
            texts,
            {spec.name: plain(texts.features.get(spec.name, spec.name)) for spec in bundle.features.features},
        ),
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
