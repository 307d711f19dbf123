"""What ``check`` finds, and what it looks at: one type each, shared by the checks."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cds_service.cdshooks.catalog_toml import Document, KeyPath
from cds_service.cdshooks.declaration import Service
from cds_service.clinical.feature_spec import FeatureSet
from cds_service.errors import Fault

__all__ = ["Checked", "Finding", "ModelFacts", "finding_of"]

_PLACE = re.compile(r"(?P<file>.*?):(?P<line>\d+)(?: (?P<path>\S+))?")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that ``check`` found: an error refuses the service, a warning lets it run."""

    file: str
    line: int
    level: Literal["error", "warning"]
    what: str
    do: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.level}: {self.what}. {self.do}."


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What ``check`` must know of a model's bundle."""

    features: FeatureSet
    operating_points: frozenset[str]
    outputs: tuple[str, ...] = ()
    """Names of the outputs; empty: not known, and their slots are not judged."""


@dataclass(frozen=True, slots=True)
class Checked:
    """One service that could be read, and the means to say where in its file something stands."""

    service: Service
    document: Document
    folder: Path
    model: ModelFacts | None

    def error(self, path: KeyPath, what: str, do: str) -> Finding:
        return self.finding("error", path, what, do)

    def warning(self, path: KeyPath, what: str, do: str) -> Finding:
        return self.finding("warning", path, what, do)

    def finding(self, level: Literal["error", "warning"], path: KeyPath, what: str, do: str) -> Finding:
        return Finding(self.document.file, self.document.line(path), level, what, do)


def finding_of(fault: Fault) -> Finding:
    """A loader's fault as a finding: its ``where`` is ``file:line dotted.path``."""
    place = _PLACE.fullmatch(fault.where)
    if place is None:
        return Finding(fault.where, 1, "error", fault.what, fault.do)
    what = f"{place['path']}: {fault.what}" if place["path"] else fault.what
    return Finding(place["file"], int(place["line"]), "error", what, fault.do)
