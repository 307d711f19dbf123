"""What clinicians did with their cards: a feedback body becomes items; free text stops here.

CDS Hooks, "Feedback" (CH-250 to CH-264), with the choices W-08 (good items are kept, bad ones named by index) and W-09
(one bare object and date-only timestamps are accepted and counted). ``userComment`` may hold anything from a chart
session: it leaves this module only as *there was one* and a length class (SEC-087).
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, TypeGuard

from cds_service.cdshooks.strict_json import Duplicated, parse_small
from cds_service.cdshooks.timestamps import read_outcome_timestamp
from cds_service.cdshooks.wire_fields import UUID
from cds_service.errors import Fault, TooLarge, WireError

__all__ = ["OTHER_REASON", "FeedbackBatch", "FeedbackItem", "Reason", "read_feedback"]

MAX_ITEMS = 5_000
"""SEC-045: entries of one array."""
CLOCK_TOLERANCE = timedelta(minutes=5)
"""A client's clock may be that far ahead of ours before the item is flagged."""
EASTERNMOST_ZONE = timedelta(hours=14)
"""A bare date may be that far ahead of UTC and still be today where the clinician is."""

Outcome = Literal["accepted", "overridden"]
CommentLength = Literal["short", "medium", "long"]

_KEPT_CODE = re.compile(r"[\x21-\x7e]{1,64}")
_KEPT_SYSTEM = re.compile(r"[\x21-\x7e]{1,256}")
_SHORT, _MEDIUM = 50, 500  # characters


@dataclass(frozen=True, slots=True)
class Reason:
    """Why a card was overridden: a coding, offered by us or added by the client (CH-222)."""

    system: str | None
    code: str


OTHER_REASON = Reason(None, "other")
"""Stands for a coding that can't be kept, because it does not look like a code."""


@dataclass(frozen=True, slots=True)
class FeedbackItem:
    """One thing that a clinician did with one card."""

    card: str
    """The card's uuid, lower case."""
    outcome: Outcome
    suggestions: tuple[str, ...]
    """Uuids of the accepted suggestions, lower case, each once, sorted; empty when overridden."""
    reason: Reason | None
    """None: none given."""
    had_comment: bool
    comment_length: CommentLength | None
    """``short`` up to 50 characters, ``medium`` up to 500, else ``long``."""
    at: datetime
    """When it happened by the client's clock, in UTC; midnight for a bare date."""
    precision: Literal["instant", "date"]
    flags: tuple[str, ...]
    """``bare_feedback``, ``date_only``, ``clock_ahead``, ``reason_not_kept``, ``reason_ignored``,
    ``suggestions_ignored``."""
    index: int
    """Place in the batch, from 0."""


@dataclass(frozen=True, slots=True)
class FeedbackBatch:
    """A body sorted into what can be stored and what is wrong with the rest (W-08)."""

    items: tuple[FeedbackItem, ...]
    faults: tuple[Fault, ...]
    """When there are any the answer is a 400, after *items* are stored."""
    quirks: tuple[str, ...]
    """``bare_feedback`` when the body was one item without its array."""


def read_feedback(body: bytes, received: datetime) -> FeedbackBatch:
    """Read one feedback body.

    Args:
        body: The HTTP body, unpacked and bounded.
        received: The moment of receipt, with its zone: the yardstick for a clock that runs ahead.

    Raises:
        WireError: Nothing can be kept: not JSON, no array ``feedback``, an empty one, a key that stands twice.
        TooLarge: More than 5,000 items.
    """
    members = _members(parse_small(body))
    bare = "feedback" not in members and ("card" in members or "outcome" in members)
    items: Any = [members] if bare else members.get("feedback")
    if not isinstance(items, list) or not items:
        raise _not_a_batch()
    if len(items) > MAX_ITEMS:
        raise TooLarge.of(
            f"{len(items)} items, at most {MAX_ITEMS} are read", where="feedback", do="Send the rest in another request"
        )
    good: list[FeedbackItem] = []
    faults: list[Fault] = []
    for index, item in enumerate(items):
        reading = _Reading(f"feedback[{index}]", received)
        if bare:
            reading.flags.append("bare_feedback")
        read = reading.item(item, index)
        if read is None:
            faults.extend(reading.faults)
        else:
            good.append(read)
    return FeedbackBatch(tuple(good), tuple(faults), ("bare_feedback",) if bare else ())


def _members(value: object) -> Mapping[str, Any]:
    if isinstance(value, Duplicated):
        raise WireError.of("a key stands twice", where="body", do="Send each key once")
    if not isinstance(value, dict):
        raise _not_a_batch()
    return value


def _not_a_batch() -> WireError:
    return WireError(
        Fault(
            "feedback",
            "not an array of one or more items",
            'The body is {"feedback": [...]}, with at least one item',
        )
    )


def _is_object(value: object) -> TypeGuard[dict[str, Any]]:
    return isinstance(value, dict) and not isinstance(value, Duplicated)


class _Reading:
    """Reads one item; collects its faults by path."""

    def __init__(self, path: str, received: datetime) -> None:
        self._path = path
        self._received = received
        self.faults: list[Fault] = []
        self.flags: list[str] = []

    def item(self, value: object, index: int) -> FeedbackItem | None:
        """Give the item, or None after noting every fault."""
        if not _is_object(value):
            what = "a key stands twice" if isinstance(value, Duplicated) else "not an object"
            self._fault("", what, "Send an object with card, outcome and outcomeTimestamp, each once")
            return None
        card = self._uuid(value.get("card"), ".card", "the card's uuid")
        outcome = self._outcome(value.get("outcome"))
        suggestions = self._suggestions(value.get("acceptedSuggestions"), outcome)
        reason, comment = self._override_reason(value.get("overrideReason"), outcome)
        at = read_outcome_timestamp(value.get("outcomeTimestamp"))
        if at is None:
            self._fault(
                ".outcomeTimestamp",
                "not an RFC 3339 date-time with its zone",
                "Send UTC, such as 2026-01-20T01:05:31Z",
            )
        if card is None or outcome is None or at is None or self.faults:
            return None
        moment, precision = at
        if precision == "date":
            self.flags.append("date_only")
        # Added to our clock, not taken from theirs: their year may be 1.
        ahead = CLOCK_TOLERANCE + (EASTERNMOST_ZONE if precision == "date" else timedelta())
        if moment > self._received + ahead:
            self.flags.append("clock_ahead")
        length = _length_class(comment)
        return FeedbackItem(
            card, outcome, suggestions, reason, length is not None, length, moment, precision, tuple(self.flags), index
        )

    def _fault(self, below: str, what: str, do: str) -> None:
        self.faults.append(Fault(f"{self._path}{below}", what, do))

    def _uuid(self, value: object, below: str, expected: str) -> str | None:
        if isinstance(value, str) and UUID.fullmatch(value):
            return value.lower()
        self._fault(below, "missing" if value is None else "not a UUID", f"Send {expected}")
        return None

    def _outcome(self, value: object) -> Outcome | None:
        if value == "accepted":
            return "accepted"
        if value == "overridden":
            return "overridden"
        self._fault(".outcome", "missing" if value is None else "another value", "Send accepted or overridden")
        return None

    def _suggestions(self, value: object, outcome: Outcome | None) -> tuple[str, ...]:
        """The accepted suggestions (CH-254); with another outcome they mean nothing and are counted only."""
        if outcome != "accepted":
            if value:
                self.flags.append("suggestions_ignored")
            return ()
        if not isinstance(value, list) or not value:
            self._fault(
                ".acceptedSuggestions",
                "missing" if value is None else "not an array of one or more objects",
                'Send [{"id": <suggestion uuid>}] with the outcome accepted',
            )
            return ()
        if len(value) > MAX_ITEMS:
            self._fault(".acceptedSuggestions", "too long", f"Send at most {MAX_ITEMS}")
            return ()
        found: set[str] = set()
        for place, entry in enumerate(value):
            below = f".acceptedSuggestions[{place}]"
            if not _is_object(entry):
                self._fault(below, "not an object", 'Send {"id": <suggestion uuid>}')
            elif (suggestion := self._uuid(entry.get("id"), f"{below}.id", "the suggestion's uuid")) is not None:
                found.add(suggestion)
        return tuple(sorted(found))

    def _override_reason(self, value: object, outcome: Outcome | None) -> tuple[Reason | None, str | None]:
        if value is None:
            return None, None
        if not _is_object(value):
            self._fault(
                ".overrideReason", "not an object", "Send an object with reason or userComment, or leave it out"
            )
            return None, None
        comment = value.get("userComment")
        if comment is not None and not isinstance(comment, str):
            self._fault(".overrideReason.userComment", "not a string", "Send a string, or leave it out")
            comment = None
        reason = self._reason(value.get("reason"))
        if outcome == "accepted":
            if reason is not None:
                self.flags.append("reason_ignored")
            reason = None
        return reason, comment

    def _reason(self, value: object) -> Reason | None:
        """The coding. One that can't be a code (spaces, other scripts, too long) is counted as *other*, not kept."""
        if value is None or (_is_object(value) and not value):
            return None
        below = ".overrideReason.reason"
        if not _is_object(value):
            self._fault(below, "not a coding", "Send an object with system and code")
            return None
        code, system = value.get("code"), value.get("system")
        if not isinstance(code, str) or not code:
            self._fault(f"{below}.code", "missing" if code is None else "not a non-empty string", "Send the code")
            return None
        if system is not None and not isinstance(system, str):
            self._fault(f"{below}.system", "not a string", "Send the code system's URI")
            return None
        if _KEPT_CODE.fullmatch(code) and (system is None or _KEPT_SYSTEM.fullmatch(system)):
            return Reason(system, code)
        self.flags.append("reason_not_kept")
        return OTHER_REASON


def _length_class(comment: str | None) -> CommentLength | None:
    if comment is None or not comment.strip():
        return None
    if len(comment) <= _SHORT:
        return "short"
    return "medium" if len(comment) <= _MEDIUM else "long"
