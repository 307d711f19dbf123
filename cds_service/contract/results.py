"""Where checks write what they found."""

from collections.abc import Callable, Sequence
from typing import Any

from cds_service.contract.report import Finding, Level, Verdict

__all__ = ["Results"]


class Results:
    """Collects findings about one service, or about the server (``-``)."""

    def __init__(self, service: str = "-", found: list[Finding] | None = None) -> None:
        self.service = service
        self.found: list[Finding] = [] if found is None else found

    def of(self, service: str) -> "Results":
        """The same list, for another service."""
        return Results(service, self.found)

    def claim(
        self, ids: str, level: Level, title: str, holds: bool, otherwise: str, *, because: str = "as it should"
    ) -> bool:
        """Note whether a claim holds; *otherwise* says what was seen instead."""
        self._add(ids, level, title, "pass" if holds else "fail", because if holds else otherwise)
        return holds

    def claim_all(self, ids: str, level: Level, title: str, broken: list[str], seen: int) -> None:
        """Note a claim about many things: the places where it does not hold, out of so many seen."""
        if not seen:
            self.skip(ids, level, title, "nothing of that kind was sent")
            return
        shown = "; ".join(dict.fromkeys(broken))
        self.claim(ids, level, title, not broken, shown[:500], because=f"{seen} seen")

    def each(
        self,
        ids: str,
        level: Level,
        title: str,
        places: Sequence[tuple[str, dict[str, Any]]],
        wrong: Callable[[dict[str, Any]], str | None],
    ) -> None:
        """Note a claim about many objects: *wrong* says what is wrong with one, or None."""
        broken = [f"{place}: {what}" for place, value in places if (what := wrong(value)) is not None]
        self.claim_all(ids, level, title, broken, len(places))

    def skip(self, ids: str, level: Level, title: str, why: str) -> None:
        self._add(ids, level, title, "not applicable", why)

    def _add(self, ids: str, level: Level, title: str, verdict: Verdict, sentence: str) -> None:
        self.found.append(Finding(tuple(ids.split()), level, title, self.service, verdict, sentence))
