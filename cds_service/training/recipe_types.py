"""One frozen recipe: everything that decides what a bundle becomes, read from ``recipes/<model>/<name>.toml``."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from cds_service.cohorts.eligible import Eligible
from cds_service.errors import Fault, SettingsError

__all__ = ["Eligible", "MaskRecipe", "NetRecipe", "OutputRecipe", "Recipe", "TreeRecipe", "read_recipe"]


class DataRecipe(Struct, frozen=True, forbid_unknown_fields=True):
    """Which files train and which test; relative to the data's folder."""

    name: str
    licence: str
    training: tuple[str, ...]
    test_name: str
    test: tuple[str, ...]


class OutputRecipe(Struct, frozen=True, forbid_unknown_fields=True):
    """One output: the label at or above a limit."""

    name: str
    at_least: float
    title: str


class NetRecipe(Struct, frozen=True, forbid_unknown_fields=True):
    """A multilayer perceptron and how it is fitted (AdamW, one-cycle learning rate)."""

    hidden: tuple[int, ...]
    epochs: int
    batch: int
    learning_rate: float
    weight_decay: float
    label_weight: float
    """Weight of the auxiliary regression on the label itself: its height says more than its class."""


class TreeRecipe(Struct, frozen=True, forbid_unknown_fields=True):
    """Histogram gradient boosting, one classifier an output."""

    rounds: int
    learning_rate: float
    leaves: int
    leaf_cases: int
    l2: float
    rising: tuple[str, ...]
    """Inputs with which the risk may only rise."""
    falling: tuple[str, ...]


class TeacherRecipe(Struct, frozen=True, forbid_unknown_fields=True):
    nets: int
    """How many nets of different seeds."""
    net: NetRecipe
    trees: TreeRecipe
    tree_weight: float
    """Share of the trees in the ensemble's mean log odds."""


class MaskRecipe(Struct, frozen=True, forbid_unknown_fields=True):
    """Which inputs go missing in the student's training."""

    whole: float
    """Share of rows that keep all they have."""
    groups: tuple[tuple[str, ...], ...]
    """Inputs that come and go together."""
    group_drop: float
    """How often each group goes, of the rows that are masked."""
    single_drop: float
    """How often each single input goes, of the rows that are masked."""
    never: tuple[str, ...]


class StudentRecipe(Struct, frozen=True, forbid_unknown_fields=True):
    net: NetRecipe
    soft_weight: float
    """Weight of the teacher's out-of-fold probabilities; the rest is the hard label's."""
    masks: MaskRecipe
    held: float = 0.0
    """Weight of a slope against the directions that the trees are held to (``rising``, ``falling``); 0: as it likes."""


class CalibrationRecipe(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    edges: tuple[float, ...]
    minimum_cases: int
    ridge: float = 0.0
    """Of the slope; above 0 only where a handful of cases may be separated by chance."""


class OperatingPointRecipe(Struct, frozen=True, forbid_unknown_fields=True):
    """How a threshold is chosen on out-of-fold predictions: the burden, and the PPV below which it is refused."""

    output: str
    cards_per_100: float
    minimum_ppv_score: float


class Recipe(Struct, frozen=True, forbid_unknown_fields=True):
    """``recipes/<model>/<name>.toml``."""

    model: str
    version: str
    parent: str
    seed: int
    folds: int
    minimum_inputs: int
    golden_tolerance: float
    population: Mapping[str, str]
    data: DataRecipe
    outputs: tuple[OutputRecipe, ...]
    teacher: TeacherRecipe
    student: StudentRecipe
    calibration: CalibrationRecipe
    eligible: Eligible
    hidden: Mapping[str, tuple[str, ...]]
    """Title → inputs that charts often lack: the figures are given again without them."""
    operating_points: Mapping[str, OperatingPointRecipe]

    @property
    def thresholds(self) -> dict[str, float]:
        """Output → the limit of the label."""
        return {output.name: output.at_least for output in self.outputs}

    def as_dict(self) -> dict[str, Any]:
        """Give the recipe as plain values, for ``metrics.json``."""
        plain: dict[str, Any] = msgspec.to_builtins(self)
        return plain


def read_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises:
        SettingsError: It can't be read, or a key is unknown, missing or of the wrong type; names the key.
    """
    try:
        recipe = msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), Recipe)
    except OSError as fault:
        raise SettingsError(
            Fault(str(path), f"can't be read ({fault.strerror})", "Name a recipe that is there")
        ) from None
    except (msgspec.MsgspecError, tomllib.TOMLDecodeError) as fault:
        raise SettingsError(Fault(str(path), str(fault), "Mend the recipe; default.toml is a complete one")) from None
    limits = list(recipe.thresholds.values())
    if limits != sorted(set(limits)):
        raise SettingsError(Fault(f"{path}: outputs", "the limits do not rise", "Order outputs by at_least"))
    if recipe.folds < 3:
        what = "a teacher is fitted without two folds at a time, so there must be at least 3"
        raise SettingsError(Fault(f"{path}: folds", what, "Write 5"))
    if set(recipe.data.training) & set(recipe.data.test):
        raise SettingsError(Fault(f"{path}: data", "a file is in training and in test", "Keep the test set apart"))
    return recipe
