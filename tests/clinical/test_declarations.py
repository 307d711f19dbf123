"""features.toml and code sets: what is wrong is refused by name before a patient pays for it."""

import tomllib

import pytest

from cds_service.clinical.codes import CodeSet, canonical, canonical_token
from cds_service.clinical.feature_spec import read_feature_set

JLAC = "http://medis.or.jp/CodeSystem/master-JLAC10-17digits"


def table(**fields):
    return {"name": "glucose", "unit": "mg/dL", "codes": ["http://loinc.org|2345-7"], **fields}


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        pytest.param([], "feature: there is no", id="nothing declared"),
        pytest.param([{"unit": "1"}], r"feature\[0\]\.name", id="no name"),
        pytest.param([table(name="")], r"feature\[0\]\.name", id="an empty name"),
        pytest.param([table(units="mg/dL")], r"feature\[glucose\]\.units: unknown key", id="a mistyped key"),
        pytest.param([{"name": "glucose"}], r"feature\[glucose\]\.codes", id="no codes"),
        pytest.param([table(codes=["2345-7"])], r"feature\[glucose\]\.codes: a code is written", id="a code without its system"),
        pytest.param([table(excludes_only=["x|"])], r"feature\[glucose\]\.excludes_only", id="a system without a code"),
        pytest.param([table(plausible=[10, 10])], r"feature\[glucose\]\.plausible", id="a range without width"),
        pytest.param([table(clip=[1])], r"feature\[glucose\]\.clip", id="half a range"),
        pytest.param([table(spellings={"mg%": "mg%"})], r"feature\[glucose\]\.spellings", id="a spelling that means no UCUM unit"),
        pytest.param([table(aliases={"x": "mmol/L"})], r"feature\[glucose\]\.aliases", id="an alias that does not convert"),
        pytest.param([table(), table()], r"feature\[glucose\]\.name: two features", id="the same name twice"),
        pytest.param([{"name": "f", "origin": "fasting_state", "fasting_of": "x"}], r"feature\[f\]\.fasting_of", id="the state of nothing"),
    ],
)  # fmt: skip
def test_a_wrong_declaration_is_named(tables, says):
    with pytest.raises(ValueError, match=says):
        read_feature_set({"feature": tables})


def test_a_declaration_is_read_with_its_safe_defaults():
    text = '[[feature]]\nname = "glucose"\nunit = "mg/dL"\ncodes = ["http://loinc.org|2345-7"]\nspellings = ["mg/dl"]\n'
    features = read_feature_set(tomllib.loads(text))
    spec = features["glucose"]
    assert "glucose" in features
    assert "other" not in features
    assert spec.spellings == {"mg/dl": "mg/dL"}
    assert spec.statuses == {"final", "amended", "corrected"}
    assert (spec.censored, spec.preliminary, spec.missing) == ("refuse", False, "masked")


def test_a_feature_may_ask_for_preliminary_results():
    (spec,) = read_feature_set({"feature": [table(preliminary=True)]}).features
    assert "preliminary" in spec.statuses


def test_an_alias_may_mean_a_unit_of_the_declared_line():
    (spec,) = read_feature_set(
        {"feature": [table(unit="%", linear={"mmol/mol": [0.0915, 2.15]}, aliases={"x": "mmol/mol"})]}
    ).features
    assert spec.linear["mmol/mol"] == (0.0915, 2.15)


@pytest.mark.parametrize("token", ["4548-4", "|4548-4", "http://loinc.org|", "http://loinc.org| 4548-4", "a|b|c", ""])
def test_a_code_needs_its_system(token):
    with pytest.raises(ValueError, match=r"system\|code"):
        canonical_token(token)


@pytest.mark.parametrize(
    ("system", "name"),
    [
        ("urn:oid:1.2.392.200119.4.504", f"{JLAC}|x"),
        (JLAC, f"{JLAC}|x"),
        ("urn:oid:2.16.840.1.113883.6.1", "http://loinc.org|x"),
        ("http://other", "http://other|x"),
    ],
)
def test_one_system_has_one_name(system, name):
    assert canonical(system, "x") == name


@pytest.mark.parametrize(
    ("token", "is_in"),
    [
        ("s|E11", True),
        ("s|E11.9", True),
        ("s|E1", False),
        ("S|E11", False),
        ("s|e11", False),
        ("t|1", True),
        ("t|10", False),
        (7, False),
    ],
)
def test_prefixes_count_only_where_they_are_written_as_prefixes(token, is_in):
    codes = CodeSet(frozenset({"t|1"}), ("s|E11",))
    assert (token in codes) is is_in
    if isinstance(token, str):
        assert (codes.any_of([token]) is not None) is is_in


def test_a_set_without_prefixes_has_none():
    assert CodeSet(frozenset({"t|1"})).any_of(["t|10", "t|1"]) == "t|1"
    assert "t|2" not in CodeSet(frozenset({"t|1"}))
