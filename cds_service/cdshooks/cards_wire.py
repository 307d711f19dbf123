"""CDS Hooks answers: card types that can't be built wrong, and their JSON.

CDS Hooks, "CDS Service Response" and "Card Attributes". Each type checks itself when it is made (CH-170 to CH-237) and
raises :class:`CardError`, which is a fault of ours and never of the caller. Fields without a value are left out of the
JSON; nothing is null or empty (CH-002 to CH-004).
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

import msgspec

from cds_service.cdshooks.card_text import CardError, check_detail, check_line, check_summary
from cds_service.cdshooks.wire_fields import REFERENCE, UUID

__all__ = [
    "Action",
    "Card",
    "CardError",
    "Coding",
    "Indicator",
    "Link",
    "OverrideReasonCoding",
    "SelectionBehavior",
    "Source",
    "Suggestion",
    "new_uuid",
    "selection_behavior",
    "write_response",
]

Indicator = Literal["info", "warning", "critical"]
SelectionBehavior = Literal["any", "at-most-one"]

_INDICATORS = frozenset({"info", "warning", "critical"})
_BEHAVIORS = frozenset({"any", "at-most-one"})
_ACTION_TYPES = frozenset({"create", "update", "delete"})
_LINK_TYPES = frozenset({"absolute", "smart"})
_ADDED_BY_THE_CLIENT = frozenset({"iss", "launch"})


def new_uuid() -> str:
    """A version 4 UUID for a card or a suggestion (CH-175, CH-201)."""
    return str(uuid4())


class Coding(msgspec.Struct, frozen=True, omit_defaults=True):
    """A code with its system; the display may be left to the client (CH-195). For ``source.topic``."""

    system: str
    code: str
    display: str | None = None

    def __post_init__(self) -> None:
        check_line(self.system, "coding.system")
        check_line(self.code, "coding.code")
        if self.display is not None:
            check_line(self.display, "coding.display")


class OverrideReasonCoding(msgspec.Struct, frozen=True):
    """A reason that the clinician may pick on dismissing; code, system and display are all required (CH-221)."""

    system: str
    code: str
    display: str

    def __post_init__(self) -> None:
        check_line(self.system, "overrideReasons.system")
        check_line(self.code, "overrideReasons.code")
        check_line(self.display, "overrideReasons.display")


class Source(msgspec.Struct, frozen=True, omit_defaults=True):
    """Who stands behind the advice (CH-190 to CH-194); ``topic`` lets an EHR remember dismissals."""

    label: str
    topic: Coding | None = None
    url: str | None = None
    icon: str | None = None

    def __post_init__(self) -> None:
        check_line(self.label, "source.label")
        if self.url is not None:
            _check_url(self.url, "source.url")
        if self.icon is not None:
            _check_url(self.icon, "source.icon")


class Action(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """One change to the chart that a suggestion offers (CH-207 to CH-211)."""

    type: Literal["create", "update", "delete"]
    description: str
    resource: Mapping[str, Any] | None = None
    """The whole resource, for create and update."""
    resource_id: str | None = None
    """``Type/id``, for delete."""

    def __post_init__(self) -> None:
        if self.type not in _ACTION_TYPES:
            raise CardError("action.type", "not create, update or delete")
        check_line(self.description, "action.description")
        if self.type == "delete":
            if self.resource is not None:
                raise CardError("action.resource", "a delete names resourceId and no resource")
            if self.resource_id is None or REFERENCE.fullmatch(self.resource_id) is None:
                raise CardError("action.resourceId", "not Type/id")
            return
        if self.resource_id is not None:
            raise CardError("action.resourceId", "only a delete has one")
        if self.resource is None or not self.resource.get("resourceType"):
            raise CardError("action.resource", "no FHIR resource")
        _check_no_emptiness(self.resource, "action.resource")


class Suggestion(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A button on the card; its actions are taken all together (CH-200 to CH-204)."""

    label: str
    uuid: str = msgspec.field(default_factory=new_uuid)
    is_recommended: bool = False
    actions: tuple[Action, ...] = ()

    def __post_init__(self) -> None:
        check_line(self.label, "suggestion.label")
        if UUID.fullmatch(self.uuid) is None:
            raise CardError("suggestion.uuid", "not a UUID")


class Link(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """A page or a SMART app to open from the card (CH-230 to CH-236)."""

    label: str
    url: str
    type: Literal["absolute", "smart"]
    app_context: str | None = None
    autolaunchable: bool = False
    """A hint to open the link without showing the card; only where the app says all that the card says."""

    def __post_init__(self) -> None:
        check_line(self.label, "link.label")
        _check_url(self.url, "link.url")
        if self.type not in _LINK_TYPES:
            raise CardError("link.type", "not absolute or smart")
        if self.type == "smart":
            names = {name for name, _ in parse_qsl(urlsplit(self.url).query, keep_blank_values=True)}
            if names & _ADDED_BY_THE_CLIENT:
                raise CardError("link.url", "iss and launch are added by the client")
        elif self.app_context is not None:
            raise CardError("link.appContext", "valid for smart links only")
        if self.app_context == "":
            raise CardError("link.appContext", "empty")


class Card(msgspec.Struct, frozen=True, omit_defaults=True, rename="camel"):
    """One card (CH-170 to CH-182)."""

    summary: str
    """One sentence of fewer than 140 characters; see :func:`cds_service.cdshooks.card_text.shorten`."""
    indicator: Indicator
    source: Source
    uuid: str = msgspec.field(default_factory=new_uuid)
    """Without it no feedback ever comes."""
    detail: str | None = None
    """GitHub-flavoured Markdown without any HTML."""
    suggestions: tuple[Suggestion, ...] = ()
    selection_behavior: SelectionBehavior | None = None
    """Present exactly when there are suggestions; see :func:`selection_behavior`."""
    override_reasons: tuple[OverrideReasonCoding, ...] = ()
    links: tuple[Link, ...] = ()
    extension: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        check_summary(self.summary)
        if self.indicator not in _INDICATORS:
            raise CardError("card.indicator", "not info, warning or critical")
        if UUID.fullmatch(self.uuid) is None:
            raise CardError("card.uuid", "not a UUID")
        if self.detail is not None:
            check_detail(self.detail)
        if (self.selection_behavior is not None) != bool(self.suggestions):
            raise CardError("card.selectionBehavior", "present exactly when there are suggestions")
        if self.selection_behavior is not None and self.selection_behavior not in _BEHAVIORS:
            raise CardError("card.selectionBehavior", "not any or at-most-one")
        if self.selection_behavior != "any" and sum(suggestion.is_recommended for suggestion in self.suggestions) > 1:
            raise CardError("card.suggestions", "several are recommended, which needs selectionBehavior any")
        if self.extension is not None:
            if not self.extension:
                raise CardError("card.extension", "empty")
            _check_no_emptiness(self.extension, "card.extension")


def selection_behavior(suggestions: int, *, cds_hooks_1: bool = False) -> SelectionBehavior | None:
    """Choose the behaviour by W-07.

    Args:
        suggestions: How many the card has.
        cds_hooks_1: Whether the client speaks CDS Hooks 1.0, which knows one value only and drops the card otherwise.
    """
    if not suggestions:
        return None
    return "any" if suggestions == 1 and not cds_hooks_1 else "at-most-one"


_ENCODER = msgspec.json.Encoder(decimal_format="number")  # CH-006: 1.50 stays 1.50


class _Response(msgspec.Struct):
    cards: Sequence[Card]


def write_response(cards: Sequence[Card]) -> bytes:
    """Write the answer to a hook call; without cards it is ``{"cards":[]}`` (CH-160, CH-161).

    Raises:
        CardError: Two cards or suggestions share a uuid, so feedback could not tell them apart.
    """
    uuids = [card.uuid for card in cards]
    uuids += [suggestion.uuid for card in cards for suggestion in card.suggestions]
    if len(set(uuids)) != len(uuids):
        raise CardError("cards.uuid", "stands twice in one answer")
    return _ENCODER.encode(_Response(cards))


def _check_url(url: str, where: str) -> None:
    if any(character <= " " for character in url):
        raise CardError(where, "holds a space or a control character")
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise CardError(where, "not an absolute http or https URL")
    if "@" in parts.netloc:
        raise CardError(where, "holds user information")


def _check_no_emptiness(value: object, where: str) -> None:
    """Refuse null, "", [] and {} anywhere inside (CH-002, CH-003)."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _check_no_emptiness(inner, f"{where}.{key}")
        empty = not value
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            _check_no_emptiness(inner, f"{where}[{index}]")
        empty = not value
    else:
        empty = value is None or value == ""
    if empty:
        raise CardError(where, "null or empty")
