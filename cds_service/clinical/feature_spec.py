"""What a feature is: the declaration in ``features.toml``, copied into each model bundle."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from cds_service.clinical.codes import canonical_token
from cds_service.clinical.units import UnitError, conversion

Origin = Literal["observation", "patient.age", "patient.sex", "fasting_state"]
Role = Literal["input", "condition"]

USABLE_STATUSES = frozenset({"final", "amended", "corrected"})


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """One feature: which codes count, the unit to report, how old is too old, what is plausible.

    A feature of role ``condition`` is read for ``[when]`` and is never an input of the model.
    """

    name: str
    origin: Origin = "observation"
    role: Role = "input"
    unit: str = "1"
    codes: frozenset[str] = frozenset()
    category: str | None = None
    """``laboratory`` or ``vital-signs``: which prefetch key can bring it, where a query asks by category."""
    molar_mass_g_per_mol: float | None = None
    spellings: Mapping[str, str] = field(default_factory=dict)
    """Text-only units (after NFKC) that this laboratory means so → the UCUM unit."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Codes that UCUM reads otherwise, or that another unit system writes (``system|code``) → the UCUM unit."""
    linear: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Unit → (slope, intercept): value = slope × reported + intercept (IFCC HbA1c to NGSP %)."""
    excludes_only: frozenset[str] = frozenset()
    """Codes that prove a measurement (for ``no_recent``) but never give a value (JDS scale)."""
    window_days: int | None = None
    take: Literal["latest"] = "latest"
    plausible: tuple[float, float] | None = None
    clip: tuple[float, float] | None = None
    missing: Literal["masked", "abstain"] = "masked"
    preliminary: bool = False
    censored: Literal["refuse", "bound"] = "refuse"
    """What a value with a comparator (<, >) is worth: nothing by default."""
    values: Mapping[str, float] = field(default_factory=dict)
    """Coded results (``system|code``) → number, for features that are a table (HBs antigen)."""
    fasting_of: str | None = None
    """For ``fasting_state``: the feature whose chosen measurement's code tells the state."""
    fasting_codes: frozenset[str] = frozenset()
    casual_codes: frozenset[str] = frozenset()

    @property
    def statuses(self) -> frozenset[str]:
        return USABLE_STATUSES | {"preliminary"} if self.preliminary else USABLE_STATUSES


@dataclass(frozen=True)
class FeatureSet:
    """All features of one model, in the order in which the model's inputs stand."""

    features: tuple[FeatureSpec, ...]

    @cached_property
    def inputs(self) -> tuple[FeatureSpec, ...]:
        return tuple(spec for spec in self.features if spec.role == "input")

    def __getitem__(self, name: str) -> FeatureSpec:
        return next(spec for spec in self.features if spec.name == name)

    def __contains__(self, name: object) -> bool:
        return any(spec.name == name for spec in self.features)


_KEYS = {
    "name", "origin", "role", "unit", "codes", "category", "molar_mass_g_per_mol", "spellings", "aliases", "linear",
    "excludes_only", "window_days", "take", "plausible", "clip", "missing", "preliminary", "censored",
    "values", "fasting_of", "fasting_codes", "casual_codes",
}  # fmt: skip


def read_feature_set(document: Mapping[str, Any]) -> FeatureSet:
    """Read ``features.toml``.

    Args:
        document: The parsed TOML: ``[[feature]]`` tables as in ``docs/reference/features.md``.

    Raises:
        ValueError: A table is wrong; the message says ``feature[NAME].key: what``.
    """
    tables: Sequence[Mapping[str, Any]] = document.get("feature", ())
    if not tables:
        raise ValueError("feature: there is no [[feature]] table")
    specs = tuple(_read_feature(table, place) for place, table in enumerate(tables))
    names = [spec.name for spec in specs]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"feature[{twice[0]}].name: two features have this name")
    for spec in specs:
        if spec.fasting_of is not None and spec.fasting_of not in names:
            raise ValueError(f"feature[{spec.name}].fasting_of: there is no feature of this name")
    return FeatureSet(specs)


def _read_feature(table: Mapping[str, Any], place: int) -> FeatureSpec:
    name = table.get("name")
    if not isinstance(name, str) or not name:
        raise ValueError(f"feature[{place}].name: a feature needs a name")
    where = f"feature[{name}]"
    unknown = sorted(set(table) - _KEYS)
    if unknown:
        raise ValueError(f"{where}.{unknown[0]}: unknown key")
    origin = table.get("origin", "observation")
    if origin == "observation" and not table.get("codes"):
        raise ValueError(f"{where}.codes: list every code that counts, as system|code")
    unit = table.get("unit", "1")
    spellings = table.get("spellings", {})
    if isinstance(spellings, list):  # a list means: these texts are the declared unit
        spellings = dict.fromkeys(spellings, unit)
    spec = FeatureSpec(
        name=name,
        origin=origin,
        role=table.get("role", "input"),
        unit=unit,
        codes=_codes(table, "codes", where),
        category=table.get("category"),
        molar_mass_g_per_mol=table.get("molar_mass_g_per_mol"),
        spellings=spellings,
        aliases=table.get("aliases", {}),
        linear={key: (float(pair[0]), float(pair[1])) for key, pair in table.get("linear", {}).items()},
        excludes_only=_codes(table, "excludes_only", where),
        window_days=table.get("window_days"),
        take=table.get("take", "latest"),
        plausible=_pair(table, "plausible", where),
        clip=_pair(table, "clip", where),
        missing=table.get("missing", "masked"),
        preliminary=table.get("preliminary", False),
        censored=table.get("censored", "refuse"),
        values={canonical_token(token): float(value) for token, value in table.get("values", {}).items()},
        fasting_of=table.get("fasting_of"),
        fasting_codes=_codes(table, "fasting_codes", where),
        casual_codes=_codes(table, "casual_codes", where),
    )
    _check_units(spec, where)
    return spec


def _codes(table: Mapping[str, Any], key: str, where: str) -> frozenset[str]:
    tokens: Sequence[str] = table.get(key, ())
    try:
        return frozenset(canonical_token(token) for token in tokens)
    except ValueError as fault:
        raise ValueError(f"{where}.{key}: {fault}") from None


def _pair(table: Mapping[str, Any], key: str, where: str) -> tuple[float, float] | None:
    pair = table.get(key)
    if pair is None:
        return None
    if len(pair) != 2 or not pair[0] < pair[1]:
        raise ValueError(f"{where}.{key}: give two numbers, the lower first")
    return float(pair[0]), float(pair[1])


def _check_units(spec: FeatureSpec, where: str) -> None:
    """Refuse a declaration whose own units cannot become its unit: a site would learn of it from a patient."""
    if spec.origin != "observation" or spec.values:
        return
    for table, units in (("spellings", spec.spellings.values()), ("aliases", spec.aliases.values())):
        for unit in units:
            if unit in spec.linear:
                continue
            try:
                conversion(unit, spec.unit, molar_mass=spec.molar_mass_g_per_mol)
            except UnitError as fault:
                raise ValueError(f"{where}.{table}: {fault}") from None
