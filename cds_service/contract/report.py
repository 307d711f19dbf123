"""What the contract test found: one finding a check and service, a table for people, JSON for machines."""

import json
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Literal

__all__ = ["Finding", "Level", "Report", "Verdict", "print_table"]

Level = Literal["SHALL", "SHOULD", "MAY"]
Verdict = Literal["pass", "fail", "not applicable"]

_ORDER: dict[Verdict, int] = {"fail": 0, "pass": 1, "not applicable": 2}
_SHORT: dict[Verdict, str] = {"fail": "fail", "pass": "pass", "not applicable": "n/a"}
_LEVELS: dict[Level, int] = {"SHALL": 0, "SHOULD": 1, "MAY": 2}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check said about one service."""

    ids: tuple[str, ...]
    """Rows of ``docs/reference/standards/cds-hooks.md``."""
    level: Level
    """SHALL also stands for what follows from an RFC under the text (SEC there)."""
    title: str
    service: str
    """The service's id; ``-`` for the server as a whole."""
    verdict: Verdict
    sentence: str


@dataclass(frozen=True, slots=True)
class Report:
    """All findings for one address."""

    url: str
    findings: tuple[Finding, ...]
    requests: int
    seconds: float

    @property
    def broken(self) -> tuple[Finding, ...]:
        """The failed duties: a SHALL that does not hold."""
        return tuple(finding for finding in self.failed if finding.level == "SHALL")

    @property
    def failed(self) -> tuple[Finding, ...]:
        return tuple(finding for finding in self.findings if finding.verdict == "fail")

    @property
    def exit_code(self) -> int:
        """1 when a SHALL fails, else 0."""
        return 1 if self.broken else 0

    def as_json(self) -> str:
        """The report for ``--json FILE``."""
        body = {
            "url": self.url,
            "requests": self.requests,
            "seconds": round(self.seconds, 3),
            "counts": dict(Counter(finding.verdict for finding in self.findings)),
            "broken": len(self.broken),
            "findings": [asdict(finding) for finding in self.findings],
        }
        return json.dumps(body, ensure_ascii=False, indent=2) + "\n"


def print_table(report: Report, *, all_rows: bool = True) -> str:
    """Lay the findings out, failures first.

    Args:
        report: The findings.
        all_rows: Whether rows that passed or did not apply are shown too.
    """
    rows = sorted(
        (finding for finding in report.findings if all_rows or finding.verdict == "fail"),
        key=lambda finding: (_ORDER[finding.verdict], _LEVELS[finding.level], finding.ids, finding.service),
    )
    cells = [
        (_SHORT[finding.verdict], finding.level, " ".join(finding.ids), finding.service, finding.title)
        for finding in rows
    ]
    widths = [max((len(row[column]) for row in cells), default=0) for column in range(4)]
    lines = [f"Contract of CDS Hooks 2.0 at {report.url}", ""]
    for row, finding in zip(cells, rows, strict=True):
        left = "  ".join(cell.ljust(width) for cell, width in zip(row[:4], widths, strict=True))
        lines.append(f"{left}  {row[4]}")
        if finding.verdict != "pass":
            lines.append(f"{' ' * len(left)}  {finding.sentence}")
    counts = Counter(finding.verdict for finding in report.findings)
    passed, failed, other = (counts[verdict] for verdict in ("pass", "fail", "not applicable"))
    lines.append("")
    lines.append(
        f"{passed} passed, {failed} failed ({len(report.broken)} of them SHALL), {other} not applicable; "
        f"{report.requests} requests in {report.seconds:.1f} s"
    )
    return "\n".join(lines) + "\n"
