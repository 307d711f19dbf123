"""What the event log may say: one frozen type per event, every text in it from a closed set or of a fixed shape.

Nothing here can carry a name, a date of birth, an address or a free text (SEC-080): a string field is either a
``Literal`` or has a pattern, and a test walks the schema to hold it so. What is added later gets a default, so
that old rows stay readable. ``docs/reference/events.md`` says what each field means.
"""

from datetime import datetime
from typing import Annotated, Any, Literal, TypeAlias

import msgspec
from msgspec import Meta, Struct

__all__ = [
    "AnyEvent", "CallRefused", "CardAccepted", "CardOverridden", "Event", "OverrideReasonCode", "PatientLeftOut",
    "PredictionMade", "PredictionWithheld", "Reported", "RuleFired", "decode", "encode",
]  # fmt: skip

_UUID = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"

Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,63}\Z")]
"""A name that our own code or declarations gave: a feature, an output, a reason, a flag."""
Label = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")]
"""A name that the operator gave: a tenant, a client, a service, a model, a hook, a prefetch key."""
Version = Annotated[str, Meta(pattern=r"^[0-9A-Za-z][0-9A-Za-z.+-]{0,31}\Z")]
Moment = Annotated[datetime, Meta(tz=True)]
EventId = Annotated[str, Meta(pattern=r"^(?:[0-9A-HJKMNP-TV-Z]{26}|fb:[0-9a-f]{32})\Z")]
"""26 Crockford characters in time order, or for feedback a hash of what was said, so that a repeat is no news."""
InvocationId = Annotated[str, Meta(pattern=rf"^{_UUID}\Z")]
CardId = Annotated[str, Meta(pattern=rf"^(?:{_UUID}|sha256:[0-9a-f]{{32}})\Z")]
"""A card's or suggestion's uuid in lower case; what came back and is no UUID is kept as its hash only."""
Pseudonym = Annotated[str, Meta(pattern=r"^v[0-9]{1,4}:[a-z2-7]{26}\Z")]
Unit = Annotated[str, Meta(pattern=r"^[A-Za-z0-9%/*.\[\]{}^_'-]{1,24}\Z")]
"""A UCUM code of the declared tables."""
CodeSystem = Annotated[
    str, Meta(pattern=r"^(?:urn:[a-z0-9:.-]{1,120}|https?://[A-Za-z0-9.-]{1,80}(?:/[A-Za-z0-9._~/-]{0,120})?)\Z")
]
ReasonCode = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}\Z")]
Probability = Annotated[float, Meta(ge=0.0, le=1.0)]
Count = Annotated[int, Meta(ge=0)]
Milliseconds = Annotated[float, Meta(ge=0.0)]

Arm: TypeAlias = Literal["champion", "canary", "shadow"]
Language: TypeAlias = Literal["en", "ja"]
Outcome: TypeAlias = Literal["accepted", "overridden"]
CommentLength: TypeAlias = Literal["none", "short", "medium", "long"]
FeedbackFlag: TypeAlias = Literal[
    "bare_feedback", "clock_ahead", "date_only", "foreign_suggestion", "reason_ignored", "reason_not_kept",
    "suggestions_ignored", "unknown_reason",
]  # fmt: skip
WithheldReason: TypeAlias = Literal[
    "excluded_age", "excluded_encounter", "excluded_condition", "excluded_medication", "excluded_state",
    "recent_measurement", "below_threshold", "repeated", "viewer_not_clinician", "silent_site", "card_ceiling",
    "review_overdue", "patient_deceased", "data_unknown", "data_missing", "required_input_missing",
    "out_of_distribution", "not_enough_inputs", "non_finite", "deadline_passed", "holdout",
]  # fmt: skip
RefusedReason: TypeAlias = Literal[
    "bad_request", "breaks_specification", "patient_mismatch", "not_allowed", "unknown_service", "unsupported_media",
    "too_large", "data_unavailable", "store_unavailable", "overloaded", "deadline_passed", "client_gone", "internal",
]  # fmt: skip
Door: TypeAlias = Literal["discovery", "hook", "feedback", "predict", "infer", "other"]


class Reported(Struct, frozen=True, gc=False, forbid_unknown_fields=True):
    """A value as the laboratory reported it, before it was converted."""

    value: float
    unit: Unit


class OverrideReasonCode(Struct, frozen=True, gc=False, forbid_unknown_fields=True, omit_defaults=True):
    """One of the reasons that the service offered; ``other-…``, a hash without a system, for any that it did not."""

    code: ReasonCode
    system: CodeSystem | None = None


def _snake(name: str) -> str:
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


class Event(
    Struct, frozen=True, kw_only=True, gc=False, forbid_unknown_fields=True, omit_defaults=True,
    tag_field="type", tag=_snake,
):  # fmt: skip
    """What all events have; ``type`` is the class's name in snake_case."""

    id: EventId
    at: Moment
    """When it happened by this service's clock, UTC; for feedback the time of receipt."""
    tenant: Label | None = None
    client: Label | None = None
    service: Label | None = None
    """None where no service was asked: the plain windows, a refused call."""


class _Asked(Event, frozen=True, kw_only=True):
    """What a chart open (or a call of the plain windows) put in, and what came of it."""

    hook: Label
    """The service's hook; ``predict`` and ``infer`` for the plain windows, which are no hooks."""
    invocation: InvocationId | None = None
    """``hookInstance``."""
    patient: Pseudonym | None = None
    model: Label | None = None
    version: Version | None = None
    arm: Arm = "champion"
    scores: dict[Name, Probability] = {}
    """Probability after calibration, by output."""
    operating_point: Name | None = None
    card: CardId | None = None
    """The card's uuid; None when none was made. An abstention that is told has a card too."""
    suggestions: tuple[CardId, ...] = ()
    features: dict[Name, float | None] = {}
    """The model's inputs in their declared units; None where missing."""
    reported: dict[Name, Reported] = {}
    """Only for values that were converted."""
    missing: dict[Name, Name] = {}
    flags: tuple[Name, ...] = ()
    set_aside: dict[Name, Count] = {}
    """How many measurements were not used, by reason."""
    prefetch: dict[Label, Name] = {}
    language: Language | None = None
    took_ms: Milliseconds = 0.0
    sent: Literal["unknown"] = "unknown"
    """The event is on disk before the answer leaves, so it never knows whether the card arrived (F02, F38)."""


class PredictionMade(_Asked, frozen=True, kw_only=True):
    """The model spoke."""


class PredictionWithheld(_Asked, frozen=True, kw_only=True):
    """The model did not speak, or its word was not shown."""

    reason: WithheldReason
    detail: Name | None = None
    """Which state, which key, which feature: a name of the declaration."""


class RuleFired(Event, frozen=True, kw_only=True):
    """A rule of the service spoke: what needs no model, counted apart."""

    hook: Label
    invocation: InvocationId | None = None
    patient: Pseudonym | None = None
    rule: Name
    feature: Name
    value: float
    """In the feature's declared unit."""
    flags: tuple[Name, ...] = ()
    card: CardId | None = None
    suggestions: tuple[CardId, ...] = ()
    language: Language | None = None
    took_ms: Milliseconds = 0.0


class _Feedback(Event, frozen=True, kw_only=True):
    card: CardId
    outcome_at: Moment
    """``outcomeTimestamp`` as an instant."""
    matched: bool
    """At receipt: this tenant's service showed this card, with these suggestions. Counts look again."""
    had_comment: bool = False
    comment_length: CommentLength = "none"
    flags: tuple[FeedbackFlag, ...] = ()


class CardAccepted(_Feedback, frozen=True, kw_only=True):
    """A clinician took one or more of a card's suggestions."""

    suggestions: tuple[CardId, ...]


class CardOverridden(_Feedback, frozen=True, kw_only=True):
    """A clinician dismissed a card; no reason is None, never an empty text."""

    reason: OverrideReasonCode | None = None


class CallRefused(Event, frozen=True, kw_only=True):
    """A call that was not answered with 2xx."""

    door: Door
    reason: RefusedReason
    status: Annotated[int, Meta(ge=400, le=599)]
    hook: Label | None = None
    faults: Count = 0
    """How many faults the answer named."""
    took_ms: Milliseconds = 0.0


class PatientLeftOut(Event, frozen=True, kw_only=True):
    """An answer or feedback about a patient who is not to be in the log (``left_out.py``): that it was, and no more."""

    what: Literal["answer", "feedback"]
    hook: Label | None = None
    model: Label | None = None
    version: Version | None = None
    """Of the answer's model bundle, so that a recall can count whom a version spoke to."""


AnyEvent: TypeAlias = (
    PredictionMade | PredictionWithheld | RuleFired | CardAccepted | CardOverridden | CallRefused | PatientLeftOut
)

_encoder = msgspec.json.Encoder()
_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(AnyEvent)


def encode(event: AnyEvent) -> bytes:
    """Write one event as JSON: the fields in the order of the type, those at their default left out."""
    return _encoder.encode(event)


def decode(body: bytes | str) -> AnyEvent:
    """Read one event, strictly.

    Raises:
        msgspec.ValidationError: A field is unknown, missing, or breaks its pattern; the text names the field and
            never the value.
        msgspec.DecodeError: It is not JSON.
    """
    event: AnyEvent = _decoder.decode(body)
    return event
