"""Hold an event to its schema before it is stored: what a reader would refuse must never be written.

msgspec checks patterns and bounds when it reads, not when we construct. Reading back every event would cost 15 µs
of a chart open, mostly for names that never change; so the same rules are compiled once from the types (never
written a second time), and names of declarations that passed once are remembered.
"""

import math
import re
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, Final, get_args

import msgspec
from msgspec import inspect

from cds_service.events.schema import AnyEvent

__all__ = ["hold_to_schema"]

Check = Callable[[Any], bool]

_REMEMBERED_MAX: Final = 4096
"""Names of a pattern that are remembered; declarations have hundreds, and memory stays bounded whatever comes."""
_NO_DEFAULT: Final = object()
_NUMBER_OR_NONE: Final = inspect.type_info(float | None)
_OF_OUR_OWN: Final = re.compile(r"[0-9a-f]{8}-|\(\?:|\^v\[0-9\]")
"""Patterns of ids (uuid, hash, pseudonym) are new each time and not worth remembering."""


class _Pattern:
    """A pattern, and the names that passed it."""

    def __init__(self, pattern: str) -> None:
        self._search = re.compile(pattern).search
        self._remember = _OF_OUR_OWN.search(pattern) is None
        self._passed: set[str] = set()

    def __call__(self, value: Any) -> bool:
        if value in self._passed:
            return True
        if value.__class__ is not str or self._search(value) is None:
            return False
        if self._remember and len(self._passed) < _REMEMBERED_MAX:
            self._passed.add(value)
        return True

    def all_of(self, names: Any) -> bool:
        return self._passed.issuperset(names) or all(map(self, names))


_patterns: dict[str, _Pattern] = {}


def _are_finite(values: Iterable[float | None]) -> bool:
    """Whether every number is one: a sum is finite only then (a sum that overflows is no vital sign either)."""
    return math.isfinite(sum([value for value in values if value is not None]))


def _compile(kind: inspect.Type) -> Check:
    match kind:
        case inspect.StrType(pattern=str() as pattern):
            return _patterns.setdefault(pattern, _Pattern(pattern))
        case inspect.LiteralType(values=values):
            return frozenset(values).__contains__
        case inspect.FloatType(ge=low, le=high):
            floor, ceiling = (-1.8e308 if low is None else low), (1.8e308 if high is None else high)
            return lambda value: value.__class__ in (float, int) and floor <= value <= ceiling  # NaN is in no range
        case inspect.IntType(ge=low, le=high):
            least, most = (-(2**63) if low is None else low), (2**63 - 1 if high is None else high)
            return lambda value: value.__class__ is int and least <= value <= most
        case inspect.BoolType():
            return lambda value: value.__class__ is bool
        case inspect.DateTimeType(tz=True):
            return lambda value: isinstance(value, datetime) and value.utcoffset() is not None
        case inspect.UnionType(types=types):
            (one,) = [_compile(part) for part in types if not isinstance(part, inspect.NoneType)]
            return lambda value: value is None or one(value)
        case inspect.VarTupleType(item_type=item):
            each = _compile(item)
            return lambda value: value.__class__ is tuple and all(map(each, value))
        case inspect.DictType(key_type=key, value_type=item):
            names, each = _compile(key), _compile(item)
            if not isinstance(names, _Pattern):
                raise TypeError(f"the keys of {kind} have no pattern")
            if item == _NUMBER_OR_NONE:
                return lambda value: names.all_of(value) and _are_finite(value.values())
            return lambda value: names.all_of(value) and all(map(each, value.values()))
        case inspect.StructType(cls=cls):
            fields = _fields(cls)
            return lambda value: (
                value.__class__ is cls and all(check(getattr(value, name)) for name, _, check in fields)
            )
    raise TypeError(f"the event schema has no rule for {kind}")


def _fields(kind: type[msgspec.Struct]) -> list[tuple[str, object, Check]]:
    described = inspect.type_info(kind)
    if not isinstance(described, inspect.StructType):
        raise TypeError(f"{kind.__name__} is no event type")
    return [
        (field.name, _NO_DEFAULT if field.default is msgspec.NODEFAULT else field.default, _compile(field.type))
        for field in described.fields
    ]


_RULES: Final = {kind: _fields(kind) for kind in get_args(AnyEvent)}


def hold_to_schema(event: AnyEvent) -> None:
    """Refuse an event that a reader would refuse.

    Raises:
        msgspec.ValidationError: A field breaks its pattern, set or bounds. The text names the field, never the value.
    """
    for name, default, check in _RULES[type(event)]:
        value = getattr(event, name)
        if value is not default and not check(value):
            raise msgspec.ValidationError(f"{type(event).__name__}.{name} breaks the event schema and was not stored")
