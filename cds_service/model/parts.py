"""What stands in the files of a bundle, as types; ``bundle.py`` reads them, ``training/`` makes them."""

from collections.abc import Mapping
from typing import Literal

from msgspec import Struct

__all__ = [
    "Calibration",
    "CalibrationBin",
    "CalibrationStep",
    "DataUsed",
    "FileSeal",
    "Golden",
    "GoldenRow",
    "ImageGolden",
    "ImageGoldenRow",
    "ImageReference",
    "InputReference",
    "Manifest",
    "OperatingPoint",
    "Reference",
    "ScoreReference",
    "UnlikenessReference",
]


class FileSeal(Struct, frozen=True, forbid_unknown_fields=True):
    """What a file must be."""

    sha256: str
    bytes: int


class DataUsed(Struct, frozen=True, forbid_unknown_fields=True):
    """A data set that made the model: its files' hash of hashes, the rows used, its licence."""

    name: str
    sha256: str
    rows: int
    licence: str


class Manifest(Struct, frozen=True, forbid_unknown_fields=True):
    """``bundle.toml``."""

    format: int
    model: str
    version: str
    made_by: str
    commit: str
    parent: str
    minimum_inputs: int
    """Fewer present inputs than this: abstain."""
    data: tuple[DataUsed, ...]
    population: Mapping[str, str]
    """Who the model was made on, by language, for the card's detail."""
    prevalence: Mapping[str, float]
    """Of the calibration set, by output."""
    outputs: Mapping[str, str]
    """Name → what it means; from the most to the least frequent, each contained in the one before."""
    files: Mapping[str, FileSeal]
    kind: Literal["tabular", "image"] = "tabular"
    """What the model reads: features of a chart, or the pixels of one image."""


class CalibrationStep(Struct, frozen=True, forbid_unknown_fields=True):
    """P(this output, given the one before) = logistic(intercept + slope × logit of the graph)."""

    output: str
    intercept: float
    slope: float


class CalibrationBin(Struct, frozen=True, forbid_unknown_fields=True):
    """Out-of-fold cases whose calibrated probability lay in [low, high)."""

    low: float
    high: float
    cases: int
    predicted: float | None
    observed: float | None


class Calibration(Struct, frozen=True, forbid_unknown_fields=True):
    """``calibration.json``."""

    method: str
    steps: tuple[CalibrationStep, ...]
    minimum_cases: int
    """A bin with fewer never shows a number beyond its edge."""
    bins: Mapping[str, tuple[CalibrationBin, ...]]


class OperatingPoint(Struct, frozen=True, forbid_unknown_fields=True):
    """A threshold and what it is expected to do, from out-of-fold predictions on the training data."""

    output: str
    threshold: float
    cards_per_100: tuple[float, float, float]
    """Per 100 eligible opens: estimate, low, high."""
    ppv_score: tuple[float, float, float]
    minimum_ppv_score: float
    """Below it the service should fall silent."""
    eligible: str
    """Whom the figures are about."""
    cases: int


class InputReference(Struct, frozen=True, forbid_unknown_fields=True):
    """One input in the training data: range (clipped as declared), deciles 10 … 90 %, share missing."""

    low: float
    high: float
    deciles: tuple[float, ...]
    missing_share: float


class ScoreReference(Struct, frozen=True, forbid_unknown_fields=True):
    deciles: tuple[float, ...]


class Reference(Struct, frozen=True, forbid_unknown_fields=True):
    """``reference.json``: what the training data looked like, for range checks and drift."""

    rows: int
    inputs: Mapping[str, InputReference]
    scores: Mapping[str, ScoreReference]


class GoldenRow(Struct, frozen=True, forbid_unknown_fields=True):
    """Raw features (declared units, null = missing) and the probabilities that must come out."""

    id: str
    features: Mapping[str, float | None]
    expected: Mapping[str, float]


class Golden(Struct, frozen=True, forbid_unknown_fields=True):
    """``golden.json``: run at every start."""

    tolerance: float
    """Largest absolute difference of a probability."""
    rows: tuple[GoldenRow, ...]


class ImageGoldenRow(Struct, frozen=True, forbid_unknown_fields=True):
    """One raw grey image, samples of what the graph must be given of it, and the probability that must come out."""

    id: str
    height: int
    width: int
    pixels: str
    """Row by row, 8 bits, deflated (zlib), base64."""
    prepared: tuple[float, ...]
    """The prepared image at every eighth row and column."""
    expected: Mapping[str, float]


class ImageGolden(Struct, frozen=True, forbid_unknown_fields=True):
    """``golden.json`` of an image model: run at every start."""

    tolerance: float
    """Largest absolute difference of a probability."""
    prepared_tolerance: float
    """Largest absolute difference of a prepared pixel."""
    rows: tuple[ImageGoldenRow, ...]


class UnlikenessReference(Struct, frozen=True, forbid_unknown_fields=True):
    """How unlike the training images an image may be before the model is silent."""

    method: str
    most: float
    """Above it there is no prediction."""
    false_abstention: tuple[float, float, float]
    """Share of the training hospital's own images above a threshold that was set without them: estimate, low, high."""
    deciles: tuple[float, ...]
    """Of the training images out of fold, for drift."""


class ImageReference(Struct, frozen=True, forbid_unknown_fields=True):
    """``reference.json`` of an image model: its training images and scores in figures, for drift."""

    rows: int
    inputs: Mapping[str, InputReference]
    """Of the raw images: grey mean, grey spread, width / height."""
    scores: Mapping[str, ScoreReference]
    unlikeness: UnlikenessReference | None = None
    """None: the graph says nothing about it."""
