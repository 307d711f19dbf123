"""Which sentences a service must write, and which slots each may have: the contract between texts and ``card_slots.py``.

A slot is filled by code only. ``check`` refuses a sentence that lacks a slot it needs, or has one that no code fills,
and measures each summary with the longest value that every slot can take.
"""

import json
import re
import string
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date

from cds_service.cdshooks.declaration import Service
from cds_service.texts import LANGUAGES, SENTENCES, day, percent

__all__ = ["SUMMARY_LIMIT", "CardText", "card_texts", "longest", "output_slot", "slots_in"]

SUMMARY_LIMIT = 140
"""A summary has fewer characters than this (CH-170)."""

_PROBABILITY = re.compile(r"p\d+|p_[a-z0-9_]+")
_LONGEST_DATE = date(2026, 12, 28)
_ALWAYS = frozenset({"values", "missing", "set_aside", "model", "version", "months"})
_MODEL = frozenset({"site_calibration", "population"})


@dataclass(frozen=True, slots=True)
class CardText:
    """One sentence of ``texts.<language>.toml``."""

    needs: frozenset[str]
    """Slots without which the sentence would hide what a clinician must know."""
    may: frozenset[str]
    """All slots that the code fills here."""
    summary: bool = False
    probabilities: bool = False
    """Whether the model's outputs are slots here too (:func:`output_slot`)."""

    def fills(self, slot: str, outputs: tuple[str, ...] | None = None) -> bool:
        """Whether code fills this slot here; with *outputs* None any output's slot is taken for one."""
        if slot in self.may:
            return True
        if not self.probabilities:
            return False
        return _PROBABILITY.fullmatch(slot) is not None if outputs is None else slot in map(output_slot, outputs)


def output_slot(output: str) -> str:
    """The slot of one output of the model: ``ge65`` → ``p65``, ``malignant`` → ``p_malignant``.

    >>> output_slot("ge65"), output_slot("malignant")
    ('p65', 'p_malignant')
    """
    return f"p{output.removeprefix('ge')}" if output.removeprefix("ge").isdigit() else f"p_{output}"


def card_texts(service: Service) -> dict[str, CardText]:
    """The sentences that this service needs in each of its languages, by key."""
    measured = frozenset({"value", "unit", "date", "fasting"})
    none: frozenset[str] = frozenset()
    texts = {
        "summary": CardText(none, frozenset({"months"}), summary=True, probabilities=True),
        "summary_words": CardText(none, frozenset({"months"}), summary=True),
        "detail": CardText(
            frozenset({"values", "missing", "set_aside", "model", "version", "site_calibration"}),
            _ALWAYS | _MODEL,
            probabilities=True,
        ),
        "missing_summary": CardText(frozenset({"missing"}), frozenset({"missing", "months"}), summary=True),
        "missing_detail": CardText(frozenset({"missing"}), _ALWAYS | {"reason"}),
        "source": CardText(none, none),
        "topic": CardText(none, none),
    }
    if service.on_abstain:
        texts["abstained_summary"] = CardText(none, frozenset({"reason", "months"}), summary=True)
        texts["abstained_detail"] = CardText(
            frozenset({"reason", "values", "missing", "set_aside", "model", "version"}), _ALWAYS | _MODEL | {"reason"}
        )
    for rule in service.rules:
        texts[f"rule_{rule.name}_summary"] = CardText(
            frozenset({"value", "unit", "date"}), measured | {"months"}, summary=True
        )
        texts[f"rule_{rule.name}_detail"] = CardText(
            frozenset({"value", "unit", "date", "set_aside"}), measured | (_ALWAYS - {"values"})
        )
    for suggestion in service.card.suggestions:
        texts[suggestion.label] = CardText(none, none)
        if "{reason}" in json.dumps(dict(suggestion.resource)):
            texts[f"{suggestion.label}_reason"] = CardText(none, none)
    for link in service.card.links:
        texts[link["label"]] = CardText(none, none)
    return texts


def slots_in(text: str) -> frozenset[str]:
    """The slots of a sentence.

    Raises:
        ValueError: A brace stands alone, or a slot is more than a bare name.
    """
    slots = set()
    for _, name, spec, conversion in string.Formatter().parse(text):
        if name is None:
            continue
        if not name.isidentifier() or spec or conversion:
            raise ValueError(f"a slot is a bare name in braces, as in {{months}}, not {{{name}}}")
        slots.add(name)
    return frozenset(slots)


def longest(service: Service, language: str, slot: str, units: Mapping[str, str]) -> str:
    """The longest text that a summary's slot can become.

    Args:
        service: The declaration; its months and the names of its data decide.
        language: The language of the sentence.
        slot: The name of the slot.
        units: Feature name → the unit it is reported in, for rules.
    """
    if slot == "months":
        recent = service.when.no_recent
        return str(recent.months) if recent else "120"
    if slot == "date":
        return day(_LONGEST_DATE, language)
    if slot == "value":
        return "88888.8"
    if slot == "unit":
        return max((units.get(rule.feature, rule.unit) for rule in service.rules), key=len, default="")
    if slot == "fasting":
        return _longest_of(("fasting", "casual", "fasting_unknown"), language)
    if slot == "reason":
        return _longest_of(tuple(key for key in SENTENCES if key.startswith("abstained_")), language)
    if slot == "missing":
        names = service.texts[language].data
        return ("、" if language == "ja" else ", ").join(
            names.get(key.name, key.name) for key in service.prefetch if key.required
        )
    if slot.startswith("p"):
        return max((percent(0.888, language, bound) for bound in ("=", "<", ">")), key=len)
    return ""


def _longest_of(keys: tuple[str, ...], language: str) -> str:
    return max((SENTENCES[key].get(language, SENTENCES[key][LANGUAGES[0]]) for key in keys), key=len)
