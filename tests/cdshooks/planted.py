"""A good service folder with one fault planted in it, and what the tests need to look for it."""

import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path

from cds_service.cdshooks.check_findings import ModelFacts
from cds_service.clinical.feature_spec import read_feature_set

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "hooks"
TEST_HOOKS = ROOT / "tests/data/hooks"
ID = "dysglycaemia-screening"


def _features(path: str):
    return read_feature_set(tomllib.loads((ROOT / path).read_text("utf-8")))


MODELS = {
    "dysglycaemia": ModelFacts(
        _features("recipes/dysglycaemia/features.toml"), frozenset({"high"}), ("ge57", "ge60", "ge65")
    ),
    "case-labs": ModelFacts(_features("tests/data/recipes/case-labs/features.toml"), frozenset({"any"}), ("risk",)),
}


@dataclass(frozen=True)
class Plant:
    """Replace *old* by *new* in *file* of the shipped service; the fault must be told at the line of *at*."""

    file: str
    old: str
    new: str
    at: str
    what: str
    told_in: str | None = None
    level: str = "error"


def planted(plant: Plant, tmp_path: Path) -> tuple[Path, Path, int]:
    """The hooks folder with the fault, the file that the fault must be told in, and its line."""
    hooks = tmp_path / "hooks"
    shutil.copytree(SHIPPED / ID, hooks / ID)
    changed = hooks / ID / plant.file
    text = changed.read_text("utf-8")
    assert text.count(plant.old) >= 1, f"{plant.old!r} is not in {plant.file}: the plant is stale"
    changed.write_text(text.replace(plant.old, plant.new, 1), "utf-8")
    told_in = hooks / ID / (plant.told_in or plant.file)
    if not plant.at:
        return hooks, told_in, 1
    before, found, _ = told_in.read_text("utf-8").partition(plant.at)
    assert found, f"{plant.at!r} is not in {told_in.name}: the plant is stale"
    return hooks, told_in, before.count("\n") + 1
