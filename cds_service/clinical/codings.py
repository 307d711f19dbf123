"""The codings of a resource, and which of them some feature or condition reads."""

from collections.abc import Iterable, Mapping

from cds_service.clinical.codes import SAME_SYSTEM, canonical
from cds_service.clinical.fhir_shapes import CodeableConcept

__all__ = ["CodeIndex", "codes_of", "tokens_of"]


class CodeIndex:
    """Which codings matter: a coding's system and code → its canonical name, or nothing."""

    def __init__(self, tokens: Iterable[str]) -> None:
        by_system: dict[str | None, dict[str | None, str]] = {}
        for token in tokens:
            system, _, code = token.partition("|")
            by_system.setdefault(system, {})[code] = token
        for other, system in SAME_SYSTEM.items():
            if system in by_system:
                by_system[other] = by_system[system]
        self.codes: Mapping[str | None, Mapping[str | None, str]] = by_system
        """System → code → canonical name."""

    def match(self, concept: CodeableConcept) -> str | None:
        """The first coding that is listed, exactly; display, text and bare codes never match."""
        for coding in concept.coding:
            codes = self.codes.get(coding.system)
            if codes is not None:
                token = codes.get(coding.code)
                if token is not None:
                    return token
        return None


def tokens_of(concept: CodeableConcept | None) -> tuple[str, ...]:
    """Every whole coding of a concept, as ``system|code``."""
    if concept is None:
        return ()
    return tuple(canonical(c.system, c.code) for c in concept.coding if c.system and c.code)


def codes_of(concept: CodeableConcept | None) -> frozenset[str]:
    """The bare codes of a concept whose system FHIR itself prescribes, such as a clinical status."""
    return frozenset(c.code for c in concept.coding if c.code) if concept is not None else frozenset()
