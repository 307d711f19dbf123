"""Codes match exactly, as system|code, from enumerated sets: never by display, text, case or prefix."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

SAME_SYSTEM: Mapping[str, str] = {
    "urn:oid:1.2.392.200119.4.504": "http://medis.or.jp/CodeSystem/master-JLAC10-17digits",
    "http://jpfhir.jp/fhir/clins/CodeSystem/JLAC10/JP_CLINS_ObsLabResult_CoreLabo_CS": (
        "http://medis.or.jp/CodeSystem/master-JLAC10-17digits"
    ),
    "urn:oid:2.16.840.1.113883.6.1": "http://loinc.org",
}
"""Systems that are the same under two names (JLAC10's OID and URL); everything else differs."""


def canonical(system: str, code: str) -> str:
    """Name a coding as ``system|code``, with the one spelling of a system that has several."""
    return f"{SAME_SYSTEM.get(system, system)}|{code}"


def canonical_token(token: str) -> str:
    """Read ``system|code`` as people write it in a declaration.

    Raises:
        ValueError: There is no system or no code.

    >>> canonical_token("urn:oid:1.2.392.200119.4.504|3F050000002327101")
    'http://medis.or.jp/CodeSystem/master-JLAC10-17digits|3F050000002327101'
    """
    system, bar, code = token.partition("|")
    if not (system and bar and code) or code != code.strip() or "|" in code:
        raise ValueError("a code is written system|code, as in http://loinc.org|4548-4")
    return canonical(system, code)


@dataclass(frozen=True, slots=True)
class CodeSet:
    """An enumerated set of codes; prefixes only where they are written as prefixes (ICD chapters)."""

    codes: frozenset[str] = frozenset()
    prefixes: tuple[str, ...] = field(default=())

    def __contains__(self, token: object) -> bool:
        return isinstance(token, str) and (
            token in self.codes or (bool(self.prefixes) and token.startswith(self.prefixes))
        )

    def any_of(self, tokens: Iterable[str]) -> str | None:
        """The first token that is in the set, or None."""
        codes, prefixes = self.codes, self.prefixes
        for token in tokens:
            if token in codes or (prefixes and token.startswith(prefixes)):
                return token
        return None
