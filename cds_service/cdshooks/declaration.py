"""What a service folder says: the declaration that is at once the discovery entry, the rules and the card.

``catalog.py`` reads these from ``hooks/<service-id>/``; nothing else makes them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import lru_cache
from typing import Any, Literal

from cds_service.clinical.codes import CodeSet

Language = Literal["en", "ja"]


@lru_cache(maxsize=256)
def _type_of(query: str) -> str:
    head = query.split("?", 1)[0].split("/", 1)[0]
    return "" if head.startswith("{{") else head


@dataclass(frozen=True, slots=True)
class PrefetchKey:
    """One prefetch template and what happens when its data can't be had.

    Policy: absent or failed and ``required`` → 412, or a card if the service says ``on_missing = "card"``;
    optional and ``abstain`` → info card and event; optional and ``omit`` → go on and say so;
    ``null`` never fails (CH-101, CH-102, CH-111).
    """

    name: str
    query: str
    required: bool = False
    on_failure: Literal["abstain", "omit"] = "abstain"

    @property
    def resource_type(self) -> str:
        """The FHIR type that the query asks for (``{{context.userId}}`` has none: an empty string)."""
        return _type_of(self.query)

    @property
    def is_search(self) -> bool:
        return "?" in self.query


@dataclass(frozen=True, slots=True)
class NoRecent:
    """No card when this feature was measured within so many months, proved by the key that holds it."""

    feature: str
    months: int
    months_if_previously_raised: int | None
    key: str
    """The prefetch key whose completeness proves the absence (CH/W-12b)."""


@dataclass(frozen=True, slots=True)
class State:
    """A state of the patient that forbids the card, found in coded Conditions, Observations or Procedures."""

    name: str
    conditions: CodeSet
    procedures: CodeSet
    observations: Mapping[str, tuple[str, ...]]
    """Observation ``system|code`` → the value codes (``system|code``) that mean the state."""
    within_days: int | None
    """For dated events (procedures, observations): only if they lie within so many days; None: however old.
    A condition counts as long as it is active, whatever this says."""


@dataclass(frozen=True, slots=True)
class When:
    """Whether a card may appear at all (``[when]``)."""

    age_years: tuple[int, int] | None = None
    encounter: tuple[str, ...] = ()
    no_condition: CodeSet | None = None
    no_medication: CodeSet | None = None
    not_state: tuple[State, ...] = ()
    no_recent: NoRecent | None = None
    require_any: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rule:
    """What needs no model: a measured value at or over a limit (``[[rule]]``), in the feature's declared unit."""

    name: str
    feature: str
    at_least: float
    or_fasting_at_least: float | None
    unit: str


@dataclass(frozen=True, slots=True)
class Repeat:
    """How often one patient may see this topic (``[repeat]``)."""

    after_override_days: int = 0
    after_accept_days: int = 0
    at_most_per_patient_year: int | None = None
    cards_per_100_opens_max: float | None = None


@dataclass(frozen=True, slots=True)
class OverrideReason:
    """A reason that a clinician can pick on dismissing the card; a code never changes its meaning."""

    code: str
    system: str
    display: Mapping[str, str]
    """By language."""
    alarm: bool = False
    """Someone looks at once: the value or the patient may be wrong."""
    maps_to: str = ""
    """The HL7 non-adherence reason that this one is counted under, so that sites can be compared (CH-223)."""


@dataclass(frozen=True, slots=True)
class Suggestion:
    """A button on the card and the FHIR resource that it drafts (``[[card.suggestion]]``)."""

    label: str
    """A key of texts.*.toml."""
    resource: Mapping[str, Any]
    """A FHIR resource with slots ``{patient}``, ``{encounter}``, ``{requester}`` …; ``order_template.fill`` fills it."""
    order: str | None = None
    """Name of the client's own order code (``[client.orders]``); without one the suggestion has no action."""


@dataclass(frozen=True, slots=True)
class CardSpec:
    """What the card looks like."""

    show_from: str
    indicator: Mapping[str, Literal["info", "warning"]]
    topic_system: str
    topic_code: str
    suggestions: tuple[Suggestion, ...] = ()
    override_reasons: tuple[OverrideReason, ...] = ()
    source_url: str | None = None
    links: tuple[Mapping[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Owner:
    clinical: str = ""
    review_by: date | None = None
    stop_if: str = ""


@dataclass(frozen=True, slots=True)
class Texts:
    """The sentences of one language: fixed text with typed slots."""

    language: str
    sentences: Mapping[str, str]
    features: Mapping[str, str] = field(default_factory=dict)
    """Feature name → what a clinician calls it."""
    data: Mapping[str, str] = field(default_factory=dict)
    """Prefetch key → what a clinician calls what it brings ("problem list")."""

    def __getitem__(self, key: str) -> str:
        return self.sentences[key]


@dataclass(frozen=True, slots=True)
class Outcome:
    feature: str
    at_least: tuple[float, ...]
    within_days: int
    maturity_days: int


@dataclass(frozen=True, slots=True)
class Service:
    """One CDS service: what discovery lists under one (id, hook)."""

    id: str
    hook: str
    title: str
    description: str
    usage_requirements: str
    model: str
    prefetch: tuple[PrefetchKey, ...]
    card: CardSpec
    texts: Mapping[str, Texts]
    languages: tuple[str, ...] = ("en",)
    on_missing: Literal["412", "card"] = "412"
    on_abstain: tuple[str, ...] = ()
    """Reasons of the model's abstention that a clinician is told of in an info card; the others are events only."""
    viewers: tuple[str, ...] = ("Practitioner", "PractitionerRole")
    when: When = field(default_factory=When)
    rules: tuple[Rule, ...] = ()
    repeat: Repeat = field(default_factory=Repeat)
    owner: Owner = field(default_factory=Owner)
    outcome: Outcome | None = None
    holdout: float = 0.0
    audit: float = 0.0
    topic_display: Mapping[str, str] = field(default_factory=dict)
    """Language → what the topic is called (the sentence ``topic``)."""
    folder: str = ""
    """Where the service was read from, for messages."""

    def key(self, name: str) -> PrefetchKey:
        """The prefetch key of this name; KeyError when there is none."""
        return next(key for key in self.prefetch if key.name == name)
