"""What one prefetch key holds, decoded: the resources, or why there are none.

An answer is decoded in one pass into the shapes of ``fhir_shapes.py``; only where that pass fails are its entries
judged one by one (``judging.py``).
"""

from collections.abc import Sequence
from typing import Literal

import msgspec
from msgspec import Raw, Struct

from cds_service.clinical.fhir_shapes import Bundle, Entry, Invalid, Known, Link, OperationOutcome
from cds_service.clinical.judging import NO_RESOURCE, Judged, judge, judge_entry, resource_type_of

__all__ = ["Decoded", "KeyContent", "Sent", "decode_key"]

Decoded = Known | Bundle | None
"""What one prefetch key held, where everything in it fits the shapes; None: JSON's ``null``."""
Sent = Decoded | Raw
"""The same, or its JSON where it has not been looked into."""
Failure = Literal["refused", "failed", "not_fhir", "wrapper", "wrong_type"]


class KeyContent(Struct, frozen=True):
    """What one prefetch key held."""

    resources: Sequence[Entry | Judged] = ()
    """In the order of arrival; resources of types that nothing reads are left out, and so are OperationOutcomes."""
    kinds: frozenset[type] = frozenset()
    """Which shapes the resources have."""
    failure: Failure | None = None
    is_bundle: bool = False
    has_next: bool = False
    next_url: str | None = None
    total: int | None = None
    entries: int = 0
    """Entries in the Bundle that hold a resource, of any type but OperationOutcome."""


class _LooseBundle(Struct, rename="camel"):
    resource_type: str
    entry: tuple[Raw, ...] | None = ()
    link: tuple[Link, ...] | None = ()
    total: int | None = None


class _Wrapper(Struct):
    """The pre-1.0 form of a prefetch answer (CH-108)."""

    response: Raw
    resource: Raw


_decode = msgspec.json.Decoder(Decoded).decode
_decode_loose = msgspec.json.Decoder(_LooseBundle).decode
_decode_wrapper = msgspec.json.Decoder(_Wrapper).decode
_REFUSALS = frozenset(("forbidden", "security", "login", "expired", "suppressed", "not-supported"))
_NOT_CONTENT = frozenset((type(None), OperationOutcome))


def decode_key(sent: bytes | Sent) -> KeyContent:
    """Say what one prefetch key holds.

    Args:
        sent: The key's value, or its JSON: a resource, a Bundle, ``null`` or an OperationOutcome.

    Returns:
        The resources, or the failure: ``refused`` or ``failed`` (an OperationOutcome), ``not_fhir`` (an error
        page, a list, a number), ``wrapper`` (the pre-1.0 form). ``null`` and an empty Bundle are answers without
        resources. Never raises on what JSON can hold.
    """
    if isinstance(sent, (bytes, Raw)):
        try:
            content: Decoded = _decode(sent)
        except (msgspec.DecodeError, RecursionError):
            return _judge_one_by_one(sent)
    else:
        content = sent
    if content is None:
        return KeyContent()
    if isinstance(content, Bundle):
        return _from_entries(content.entry or (), content.link or (), content.total)
    if isinstance(content, OperationOutcome):
        return KeyContent(failure=_failure(content))
    return _from_one(content)


def _from_one(resource: Known | Invalid) -> KeyContent:
    return KeyContent(resources=(Judged(None, resource),), kinds=frozenset((type(resource),)), entries=1)


def _failure(outcome: OperationOutcome) -> Failure:
    return "refused" if _REFUSALS.intersection(outcome.codes) else "failed"


def _from_entries(entries: Sequence[Entry | Judged], links: tuple[Link, ...], total: int | None) -> KeyContent:
    kinds = {type(entry.resource) for entry in entries}
    if not kinds.isdisjoint(_NOT_CONTENT):
        for entry in entries:
            if isinstance(entry.resource, OperationOutcome) and entry.resource.is_failure:
                return KeyContent(failure=_failure(entry.resource), is_bundle=True)
        entries = [entry for entry in entries if type(entry.resource) not in _NOT_CONTENT]
        kinds -= _NOT_CONTENT
    following = next((link.url for link in links if link.relation == "next"), None)
    has_next = any(link.relation == "next" for link in links)
    return KeyContent(
        resources=entries,
        kinds=frozenset(kinds),
        is_bundle=True,
        has_next=has_next,
        next_url=following,
        total=total,
        entries=len(entries),
    )


def _judge_one_by_one(raw: bytes | Raw) -> KeyContent:
    try:
        loose = _decode_loose(raw)
    except (msgspec.DecodeError, RecursionError):
        return _judge_single(raw)
    if loose.resource_type != "Bundle":
        return _judge_single(raw)
    entries = [judged for one in loose.entry or () if (judged := judge_entry(one)).resource is not NO_RESOURCE]
    others = sum(1 for entry in entries if entry.resource is None)
    content = _from_entries(entries, loose.link or (), loose.total)
    return msgspec.structs.replace(content, entries=content.entries + others)


def _judge_single(raw: bytes | Raw) -> KeyContent:
    try:
        _decode_wrapper(raw)
    except (msgspec.DecodeError, RecursionError):
        pass
    else:
        return KeyContent(failure="wrapper")
    tag = resource_type_of(raw)
    if tag is None or tag == "Bundle":  # or a Bundle whose own fields are of wrong types
        return KeyContent(failure="not_fhir")
    judged = judge(raw)
    if judged is None or isinstance(judged, OperationOutcome):
        return KeyContent(failure="wrong_type" if judged is None else _failure(judged))
    return _from_one(judged)
