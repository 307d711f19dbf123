"""One result is given in the unit that the feature declares, or the reason is said why its value can't be."""

import math

from cds_service.clinical.facts import Measurement
from cds_service.clinical.feature_spec import FeatureSpec
from cds_service.clinical.features import Feature
from cds_service.clinical.units import UCUM, UnitError, bare, conversion, same_unit, text_spelling

__all__ = ["in_declared_unit"]


def in_declared_unit(spec: FeatureSpec, one: Measurement) -> Feature:
    """Give one result in the declared unit, or say why its value can't be used."""
    flags = (one.flag,) if one.flag is not None else ()
    if one.reason is not None:
        return Feature(spec.name, None, one.reason, spec.unit)
    if spec.values:
        told = {spec.values[token] for token in one.coded if token in spec.values}
        if len(told) != 1:
            return Feature(spec.name, None, "conflicting" if told else "value_not_listed", spec.unit)
        return Feature(spec.name, told.pop(), None, spec.unit, one.source, one.code, one.start, one.end, flags)
    if one.value is None:
        return Feature(spec.name, None, "value_not_number" if one.coded else "no_value", spec.unit)
    if one.comparator is not None:
        return Feature(spec.name, None, "comparator", spec.unit)
    slope_intercept, flag, reason = _unit(spec, one)
    if slope_intercept is None:
        return Feature(spec.name, None, reason, spec.unit)
    slope, intercept = slope_intercept
    value = one.value * slope + intercept if (slope, intercept) != (1.0, 0.0) else one.value
    if not math.isfinite(value) or (spec.plausible is not None and not spec.plausible[0] <= value <= spec.plausible[1]):
        return Feature(spec.name, None, "implausible", spec.unit)
    if one.unit_text is not None and _text_says_otherwise(spec, one.value, one.unit_text, slope_intercept):
        return Feature(spec.name, None, "unit_conflicting", spec.unit)
    value += 0.0  # -0.0 is 0
    reported = None if one.unit == spec.unit or one.unit is None else (one.value, one.unit)
    if flag is not None:
        flags = (*flags, flag)
    return Feature(spec.name, value, None, spec.unit, one.source, one.code, one.start, one.end, flags, None, reported)


def _unit(spec: FeatureSpec, one: Measurement) -> tuple[tuple[float, float] | None, str | None, str | None]:
    """((slope, intercept), flag, reason): UCUM's own meaning first, then what this feature declares (case B-037)."""
    unit = one.unit
    if unit is None:
        return ((1.0, 0.0), None, None) if spec.unit == "1" else (None, None, "unit_missing")
    if one.unit_system == UCUM:
        direct = _convert(spec, unit)
        if direct is not None:
            return direct, None, None
        return _declared(spec, _alias(spec, unit), "unit_alias")
    if one.unit_system is not None:
        return _declared(spec, spec.aliases.get(f"{one.unit_system}|{unit}"), "unit_alias")
    return _declared(spec, text_spelling(unit, spec.spellings), "unit_from_text")


def _declared(
    spec: FeatureSpec, unit: str | None, flag: str
) -> tuple[tuple[float, float] | None, str | None, str | None]:
    converted = _convert(spec, unit) if unit is not None else None
    return (converted, flag, None) if converted is not None else (None, None, "unit_not_convertible")


def _convert(spec: FeatureSpec, unit: str) -> tuple[float, float] | None:
    if unit == spec.unit:
        return 1.0, 0.0
    if "{" in unit:
        unit = bare(unit)
    linear = spec.linear.get(unit)
    if linear is not None:
        return linear
    try:
        found = conversion(unit, spec.unit, molar_mass=spec.molar_mass_g_per_mol)
    except UnitError:
        return None
    return found.slope, found.intercept


def _alias(spec: FeatureSpec, unit: str) -> str | None:
    """What the feature declares this unit to mean, under any of UCUM's own spellings of it (``[iU]``, ``[IU]``)."""
    alias = spec.aliases.get(unit)
    if alias is None and spec.aliases:
        alias = next((means for known, means in spec.aliases.items() if same_unit(known, unit)), None)
    return alias


def _text_says_otherwise(spec: FeatureSpec, value: float, text: str, coded: tuple[float, float]) -> bool:
    """Whether the unit's text reads as another unit than its code, in which the value would be possible too.

    Then one of the two is wrong, and nothing tells which. A text that is no unit of this feature says nothing.
    """
    unit = text_spelling(text, spec.spellings) or text
    told = _convert(spec, unit)
    if told is None or math.isclose(told[0], coded[0], rel_tol=1e-9):
        return False
    other = value * told[0] + told[1]
    return spec.plausible is None or spec.plausible[0] <= other <= spec.plausible[1]
