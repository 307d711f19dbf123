"""Whatever JSON is sent as values: features that are plausible and in their units, or faults that repeat nothing."""

from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from cds_service.api.values import read_values
from cds_service.errors import BadRequest
from tests.api.conftest import tiny_model

FEATURES = tiny_model().features
NOW = datetime(2026, 6, 1, tzinfo=UTC)
NAMES = [spec.name for spec in FEATURES.features]
UNITS = [
    "mg/dL",
    "mmol/L",
    "kg/m2",
    "cm",
    "m",
    "[in_i]",
    "mm[Hg]",
    "mmHg",
    "%",
    "1",
    "a",
    "",
    "mg/d",
    "{x}",
    "10*3/uL",
    "kPa",
]

NUMBERS = st.one_of(
    st.integers(-(10**30), 10**30), st.floats(allow_nan=True, allow_infinity=True), st.floats(0, 300), st.booleans()
)
SCALARS = st.one_of(st.none(), NUMBERS, st.text(max_size=10), st.sampled_from(["male", "female", *UNITS]))
QUANTITIES = st.fixed_dictionaries({}, optional={"value": NUMBERS | SCALARS, "unit": st.sampled_from(UNITS) | SCALARS})
ANY = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)


@settings(max_examples=1500, deadline=None)
@given(
    st.one_of(
        ANY, st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=8), QUANTITIES | NUMBERS | ANY, max_size=8)
    )
)
def test_any_values(body):
    faults = ()
    features = {}
    try:
        features = read_values(body, FEATURES, NOW)
    except BadRequest as error:
        faults = error.faults
    assert bool(faults) != bool(features)
    for fault in faults:
        assert fault.where.split(".")[0] in {*NAMES, "$this"}
        assert len(str(fault)) < 500
    if faults:
        return
    for spec in FEATURES.features:
        feature = features[spec.name]
        assert feature.unit == spec.unit
        assert (feature.value is None) != (feature.reason is None)
        if feature.value is not None and spec.plausible is not None:
            assert spec.plausible[0] <= feature.value <= spec.plausible[1]
