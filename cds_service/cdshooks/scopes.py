"""What an access token's scopes allow: SMART on FHIR, version 1 (``.read``) and 2 (``.rs``) spellings (CH-143, SEC-035)."""

import re
from typing import Literal

__all__ = ["permits"]

_SCOPE = re.compile(r"(?P<who>patient|user|system)/(?P<kind>\*|[A-Z][A-Za-z]+)\.(?P<may>[a-z*]+)")
_VERSION_1 = {"read": "rs", "write": "cud", "*": "cruds"}
_VERSION_2 = re.compile(r"c?r?u?d?s?")


def permits(scope: str, kind: str, interaction: Literal["read", "search"]) -> bool:
    """Whether a scope allows to read or search a resource type.

    A scope that is narrowed by a query (``patient/Observation.rs?category=…``) counts for nothing here: what it lets
    through is a part of the chart, and a part proves no absence.

    >>> permits("launch patient/Observation.read", "Observation", "search")
    True
    >>> permits("patient/Observation.r", "Observation", "search")
    False
    """
    letter = interaction[0]
    for one in scope.split():
        found = _SCOPE.fullmatch(one)
        if found is None or found["kind"] not in ("*", kind):
            continue
        allowed = _VERSION_1.get(found["may"], found["may"])
        if _VERSION_2.fullmatch(allowed) and letter in allowed:
            return True
    return False
