"""What one prefetch key holds, decoded: the resources, or why there are none.

An answer is decoded in one pass into the shapes of ``fhir_shapes.py``; only where that pass fails are its entries
judged one by one (``judging.py``).
"""

from typing import Literal

import msgspec
from msgspec import Raw, Struct

from cds_service.clinical.fhir_shapes import Bundle, Invalid, Known, Link, OperationOutcome
from cds_service.clinical.judging import NO_RESOURCE, judge, judge_entry, resource_type_of

__all__ = ["KeyContent", "decode_key"]

Failure = Literal["refused", "failed", "not_fhir", "wrapper", "wrong_type"]


class KeyContent(Struct, frozen=True):
    """What one prefetch key held."""

    resources: tuple[tuple[str | None, Known | Invalid], ...] = ()
    """(fullUrl, resource) in the order of arrival; resources of types that nothing reads are left out."""
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


_decode = msgspec.json.Decoder(Known | Bundle).decode
_decode_loose = msgspec.json.Decoder(_LooseBundle).decode
_decode_wrapper = msgspec.json.Decoder(_Wrapper).decode
_NULL = b"null"
_REFUSALS = frozenset(("forbidden", "security", "login", "expired", "suppressed", "not-supported"))


def decode_key(raw: bytes | Raw) -> KeyContent:
    """Decode what one prefetch key holds.

    Args:
        raw: The JSON of the key's value: a resource, a Bundle, ``null`` or an OperationOutcome.

    Returns:
        The resources, or the failure: ``refused`` or ``failed`` (an OperationOutcome), ``not_fhir`` (an error
        page, a list, a number), ``wrapper`` (the pre-1.0 form). ``null`` and an empty Bundle are answers without
        resources. Never raises on what JSON can hold.
    """
    if memoryview(raw).nbytes == len(_NULL) and bytes(raw) == _NULL:
        return KeyContent()
    try:
        content = _decode(raw)
    except (msgspec.DecodeError, RecursionError):
        return _judge_one_by_one(raw)
    if type(content) is Bundle:
        return _from_entries(
            [(entry.full_url, entry.resource) for entry in content.entry or ()], content.link or (), content.total
        )
    if isinstance(content, OperationOutcome):
        return KeyContent(failure=_failure(content))
    assert not isinstance(content, Bundle)  # noqa: S101 -- tells the type checker what the first branch took
    return KeyContent(resources=((None, content),), entries=1)


def _failure(outcome: OperationOutcome) -> Failure:
    return "refused" if _REFUSALS.intersection(outcome.codes) else "failed"


def _from_entries(
    entries: list[tuple[str | None, Known | Invalid | None]], links: tuple[Link, ...], total: int | None
) -> KeyContent:
    outcomes = [resource for _, resource in entries if type(resource) is OperationOutcome]
    for outcome in outcomes:
        if outcome.is_failure:
            return KeyContent(failure=_failure(outcome), is_bundle=True)
    resources = [(url, one) for url, one in entries if one is not None and type(one) is not OperationOutcome]
    following = next((link.url for link in links if link.relation == "next"), None)
    has_next = any(link.relation == "next" for link in links)
    return KeyContent(
        resources=tuple(resources),
        is_bundle=True,
        has_next=has_next,
        next_url=following,
        total=total,
        entries=len(resources),
    )


def _judge_one_by_one(raw: bytes | Raw) -> KeyContent:
    try:
        loose = _decode_loose(raw)
    except (msgspec.DecodeError, RecursionError):
        return _judge_single(raw)
    if loose.resource_type != "Bundle":
        return _judge_single(raw)
    entries: list[tuple[str | None, Known | Invalid | None]] = []
    others = 0
    for one in loose.entry or ():
        full_url, judged = judge_entry(one)
        if judged is NO_RESOURCE:
            continue
        if judged is None:
            others += 1
        entries.append((full_url, judged))
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
    return KeyContent(resources=((None, judged),), entries=1)
