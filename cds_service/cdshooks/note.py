"""What one hook call tells the log: typed fields, a pseudonym, reasons; no text from the chart."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

from cds_service.cdshooks.cards_wire import Card
from cds_service.cdshooks.client import Client
from cds_service.cdshooks.declaration import Language, Rule
from cds_service.cdshooks.eligibility import Withheld
from cds_service.cdshooks.prefetch import Prefetch
from cds_service.cdshooks.wire import CDSRequest
from cds_service.clinical.facts import Facts
from cds_service.clinical.features import Feature
from cds_service.events.ids import new_id
from cds_service.events.schema import PredictionMade, PredictionWithheld, Reported, RuleFired
from cds_service.model.predict import Prediction
from cds_service.model.runtime import Model

__all__ = ["Note"]

_ANNOTATION = re.compile(r"\{[^{}]*\}")
"""What UCUM lets anybody write into a unit, and what therefore never leaves the chart (SEC-080)."""
_UNIT_LENGTH = 24


@dataclass(frozen=True, slots=True)
class Note:
    """Writes the event of one call."""

    request: CDSRequest
    service: str
    model: Model
    client: Client
    language: str
    pseudonym: str
    now: datetime
    prefetch: Prefetch
    facts: Facts
    features: Mapping[str, Feature]
    took_ms: Callable[[], float]

    def made(self, prediction: Prediction, card: Card) -> PredictionMade:
        """The model spoke and its card is shown."""
        return PredictionMade(**self._asked(prediction, card))

    def withheld(
        self, withheld: Withheld, *, prediction: Prediction | None = None, card: Card | None = None
    ) -> PredictionWithheld:
        """The model did not speak, or was not heard; *card* is one that says so."""
        detail = withheld.detail.replace("-", "_") if withheld.detail is not None else None
        return PredictionWithheld(**self._asked(prediction, card), reason=withheld.reason, detail=detail)

    def rule_fired(self, rule: Rule, card: Card) -> RuleFired:
        """A rule spoke; counted apart from the model."""
        one = self.features[rule.feature]
        return RuleFired(
            **self._who(card),
            rule=rule.name,
            feature=rule.feature,
            value=one.value or 0.0,
            flags=one.flags,
            took_ms=self.took_ms(),
        )

    def _who(self, card: Card | None) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "id": new_id(self.now),
            "at": self.now,
            "tenant": self.client.tenant,
            "client": self.client.name,
            "service": self.service,
            "hook": self.request.hook,
            "invocation": self.request.hook_instance,
            "patient": self.pseudonym,
            "language": cast("Language", self.language),
        }
        if card is not None:
            fields["card"] = card.uuid
            fields["suggestions"] = tuple(suggestion.uuid for suggestion in card.suggestions)
        return fields

    def _asked(self, prediction: Prediction | None, card: Card | None) -> dict[str, Any]:
        fields = self._who(card)
        values: dict[str, float | None] = {}
        missing: dict[str, str] = {}
        reported: dict[str, Reported] = {}
        for spec in self.model.features.inputs:
            feature = self.features[spec.name]
            values[spec.name] = feature.value
            if feature.reason is not None:
                missing[spec.name] = feature.reason
            elif feature.reported is not None and "unit_from_text" not in feature.flags:
                value, unit = feature.reported
                reported[spec.name] = Reported(value, _ANNOTATION.sub("", unit)[:_UNIT_LENGTH] or "1")
        fields |= {
            "model": self.model.name,
            "version": self.model.version,
            "features": values,
            "missing": missing,
            "reported": reported,
            "flags": self._flags(),
            "set_aside": dict(self.facts.set_aside),
            "prefetch": {**self.prefetch.states, **dict.fromkeys(self.prefetch.fetched, "fetched")},
            "took_ms": self.took_ms(),
        }
        if prediction is not None:
            fields["scores"] = prediction.probabilities
            fields["operating_point"] = prediction.operating_point
        return fields

    def _flags(self) -> tuple[str, ...]:
        flags = {flag for feature in self.features.values() for flag in feature.flags}
        if self.prefetch.unknown_keys:
            flags.add("unknown_key")
        return tuple(sorted(flags.union(self.request.quirks)))
