"""Units of measurement: UCUM, case-sensitive, read exactly; a unit that can't be converted is refused.

A unit code is a product of atoms with prefixes and exponents. ``conversion`` reads the part of UCUM
that laboratories and wards write (section 2 of the specification, "c/s" form) and is memoised, so that
a hook call pays one dictionary look-up a value. No case folding, no completion, no guessing: ``mg/d``
is milligram per day, ``K/uL`` kelvin per microlitre.

Source: The Unified Code for Units of Measure, https://ucum.org, version 2.1. The tests compare every
unit that our declarations use with the ucumvert and pint packages.
"""

import re
import unicodedata
from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache
from typing import NamedTuple

__all__ = ["UCUM", "Conversion", "UnitError", "bare", "conversion", "same_unit", "text_spelling"]

UCUM = "http://unitsofmeasure.org"


class UnitError(ValueError):
    """A unit is not UCUM, or measures something else than the unit that is wanted."""


class Conversion(NamedTuple):
    """value in the wanted unit = slope × value + intercept."""

    slope: float
    intercept: float = 0.0

    def __call__(self, value: float) -> float:
        return value * self.slope + self.intercept


_PREFIXES: Mapping[str, Fraction] = {
    "Y": Fraction(10**24), "Z": Fraction(10**21), "E": Fraction(10**18), "P": Fraction(10**15), "T": Fraction(10**12),
    "G": Fraction(10**9), "M": Fraction(10**6), "k": Fraction(1000), "h": Fraction(100), "da": Fraction(10),
    "d": Fraction(1, 10), "c": Fraction(1, 100), "m": Fraction(1, 1000), "u": Fraction(1, 10**6),
    "n": Fraction(1, 10**9), "p": Fraction(1, 10**12), "f": Fraction(1, 10**15), "a": Fraction(1, 10**18),
}  # fmt: skip

Dimension = tuple[tuple[str, int], ...]

# atom: (takes a prefix, factor to the base, exponents by base). Bases: m, g, s, K, C (coulomb), mol, and
# each arbitrary unit by itself: [iU] and U measure different things and never convert into each other.
_ATOMS: Mapping[str, tuple[bool, Fraction, Mapping[str, int]]] = {
    "m": (True, Fraction(1), {"m": 1}),
    "g": (True, Fraction(1), {"g": 1}),
    "s": (True, Fraction(1), {"s": 1}),
    "K": (True, Fraction(1), {"K": 1}),
    "L": (True, Fraction(1, 1000), {"m": 3}),
    "l": (True, Fraction(1, 1000), {"m": 3}),
    "mol": (True, Fraction(1), {"mol": 1}),
    "eq": (True, Fraction(1), {"eq": 1}),
    "osm": (True, Fraction(1), {"osm": 1}),
    "min": (False, Fraction(60), {"s": 1}),
    "h": (False, Fraction(3600), {"s": 1}),
    "d": (False, Fraction(86400), {"s": 1}),
    "wk": (False, Fraction(604800), {"s": 1}),
    "mo": (False, Fraction(2629800), {"s": 1}),
    "a": (False, Fraction(31557600), {"s": 1}),
    "Hz": (True, Fraction(1), {"s": -1}),
    "kat": (True, Fraction(1), {"mol": 1, "s": -1}),
    "U": (True, Fraction(1, 60 * 10**6), {"mol": 1, "s": -1}),
    "[iU]": (True, Fraction(1), {"[iU]": 1}),
    "[IU]": (True, Fraction(1), {"[iU]": 1}),
    "[arb'U]": (False, Fraction(1), {"[arb'U]": 1}),
    "[GPL'U]": (False, Fraction(1), {"[GPL'U]": 1}),
    "[pH]": (False, Fraction(1), {"[pH]": 1}),
    "Pa": (True, Fraction(1000), {"g": 1, "m": -1, "s": -2}),
    "bar": (True, Fraction(10**8), {"g": 1, "m": -1, "s": -2}),
    "m[Hg]": (True, Fraction(133322000), {"g": 1, "m": -1, "s": -2}),
    "G": (True, Fraction(1), {"gauss": 1}),
    "Cel": (False, Fraction(1), {"Cel": 1}),
    "[degF]": (False, Fraction(1), {"[degF]": 1}),
    "[in_i]": (False, Fraction(254, 10000), {"m": 1}),
    "[ft_i]": (False, Fraction(3048, 10000), {"m": 1}),
    "[lb_av]": (False, Fraction(45359237, 100000), {"g": 1}),
    "[oz_av]": (False, Fraction(45359237, 1600000), {"g": 1}),
    "%": (False, Fraction(1, 100), {}),
    "[ppth]": (False, Fraction(1, 1000), {}),
    "[ppm]": (False, Fraction(1, 10**6), {}),
    "10*": (False, Fraction(10), {}),
    "10^": (False, Fraction(10), {}),
}  # fmt: skip

_TERM = re.compile(
    r"(?P<unit>10\*|10\^|[A-Za-z%'_]*(?:\[[A-Za-z_']+\])?)(?P<exponent>[+-]?[0-9]{1,9})?(?P<note>(?:\{[^{}]*\})*)"
)
_LONGEST = 64
_EXPONENT_DIGITS = 2
_NOTE = re.compile(r"\{[^{}]*\}")
_COUNT = re.compile(r"(?:1|10[*^][0-9]{0,2})?(?:\{[^{}]*\})?").fullmatch
"""Units that count things: ``1``, ``{cells}``, ``10*3``."""


class _Unit(NamedTuple):
    factor: Fraction
    dimension: Dimension


def conversion(reported: str, wanted: str, *, molar_mass: float | None = None) -> Conversion:
    """Say how a value in one unit becomes a value in another.

    Args:
        reported: The UCUM code that came with the value.
        wanted: The UCUM code that the feature declares.
        molar_mass: g/mol, where an amount of substance may become a mass or the other way round.

    Raises:
        UnitError: One of the two is not UCUM, or they measure different things. A number without a
            dimension (``%``, ``mmol/mol``, ``1``) only becomes another where both are plain powers of ten
            of the same kind, which the declaration must say itself (``linear``).

    >>> conversion("mmol/L", "mg/dL", molar_mass=180.156)(5.0)
    90.078
    >>> conversion("10*4/uL", "10*3/uL")(21.5)
    215.0
    """
    return _conversion(reported, wanted, molar_mass)


@lru_cache(maxsize=4096)
def _conversion(reported: str, wanted: str, molar_mass: float | None) -> Conversion:
    if reported == wanted:
        return Conversion(1.0)
    source, target = _read(reported), _read(wanted)
    if source.dimension == target.dimension:
        if not source.dimension and not _same_kind_of_ratio(reported, wanted):
            raise UnitError("the two units are ratios of different kinds")
        return Conversion(_slope(source.factor / target.factor))
    if molar_mass is not None:
        grams = Fraction(str(molar_mass))
        if _swap(source.dimension, "mol", "g") == target.dimension:
            return Conversion(_slope(source.factor * grams / target.factor))
        if _swap(source.dimension, "g", "mol") == target.dimension:
            return Conversion(_slope(source.factor / grams / target.factor))
    raise UnitError("the two units measure different things")


def _slope(factor: Fraction) -> float:
    """The factor as a number; one that no number holds (``10*99.10*99.10*99.10*99.g``) is no unit of a laboratory."""
    try:
        slope = float(factor)
    except OverflowError:
        slope = 0.0
    if slope == 0.0:
        raise UnitError("the units are further apart than numbers reach")
    return slope


def bare(code: str) -> str:
    """A code without its annotations, which are 1 in UCUM: what was counted is told by the test's code (B-048).

    >>> bare("%{HemoglobinA1C}"), bare("{cells}/uL")
    ('%', '/uL')
    """
    return _NOTE.sub("", code) or "1"


def same_unit(one: str, other: str) -> bool:
    """Whether two codes are the same unit to UCUM, so that a value stays the same number."""
    try:
        return conversion(one, other).slope == 1.0
    except UnitError:
        return False


def text_spelling(text: str, spellings: Mapping[str, str]) -> str | None:
    """Find the UCUM unit of a unit written as text, if the feature lists exactly this spelling (after NFKC)."""
    folded = unicodedata.normalize("NFKC", text)
    for spelling, unit in spellings.items():
        if unicodedata.normalize("NFKC", spelling) == folded:
            return unit
    return None


def _same_kind_of_ratio(reported: str, wanted: str) -> bool:
    """Annotations and powers of ten are counts; % of what and mmol/mol of what are not told by the unit."""
    return all(_COUNT(unit) for unit in (reported, wanted))


def _swap(dimension: Dimension, old: str, new: str) -> Dimension | None:
    exponents = dict(dimension)
    count = exponents.pop(old, 0)
    if not count or new in exponents:
        return None
    exponents[new] = count
    return tuple(sorted(exponents.items()))


@lru_cache(maxsize=4096)
def _read(code: str) -> _Unit:
    if not 0 < len(code) <= _LONGEST or not code.isascii() or any(sign.isspace() for sign in code):
        raise UnitError("the unit is not a UCUM code")
    factor, exponents = Fraction(1), dict[str, int]()
    position, sign = 0, 1
    if code.startswith("/"):
        position, sign = 1, -1
    while True:
        match = _TERM.match(code, position)
        if match is None or match.end() == position:
            raise UnitError("the unit is not a UCUM code")
        term_factor, term_exponents = _term(match)
        power = sign
        factor *= term_factor**power
        for base, count in term_exponents.items():
            exponents[base] = exponents.get(base, 0) + count * power
        position = match.end()
        if position == len(code):
            break
        if code[position] not in "./" or position + 1 == len(code):
            raise UnitError("the unit is not a UCUM code")
        sign = -1 if code[position] == "/" else 1
        position += 1
    return _Unit(factor, tuple(sorted((base, count) for base, count in exponents.items() if count)))


def _term(match: re.Match[str]) -> tuple[Fraction, Mapping[str, int]]:
    unit, exponent = match["unit"], match["exponent"]
    if not unit:
        if exponent and exponent[0] not in "+-":  # a plain integer factor, as in "1" or "24.h"
            if int(exponent) == 0:
                raise UnitError("the unit is not a UCUM code")
            return Fraction(int(exponent)), {}
        if match["note"] and not exponent:
            return Fraction(1), {}
        raise UnitError("the unit is not a UCUM code")
    if exponent and len(exponent.lstrip("+-")) > _EXPONENT_DIGITS:
        raise UnitError("the unit is not a UCUM code")
    power = int(exponent) if exponent else 1
    prefix_factor, (_, atom_factor, dimensions) = _prefixed(unit)
    return (prefix_factor * atom_factor) ** power, {base: count * power for base, count in dimensions.items()}


def _prefixed(unit: str) -> tuple[Fraction, tuple[bool, Fraction, Mapping[str, int]]]:
    if unit in _ATOMS:
        return Fraction(1), _ATOMS[unit]
    for length in (2, 1):
        prefix, atom = unit[:length], unit[length:]
        if prefix in _PREFIXES and atom in _ATOMS and _ATOMS[atom][0]:
            return _PREFIXES[prefix], _ATOMS[atom]
    raise UnitError("the unit is not a UCUM code")
