"""Whose chart opens a figure counts: the part of a cohort that a service would let through."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from cds_service.clinical.features import Feature
from cds_service.cohorts.tables import Cohort

__all__ = ["Eligible", "SaidByRule"]


class SaidByRule(Struct, frozen=True, forbid_unknown_fields=True):
    """A value that a service's rule reports without any model."""

    feature: str
    at_least: float
    """In the feature's declared unit."""
    fasting: str
    """The feature that says whether the value was fasting."""
    fasting_at_least: float


class Eligible(Struct, frozen=True, forbid_unknown_fields=True):
    """As the service's ``[when]`` has it, as far as a survey can tell."""

    text: str
    age_years: tuple[int, int]
    """Both included."""
    require: tuple[str, ...]
    """Inputs that must be there."""
    rules: tuple[SaidByRule, ...] = ()
    """What needs no model and is counted apart."""

    def mask(self, cohort: Cohort) -> npt.NDArray[np.bool_]:
        """Say of each row whether it counts."""
        low, high = self.age_years
        return np.array(
            [
                (age := row["age_years"].value) is not None
                and low <= age <= high
                and all(row[name].value is not None for name in self.require)
                for row in cohort.rows
            ],
            dtype=np.bool_,
        )

    def by_rule(self, cohort: Cohort) -> npt.NDArray[np.bool_]:
        """Say of each row whether a rule speaks about it without any model."""
        return np.array([any(_fires(rule, row) for rule in self.rules) for row in cohort.rows], dtype=np.bool_)


def _fires(rule: SaidByRule, row: Mapping[str, Feature]) -> bool:
    value = row[rule.feature].value
    if value is None:
        return False
    return value >= rule.at_least or (row[rule.fasting].value == 1 and value >= rule.fasting_at_least)
