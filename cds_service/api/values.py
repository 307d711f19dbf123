"""Named values with units become facts, so that the plain window and the hook share one definition of a feature.

``{"age_years": 62, "glucose": {"value": 5.4, "unit": "mmol/L"}}`` → Facts → ``build_features``, the same that a chart
passes through (case B-075). Every fault is found before any is told, and none repeats what was sent (SEC-085).
"""

import math
from collections.abc import Mapping
from datetime import UTC, date, datetime
from typing import Any

from cds_service.cdshooks.strict_json import Duplicated
from cds_service.clinical.building import build_features
from cds_service.clinical.facts import Facts, Measurement, PatientFact
from cds_service.clinical.feature_spec import FeatureSet, FeatureSpec
from cds_service.clinical.features import Feature
from cds_service.clinical.times import Interval
from cds_service.clinical.units import UCUM, UnitError, conversion
from cds_service.errors import BadRequest, Fault

__all__ = ["Values", "example_of", "read_values"]

Values = Mapping[str, object]
"""Feature name → what was sent for it."""

_SOURCE = "request"
_OLDEST_YEARS = 150


def read_values(
    body: object, feature_set: FeatureSet, now: datetime, *, may_lack_all: bool = False
) -> dict[str, Feature]:
    """Read the body of a prediction request.

    Args:
        body: The parsed JSON: an object of feature name → ``{"value": x, "unit": "…"}``; age a number of whole
            years, sex ``"male"`` or ``"female"``, a fasting state ``true`` or ``false``; ``null`` is "not known".
        feature_set: What the model declares.
        now: The moment of the request, with its time zone: values count as measured then.
        may_lack_all: Whether a value that the model can't do without may be missing: it then abstains.

    Returns:
        Every declared feature, in its declared unit or with the reason that it has no value.

    Raises:
        BadRequest: Names every unknown member, wrong type, unit that can't be converted, implausible value and
            missing value that the model can't do without.
    """
    if not isinstance(body, dict):
        raise BadRequest(Fault("$this", "the body is not a JSON object", "send {name: {value, unit}}"))
    reader = _Reader(feature_set, now)
    if isinstance(body, Duplicated):
        reader.fault("$this", "a name stands twice", "name each value once")
    names = {spec.name: spec for spec in feature_set.inputs}
    for place, (name, given) in enumerate(body.items(), start=1):
        spec = names.get(name)
        if spec is None:
            # The name itself is the caller's text and may be anything, so only its place is told.
            known = ", ".join(names)
            reader.fault("$this", f"member {place} is not an input of this model", f"the inputs are {known}")
        elif given is not None:
            reader.read(spec, given)
    given = {name for name, value in body.items() if value is not None}
    return reader.features(given, may_lack_all=may_lack_all)


class _Reader:
    """Gathers facts and faults of one request."""

    def __init__(self, feature_set: FeatureSet, now: datetime) -> None:
        self._set = feature_set
        self._now = now
        self._faults: list[Fault] = []
        self._at_fault: set[str] = set()
        self._born: Interval | None = None
        self._sex: Any = None
        self._measured: dict[str, Measurement] = {}
        self._fasting: dict[str, tuple[FeatureSpec, bool]] = {}

    def fault(self, where: str, what: str, do: str) -> None:
        self._faults.append(Fault(where, what, do))
        self._at_fault.add(where.split(".", 1)[0])

    def read(self, spec: FeatureSpec, given: object) -> None:
        """Read one named value that is there."""
        if spec.origin == "patient.age":
            self._read_age(spec, given)
        elif spec.origin == "patient.sex":
            if given not in ("male", "female") or not isinstance(given, str):
                self.fault(spec.name, "it is neither of the two texts that are read", 'give "male" or "female"')
            else:
                self._sex = given
        elif spec.origin == "fasting_state":
            if not isinstance(given, bool):
                self.fault(spec.name, "it is not true or false", "give true (fasting) or false (casual)")
            elif spec.fasting_of is not None:
                self._fasting[spec.fasting_of] = (spec, given)
        elif spec.values:
            self._read_coded(spec, given)
        else:
            self._read_quantity(spec, given)

    def features(self, given: set[str], *, may_lack_all: bool) -> dict[str, Feature]:
        """Build the features; complain about what they say of the values that were given."""
        for of, (spec, _) in self._fasting.items():
            if of not in given:
                self.fault(spec.name, f"it tells about {of}, which is not there", f"send {of} too, or leave it out")
        measurements: dict[str, list[Measurement]] = {}
        for one in map(self._coded_by_state, self._measured):
            measurements.setdefault(one.code, []).append(one)
        facts = Facts(patient=PatientFact(born=self._born, sex=self._sex), measurements=measurements)
        features = build_features(self._set, facts, self._now)
        for spec in self._set.inputs:
            feature = features[spec.name]
            if spec.name in self._at_fault or feature.value is not None:
                continue
            if spec.name in given:
                self._complain(spec, feature)
            elif spec.missing == "abstain" and not may_lack_all:
                self.fault(spec.name, "the model can't do without it", f"send {example_of(spec)}")
        if self._faults:
            raise BadRequest(*self._faults)
        return features

    def _read_age(self, spec: FeatureSpec, given: object) -> None:
        if isinstance(given, dict):
            if given.get("unit") != "a":
                self.fault(f"{spec.name}.unit", "age is read in years", 'give "a", or the number alone')
                return
            given = given.get("value")
        years = _number(given)
        if years is None or years != int(years) or not 0 <= years <= _OLDEST_YEARS:
            self.fault(spec.name, "it is not an age in whole years", "give the age at the last birthday")
            return
        # Whoever was born on New Year's Day so many years ago has this age today, whatever today is.
        birthday = date(self._now.astimezone(UTC).year - int(years), 1, 1)
        moment = datetime(birthday.year, 1, 1, tzinfo=UTC)
        self._born = Interval(moment, moment)

    def _read_coded(self, spec: FeatureSpec, given: object) -> None:
        value = given.get("value") if isinstance(given, dict) else given
        if not isinstance(value, str) or value not in spec.values:
            self.fault(f"{spec.name}.value", "it is not a result of its table", f"give one of {', '.join(spec.values)}")
            return
        self._measured[spec.name] = self._measurement(coded=(value,))

    def _read_quantity(self, spec: FeatureSpec, given: object) -> None:
        if not isinstance(given, dict):
            self.fault(spec.name, "it is not an object with value and unit", f"send {example_of(spec)}")
            return
        if isinstance(given, Duplicated) or not given.keys() <= {"value", "unit"}:
            self.fault(spec.name, "it has other members than one value and one unit", f"send {example_of(spec)}")
        value, unit = _number(given.get("value")), given.get("unit")
        if value is None:
            self.fault(f"{spec.name}.value", "it is not a number", f"send {example_of(spec)}")
        if unit is None and spec.unit == "1":
            unit = "1"
        if not isinstance(unit, str) or not unit:
            self.fault(f"{spec.name}.unit", "it is not a unit", f"send {example_of(spec)}")
        elif value is not None:
            system = None if unit in spec.spellings and not _is_read(spec, unit) else UCUM
            self._measured[spec.name] = self._measurement(value=value, unit=unit, unit_system=system)

    def _measurement(self, **of_value: Any) -> Measurement:
        return Measurement(code="", source=_SOURCE, start=self._now, end=self._now, **of_value)

    def _coded_by_state(self, name: str) -> Measurement:
        """Give a value one of its feature's codes: one that tells the fasting state if that was told, else none that does."""
        spec = self._set[name]
        telling = [one for one in self._set.features if one.fasting_of == name]
        says_fasting = frozenset[str]().union(*(one.fasting_codes for one in telling))
        says_casual = frozenset[str]().union(*(one.casual_codes for one in telling))
        state = self._fasting.get(name)
        if state is None:
            codes = spec.codes - says_fasting - says_casual
        else:
            codes = spec.codes & (says_fasting if state[1] else says_casual)
        of_others = frozenset[str]().union(*(one.codes for one in self._set.features if one.name != name))
        one = self._measured[name]
        code = min(codes - of_others or codes or spec.codes)
        return Measurement(
            code=code, source=_SOURCE, value=one.value, unit=one.unit, unit_system=one.unit_system,
            coded=one.coded, start=one.start, end=one.end,
        )  # fmt: skip

    def _complain(self, spec: FeatureSpec, feature: Feature) -> None:
        if feature.reason == "unit_not_convertible":
            self.fault(f"{spec.name}.unit", f"the unit can't become {spec.unit}", f"send {example_of(spec)} in UCUM")
        elif feature.reason == "implausible" and spec.plausible is not None:
            low, high = spec.plausible
            self.fault(_place(spec), f"it is not between {low:g} and {high:g} {spec.unit}", "check value and unit")
        else:
            self.fault(_place(spec), f"it can't be used ({feature.reason})", f"send {example_of(spec)}")


def _place(spec: FeatureSpec) -> str:
    return f"{spec.name}.value" if spec.origin == "observation" else spec.name


def _number(given: object) -> float | None:
    """A finite double, or None; true and false are no numbers."""
    if isinstance(given, bool) or not isinstance(given, int | float):
        return None
    try:
        value = float(given)
    except OverflowError:
        return None
    return value if math.isfinite(value) else None


def _is_read(spec: FeatureSpec, unit: str) -> bool:
    """Whether UCUM itself turns this unit into the declared one."""
    if unit in spec.linear:
        return True
    try:
        conversion(unit, spec.unit, molar_mass=spec.molar_mass_g_per_mol)
    except UnitError:
        return False
    return True


def example_of(spec: FeatureSpec) -> str:
    """How a value of this feature is written, without a value."""
    forms = {
        "patient.age": "a number of whole years",
        "patient.sex": '"male" or "female"',
        "fasting_state": "true or false",
    }
    return forms.get(spec.origin, f'{{"value": number, "unit": "{spec.unit}"}}')
