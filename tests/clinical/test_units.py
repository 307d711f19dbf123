"""Units: read exactly as UCUM says or refused; held against ucumvert and pint, never against our own table."""

import re
import tomllib
import warnings
from itertools import permutations
from pathlib import Path

import pytest

from cds_service.clinical.feature_spec import read_feature_set
from cds_service.clinical.units import Conversion, UnitError, conversion, text_spelling

ROOT = Path(__file__).parents[2]
DECLARATIONS = sorted([*ROOT.glob("recipes/*/features.toml"), *ROOT.glob("tests/data/recipes/*/features.toml")])

LAB_UNITS = (
    "mg/dL", "g/dL", "g/L", "mg/L", "ug/L", "ng/mL", "pg/mL", "ng/L", "ug/dL", "ng/dL", "ug/mL", "mg/mL", "fg/mL",
    "mmol/L", "umol/L", "nmol/L", "pmol/L", "mol/L", "mmol/mL", "umol/dL", "nmol/mL", "pmol/mL",
    "meq/L", "mosm/L", "mosm/kg", "osm/L", "U/L", "mU/L", "kU/L", "U/mL", "mU/mL", "U/dL", "ukat/L", "nkat/L", "kat/L",
    "[iU]/L", "[iU]/mL", "m[iU]/L", "m[iU]/mL", "u[iU]/mL", "k[iU]/L", "[IU]/mL",
    "10*3/uL", "10*6/uL", "10*4/uL", "10*9/L", "10*12/L", "10*3/mL", "/uL", "/mL", "/L",
    "fL", "um3", "pL", "pg", "ng", "ug", "mg", "g", "kg", "L", "dL", "mL", "uL",
    "L/L", "g/g", "mg/g", "mg/mg", "mmol/mol", "umol/mmol", "%", "[ppth]", "[ppm]",
    "mm[Hg]", "kPa", "Pa", "mbar", "cm", "m", "mm", "[in_i]", "[ft_i]", "[lb_av]", "[oz_av]", "kg/m2", "g/m2", "m2",
    "mL/min", "L/min", "mL/s", "mL/h", "mg/h", "g/d", "mg/d", "mmol/d", "ug/min", "mm/h",
    "s", "min", "h", "d", "wk", "ms", "Hz", "/min", "{beats}/min", "[pH]", "Cel", "[degF]", "K",
)  # fmt: skip
"""What laboratories and wards write, well over a hundred."""

ARBITRARY = (
    "[iU]/L",
    "U/L",
    "[arb'U]/L",
    "[GPL'U]/L",
    "eq/L",
    "osm/L",
    "mol/L",
    "g/L",
    "{titer}/L",
    "[pH]",
    "Cel",
    "K",
    "[degF]",
)


@pytest.fixture(scope="module")
def pint_units():
    """Code → (quantity, dimensionality), by ucumvert and pint; None where they do not know the code."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from ucumvert import PintUcumRegistry

        registry = PintUcumRegistry()

    def parse(code):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return registry.from_ucum(re.sub(r"\{[^{}]*\}", "", code) or "1")

    return parse


def declared_units():
    """Every (reported, wanted, molar mass) that a committed declaration relies on."""
    for path in DECLARATIONS:
        for spec in read_feature_set(tomllib.loads(path.read_text(encoding="utf-8"))).features:
            if spec.origin == "observation" and not spec.values:
                units = {spec.unit, *spec.spellings.values(), *spec.aliases.values()} - set(spec.linear)
                yield from ((unit, spec.unit, spec.molar_mass_g_per_mol) for unit in sorted(units))


@pytest.mark.parametrize(
    ("reported", "wanted", "molar_mass", "value", "result"),
    [
        pytest.param("mmol/L", "mg/dL", 180.156, 5.0, 90.078, id="an amount becomes a mass by the declared molar mass"),
        pytest.param("mg/dL", "mmol/L", 180.156, 90.078, 5.0, id="and back"),
        pytest.param("umol/L", "mg/dL", 113.12, 88.4, 1.0000, id="creatinine"),
        pytest.param("10*4/uL", "10*3/uL", None, 21.5, 215.0, id="Japanese platelets"),
        pytest.param("10*9/L", "10*3/uL", None, 6.1, 6.1, id="the same number under two names"),
        pytest.param("g/L", "g/dL", None, 140, 14.0, id="a litre is ten decilitres"),
        pytest.param("ug/mL", "mg/L", None, 0.5, 0.5, id="micro and milli cancel"),
        pytest.param("mg/d", "g/d", None, 300, 0.3, id="mg/d is a day, not a mistyped dL"),
        pytest.param("l/min", "L/min", None, 3, 3, id="litre has two spellings in UCUM"),
        pytest.param("ukat/L", "U/L", None, 1.0, 60.0, id="katal and unit measure the same"),
        pytest.param("m[iU]/mL", "[iU]/L", None, 4.0, 4.0, id="prefixes cancel on arbitrary units"),
        pytest.param("kPa", "mm[Hg]", None, 16.0, 120.0102, id="blood pressure in kilopascal"),
        pytest.param("[lb_av]", "kg", None, 150, 68.0389, id="pounds"),
        pytest.param("mg{creat}/dL", "mg/dL", None, 7, 7, id="an annotation changes nothing"),
        pytest.param("{cells}/uL", "/uL", None, 7, 7, id="an annotation alone is one"),
        pytest.param("10*3", "1", None, 2, 2000, id="powers of ten count"),
        pytest.param("mg.dL-1", "mg/dL", None, 7, 7, id="a negative exponent divides"),
    ],
)  # fmt: skip
def test_a_value_becomes_what_it_is_worth(reported, wanted, molar_mass, value, result):
    assert conversion(reported, wanted, molar_mass=molar_mass)(value) == pytest.approx(result, rel=1e-4)


@pytest.mark.parametrize(
    ("reported", "wanted"),
    [
        pytest.param("MG/DL", "mg/dL", id="case is never folded"),
        pytest.param("mg/dl ", "mg/dL", id="a blank is no UCUM"),
        pytest.param("mg / dL", "mg/dL", id="blanks inside neither"),
        pytest.param("mg/d", "mg/dL", id="a cut unit is another unit"),
        pytest.param("K/uL", "10*3/uL", id="kelvin a microlitre is no count"),
        pytest.param("mg%", "mg/dL", id="mg% is no UCUM"),
        pytest.param("mgdL", "mg/dL", id="two atoms need a sign between them"),
        pytest.param("mg/dL/", "mg/dL", id="a unit ends in no sign"),
        pytest.param("mg//dL", "mg/dL", id="nor has it two in a row"),
        pytest.param("", "mg/dL", id="empty"),
        pytest.param("/", "mg/dL", id="a sign alone"),
        pytest.param("{", "mg/dL", id="an open annotation"),
        pytest.param("{mg/dL}", "mg/dL", id="an annotation is no unit"),
        pytest.param("{a}2.mg/dL", "mg/dL", id="a number after an annotation"),
        pytest.param("mg/(dL)", "mg/dL", id="brackets are refused, not half read"),
        pytest.param("+2.mg/dL", "mg/dL", id="a sign without an atom"),
        pytest.param("0.mg/dL", "mg/dL", id="a factor of nothing"),
        pytest.param("mg/100mL", "mg/dL", id="a number glued to an atom"),
        pytest.param("µg/L", "ug/L", id="the micro sign is text, not UCUM"),
        pytest.param("mg/dL", "mmol/L", id="a mass is no amount without a molar mass"),
        pytest.param("mmol/mol", "%", id="ratios of different kinds"),
        pytest.param("%", "1", id="a percentage of what"),
        pytest.param("mmol.mol-1", "1", id="a ratio written with an exponent"),
        pytest.param("g/g", "%", id="a mass ratio"),
        pytest.param("%{HbA1c}", "%", id="an annotated percentage is not taken for the plain one"),
        pytest.param("mmin", "s", id="minutes take no prefix"),
        pytest.param("x" * 65, "mg/dL", id="too long"),
        pytest.param("10*99.10*99.10*99.10*99.mg/dL", "mg/dL", id="a factor beyond all numbers"),
        pytest.param("10*-99.10*-99.10*-99.10*-99.mg/dL", "mg/dL", id="a factor that would make each value 0"),
        pytest.param("Ym99.m-99.mg/dL", "mg/dL", id="the same by prefixes"),
    ],
)  # fmt: skip
def test_what_is_not_the_unit_is_refused(reported, wanted):
    with pytest.raises(UnitError):
        conversion(reported, wanted)


@pytest.mark.parametrize(("reported", "wanted"), [("mol2/L", "g/L"), ("mol.g/L", "g2/L"), ("U/L", "g/L")])
def test_a_molar_mass_turns_moles_into_grams_and_nothing_else(reported, wanted):
    with pytest.raises(UnitError):
        conversion(reported, wanted, molar_mass=180.0)


@pytest.mark.parametrize(("reported", "wanted"), list(permutations(ARBITRARY, 2)), ids=lambda code: code)
def test_no_two_arbitrary_units_convert(reported, wanted):
    with pytest.raises(UnitError):
        conversion(reported, wanted)


def test_two_spellings_of_the_international_unit_are_one():
    assert conversion("[IU]/mL", "[iU]/mL") == Conversion(1.0)


def agrees(parse, reported, wanted, molar_mass):
    """Our answer, and whether the two packages say the same factor or refuse as well."""
    import pint

    try:
        ours = conversion(reported, wanted, molar_mass=molar_mass)
    except UnitError:
        return None
    source, target = parse(reported), parse(wanted)
    if molar_mass is not None and source.dimensionality != target.dimensionality:
        grams = molar_mass * parse("g/mol")
        candidates = (source * grams, source / grams)
        source = next(one for one in candidates if one.dimensionality == target.dimensionality)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            theirs = (source.to(target.units) / target).to_base_units().magnitude
        except pint.DimensionalityError as error:
            raise AssertionError(f"we convert {reported} to {wanted}, pint refuses") from error
    assert ours.intercept == 0.0
    assert ours.slope == pytest.approx(float(theirs), rel=1e-5), (reported, wanted)
    return ours.slope


@pytest.mark.parametrize(("reported", "wanted", "molar_mass"), sorted(set(declared_units()), key=str))
def test_each_declared_unit_is_worth_what_ucumvert_and_pint_say(pint_units, reported, wanted, molar_mass):
    assert agrees(pint_units, reported, wanted, molar_mass) is not None


def test_each_pair_of_common_units_agrees_with_pint_or_is_refused(pint_units):
    """Ten thousand pairs: where we convert, pint gives the same factor; offsets (temperature) we refuse."""
    assert len(LAB_UNITS) > 100
    converted = sum(
        agrees(pint_units, reported, wanted, None) is not None
        for reported in LAB_UNITS
        for wanted in LAB_UNITS
        if reported != wanted
    )
    assert converted > 400


@pytest.mark.parametrize("unit", LAB_UNITS)
def test_each_common_unit_is_read(unit):
    rest = unit if unit.startswith("/") else f".{unit}"
    assert conversion(f"kat{rest}", f"mkat{rest}").slope == pytest.approx(1000.0)


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        pytest.param("mg/dL", "mg/dL", id="as listed"),
        pytest.param("ｍｇ／ｄＬ", "mg/dL", id="full width is the same text after NFKC"),
        pytest.param("㎎/㎗", None, id="a square letter whose NFKC is mg/dl is not listed"),
        pytest.param("MG/DL", None, id="case is never folded"),
        pytest.param("mg/dL.", None, id="no completion"),
        pytest.param("", None, id="nothing"),
    ],
)
def test_a_text_is_a_unit_only_where_the_feature_lists_it(text, unit):
    assert text_spelling(text, {"mg/dL": "mg/dL"}) == unit
