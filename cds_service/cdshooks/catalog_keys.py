"""The keys that a service folder may use; ``docs/reference/service-folder.md`` explains each, and a test compares."""

from collections.abc import Mapping

SERVICE_KEYS: Mapping[str, frozenset[str]] = {
    "": frozenset(
        {"id", "hook", "title", "description", "usage_requirements", "model", "on_missing", "on_abstain", "viewers", "languages",
         "owner", "when", "rule", "prefetch", "card", "repeat", "outcome", "evaluation"}
    ),
    "owner": frozenset({"clinical", "review_by", "stop_if"}),
    "when": frozenset(
        {"age_years", "encounter", "no_condition", "no_medication", "not_state", "no_recent", "require_any"}
    ),
    "when.age_years": frozenset({"from", "to"}),
    "when.no_recent": frozenset({"feature", "months", "months_if_previously_raised", "key"}),
    "rule": frozenset({"name", "if"}),
    "rule.if": frozenset({"feature", "at_least", "unit", "or_fasting_at_least"}),
    "prefetch.NAME": frozenset({"query", "required", "on_failure"}),
    "card": frozenset(
        {"show_from", "indicator", "topic", "source_url", "override_system", "suggestion", "override_reason", "link"}
    ),
    "card.topic": frozenset({"system", "code"}),
    "card.suggestion": frozenset({"label", "resource", "order"}),
    "card.override_reason": frozenset({"code", "display", "maps_to", "alarm"}),
    "card.link": frozenset({"label", "url", "type"}),
    "repeat": frozenset(
        {"after_override_days", "after_accept_days", "at_most_per_patient_year", "cards_per_100_opens_max"}
    ),
    "outcome": frozenset({"feature", "at_least", "within_days", "maturity_days"}),
    "evaluation": frozenset({"holdout", "audit", "ethics"}),
}  # fmt: skip
"""Table of ``service.toml`` → its keys. ``rule``, ``card.suggestion``, ``card.override_reason`` and ``card.link`` are lists."""

STATE_KEYS: Mapping[str, frozenset[str]] = {
    "": frozenset({"name", "conditions", "procedures", "observations", "within_days"}),
    "conditions": frozenset({"codes", "prefixes"}),
    "procedures": frozenset({"codes", "prefixes"}),
}
"""Table of ``codes/<state>.toml`` → its keys; ``observations`` maps a code to the value codes that mean the state."""

CODE_SET_KEYS = frozenset({"name", "codes", "prefixes"})
"""Keys of the code sets that ``no_condition`` and ``no_medication`` name."""

TEXT_TABLES = frozenset({"features", "data"})
"""Tables of ``texts.<language>.toml``; every other key there is a sentence."""

NON_ADHERENCE_REASONS = frozenset(
    {"cds-not-applicable", "cds-suboptimal-context", "recipient-disagrees-evidence", "recipient-concerns-outcomes",
     "does-not-align-preferences", "not-convenient-feasible", "action-completed", "patient-contraindication",
     "patient-refuses", "too-costly-uncovered", "service-not-available", "recipient-does-not-understand"}
)  # fmt: skip
"""HL7's non-adherence reason codes that our own reasons map to (CH-223)."""

ENCOUNTER_CLASSES = frozenset({"AMB", "EMER", "FLD", "HH", "IMP", "ACUTE", "NONAC", "OBSENC", "PRENC", "SS", "VR"})
"""Codes of http://terminology.hl7.org/CodeSystem/v3-ActCode that ``Encounter.class`` may carry."""

ABSTENTIONS = frozenset({"out_of_distribution", "not_enough_inputs", "non_finite"})
"""Why a model may not speak (``model/abstain.py``)."""

VIEWERS = frozenset({"Practitioner", "PractitionerRole", "Patient", "RelatedPerson"})

LANGUAGES = frozenset({"en", "ja"})
