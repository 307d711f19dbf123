"""When the model must not speak: too little to go on, values it never saw, numbers that are none."""

import math
from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

from cds_service.clinical.feature_spec import FeatureSpec
from cds_service.clinical.features import Feature
from cds_service.model.bundle import Bundle

__all__ = ["Abstention", "Gate", "Laid", "make_gate"]

Reason = Literal["not_enough_inputs", "out_of_distribution", "non_finite"]


class Abstention(Struct, frozen=True):
    """No prediction, and why."""

    model: str
    version: str
    reason: Reason
    features: tuple[str, ...]
    """Which inputs it is about; never their values."""


class Laid(Struct):
    """One row as the graph wants it, and what was there."""

    values: list[float]
    present: list[float]
    used: tuple[str, ...]
    missing: tuple[str, ...]


class _Input(Struct, frozen=True):
    name: str
    needed: bool
    clip_low: float
    clip_high: float
    low: float
    high: float


class Gate(Struct, frozen=True):
    """The checks of one bundle, made once."""

    model: str
    version: str
    minimum: int
    inputs: tuple[_Input, ...]

    def lay_out(self, features: Mapping[str, Feature]) -> Laid | Abstention:
        """Lay one patient's inputs out in the order of the graph, or say why the model must not speak.

        Args:
            features: By name, in declared units. An input that is not there is missing.
        """
        values: list[float] = []
        present: list[float] = []
        used: list[str] = []
        missing: list[str] = []
        beyond: list[str] = []
        broken: list[str] = []
        needed: list[str] = []
        for one in self.inputs:
            feature = features.get(one.name)
            value = feature.value if feature is not None else None
            if value is None:
                values.append(0.0)
                present.append(0.0)
                missing.append(one.name)
                if one.needed:
                    needed.append(one.name)
                continue
            if not math.isfinite(value):
                broken.append(one.name)
                continue
            clipped = one.clip_low if value < one.clip_low else min(value, one.clip_high)
            if not one.low <= clipped <= one.high:
                beyond.append(one.name)
            values.append(clipped)
            present.append(1.0)
            used.append(one.name)
        if broken:
            return Abstention(self.model, self.version, "non_finite", tuple(broken))
        if beyond:
            return Abstention(self.model, self.version, "out_of_distribution", tuple(beyond))
        if needed or len(used) < self.minimum:
            return Abstention(self.model, self.version, "not_enough_inputs", tuple(needed or missing))
        return Laid(values, present, tuple(used), tuple(missing))


def make_gate(bundle: Bundle) -> Gate:
    """Read a bundle's limits: declared clips, ranges seen in training, inputs that it can't do without."""
    return Gate(
        bundle.model,
        bundle.version,
        bundle.manifest.minimum_inputs,
        tuple(_input(spec, bundle) for spec in bundle.features.inputs),
    )


def _input(spec: FeatureSpec, bundle: Bundle) -> _Input:
    seen = bundle.reference.inputs[spec.name]
    clip_low, clip_high = spec.clip if spec.clip is not None else (-math.inf, math.inf)
    return _Input(spec.name, spec.missing == "abstain", clip_low, clip_high, seen.low, seen.high)
