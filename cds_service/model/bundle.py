"""A released model on disk: a folder that is read once, checked byte by byte, and refused when anything differs.

The format is a page: ``docs/reference/model-bundle.md``.
"""

import hashlib
import os
import stat
import tomllib
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
from msgspec import Struct, field

from cds_service.clinical.feature_spec import FeatureSet, read_feature_set
from cds_service.errors import BundleError, Fault
from cds_service.model.parts import (
    Calibration,
    CalibrationBin,
    CalibrationStep,
    DataUsed,
    FileSeal,
    Golden,
    GoldenRow,
    InputReference,
    Manifest,
    OperatingPoint,
    Reference,
    ScoreReference,
)

__all__ = [
    "BUNDLE_FILES",
    "FORMAT",
    "IMAGE_BUNDLE_FILES",
    "Bundle",
    "Calibration",
    "CalibrationBin",
    "CalibrationStep",
    "DataUsed",
    "FileSeal",
    "Golden",
    "GoldenRow",
    "InputReference",
    "Manifest",
    "OperatingPoint",
    "Reference",
    "ScoreReference",
    "bins_hold",
    "bundle_error",
    "files_of",
    "json_part",
    "load_bundle",
    "read_parts",
    "seal",
    "toml_part",
]

FORMAT = 1
LARGEST_FILE_BYTES = 200 * 2**20
"""SEC-122: a larger graph is not read at all."""
BUNDLE_FILES = (
    "model.onnx", "features.toml", "calibration.json", "operating_points.toml", "reference.json", "golden.json",
    "metrics.json", "MODEL_CARD.md", "PACKAGE_INSERT.ja.md",
)  # fmt: skip
"""What a bundle of a tabular model must hold besides ``bundle.toml``."""
IMAGE_BUNDLE_FILES = tuple("pixels.toml" if name == "features.toml" else name for name in BUNDLE_FILES)
"""The same of an image model, which reads pixels and no features."""
UNLISTED = frozenset(("bundle.toml", "bundle.sig"))
"""The list itself, and the signature over it."""

T = TypeVar("T")


class Bundle(Struct, frozen=True):
    """A bundle whose every byte was checked. Nothing is read from disk after this."""

    folder: str
    manifest: Manifest
    features: FeatureSet
    calibration: Calibration
    operating_points: Mapping[str, OperatingPoint]
    """From the lowest to the highest, as the file has them."""
    reference: Reference
    golden: Golden
    metrics: Mapping[str, Any]
    onnx: bytes = field(default=b"")
    digest: str = ""
    """sha256 of ``bundle.toml``, which holds the hashes of all else: the identity of the release."""

    @property
    def model(self) -> str:
        return self.manifest.model

    @property
    def version(self) -> str:
        return self.manifest.version

    @property
    def outputs(self) -> tuple[str, ...]:
        return tuple(self.manifest.outputs)

    @property
    def prevalence(self) -> Mapping[str, float]:
        return self.manifest.prevalence

    def population(self, language: Literal["en", "ja"]) -> str:
        """Say whom the model was made on."""
        return self.manifest.population.get(language, self.manifest.population["en"])


def load_bundle(folder: Path) -> Bundle:
    """Read a bundle, each file once, and check every byte that is then used.

    Args:
        folder: ``model_assets/<model>/<version>``.

    Raises:
        BundleError: A file is missing, extra, linked, of another size or hash, or does not say what it must. All
            files that are wrong are named.
    """
    manifest, contents, digest = read_parts(folder)
    if manifest.kind != "tabular":
        raise bundle_error(
            folder, "bundle.toml", f"kind is {manifest.kind}: it reads no features", "Ask it with an image, not here"
        )
    try:
        features = read_feature_set(tomllib.loads(contents["features.toml"].decode()))
    except (ValueError, tomllib.TOMLDecodeError) as fault:
        raise bundle_error(folder, "features.toml", str(fault)) from None
    bundle = Bundle(
        folder=str(folder),
        manifest=manifest,
        features=features,
        calibration=json_part(folder, "calibration.json", contents, Calibration),
        operating_points=toml_part(
            folder, "operating_points.toml", contents["operating_points.toml"], dict[str, OperatingPoint]
        ),
        reference=json_part(folder, "reference.json", contents, Reference),
        golden=json_part(folder, "golden.json", contents, Golden),
        metrics=json_part(folder, "metrics.json", contents, dict[str, Any]),
        onnx=contents["model.onnx"],
        digest=digest,
    )
    _check_agreement(folder, bundle)
    return bundle


def read_parts(folder: Path) -> tuple[Manifest, dict[str, bytes], str]:
    """Read a bundle of either kind and check every byte: its manifest, its files, and the release's identity.

    Raises:
        BundleError: As :func:`load_bundle`, as far as the kind does not matter.
    """
    seal_bytes = _read_file(folder, "bundle.toml")
    manifest = _manifest(folder, seal_bytes)
    return manifest, _contents(folder, manifest), hashlib.sha256(seal_bytes).hexdigest()


def files_of(kind: Literal["tabular", "image"]) -> tuple[str, ...]:
    """Name the files of a bundle of one kind."""
    return BUNDLE_FILES if kind == "tabular" else IMAGE_BUNDLE_FILES


def seal(contents: Mapping[str, bytes]) -> dict[str, FileSeal]:
    """Give what ``bundle.toml`` must say about files, by name."""
    return {name: FileSeal(hashlib.sha256(data).hexdigest(), len(data)) for name, data in sorted(contents.items())}


def bundle_error(
    folder: Path, file: str, what: str, do: str = "Restore the bundle from its release, or train it anew"
) -> BundleError:
    return BundleError(Fault(f"{folder}/{file}", what, do))


def _read_file(folder: Path, name: str) -> bytes:
    """Read a regular file without following a link; what is checked is what was read."""
    try:
        handle = os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise bundle_error(folder, name, "the file is missing") from None
    except OSError as fault:
        raise bundle_error(folder, name, f"the file is a link or can't be opened ({fault.strerror})") from None
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise bundle_error(folder, name, "not a regular file")
        if status.st_size > LARGEST_FILE_BYTES:
            raise bundle_error(folder, name, f"larger than {LARGEST_FILE_BYTES} bytes")
        with os.fdopen(handle, "rb", closefd=False) as file:
            return file.read()
    finally:
        os.close(handle)


def _manifest(folder: Path, data: bytes) -> Manifest:
    manifest = toml_part(folder, "bundle.toml", data, Manifest)
    if manifest.format != FORMAT:
        raise bundle_error(
            folder,
            "bundle.toml",
            f"format {manifest.format} is not {FORMAT}",
            "Use a release of this project that reads it",
        )
    if manifest.version != folder.name or manifest.model != folder.parent.name:
        raise bundle_error(
            folder, "bundle.toml", "model and version differ from the folders' names", "Keep it in <model>/<version>"
        )
    if not set(files_of(manifest.kind)) <= set(manifest.files):
        gone = sorted(set(files_of(manifest.kind)) - set(manifest.files))
        raise bundle_error(folder, "bundle.toml", f"[files] does not list {', '.join(gone)}")
    return manifest


def _contents(folder: Path, manifest: Manifest) -> dict[str, bytes]:
    faults: list[Fault] = []
    contents: dict[str, bytes] = {}
    with os.scandir(folder) as entries:
        extra = sorted(
            entry.name for entry in entries if entry.name not in manifest.files and entry.name not in UNLISTED
        )
    faults.extend(Fault(f"{folder}/{name}", "bundle.toml does not list this file", "Remove it") for name in extra)
    for name, expected in manifest.files.items():
        if "/" in name or name in UNLISTED or name.startswith("."):
            raise bundle_error(folder, "bundle.toml", "[files] names something outside the bundle")
        try:
            data = _read_file(folder, name)
        except BundleError as error:
            faults.extend(error.faults)
            continue
        if len(data) != expected.bytes:
            faults.extend(bundle_error(folder, name, f"{len(data)} bytes instead of {expected.bytes}").faults)
        elif hashlib.sha256(data).hexdigest() != expected.sha256:
            faults.extend(bundle_error(folder, name, "its sha256 is not the one in bundle.toml").faults)
        contents[name] = data
    if faults:
        raise BundleError(*faults)
    return contents


def json_part(folder: Path, name: str, contents: Mapping[str, bytes], kind: type[T]) -> T:
    try:
        return msgspec.json.decode(contents[name], type=kind)
    except msgspec.MsgspecError as fault:
        raise bundle_error(folder, name, str(fault)) from None


def toml_part(folder: Path, name: str, data: bytes, kind: type[T]) -> T:
    try:
        return msgspec.convert(tomllib.loads(data.decode()), kind)
    except (msgspec.MsgspecError, tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        raise bundle_error(folder, name, str(fault)) from None


def _check_agreement(folder: Path, bundle: Bundle) -> None:
    """The parts of a bundle speak about the same inputs and outputs (F67)."""
    inputs = [spec.name for spec in bundle.features.inputs]
    outputs = list(bundle.outputs)
    checks = (
        ("bundle.toml", set(bundle.prevalence) == set(outputs), "prevalence and outputs differ"),
        ("bundle.toml", _falls([bundle.prevalence.get(name, -1.0) for name in outputs]), "prevalence must fall from output to output, inside (0, 1)"),
        ("bundle.toml", 1 <= bundle.manifest.minimum_inputs <= len(inputs), "minimum_inputs lies outside 1 … number of inputs"),
        ("bundle.toml", "en" in bundle.manifest.population, "population has no English text"),
        ("calibration.json", [step.output for step in bundle.calibration.steps] == outputs, "steps and outputs differ"),
        ("calibration.json", set(bundle.calibration.bins) == set(outputs), "bins and outputs differ"),
        ("calibration.json", bins_hold(bundle.calibration), "bins do not cover 0 to 1, or a thin one is not at an end"),
        ("reference.json", list(bundle.reference.inputs) == inputs, "inputs differ from those of features.toml"),
        ("operating_points.toml", all(point.output in outputs for point in bundle.operating_points.values()), "an output is unknown"),
        ("golden.json", len(bundle.golden.rows) > 0 and bundle.golden.tolerance > 0, "there are no golden rows, or no tolerance"),
        (
            "golden.json",
            all(set(row.features) == set(inputs) and set(row.expected) == set(outputs) for row in bundle.golden.rows),
            "a row's features or expected outputs differ from the model's",
        ),
    )  # fmt: skip
    faults = [bundle_error(folder, file, what).faults[0] for file, holds, what in checks if not holds]
    if faults:
        raise BundleError(*faults)


def bins_hold(calibration: Calibration) -> bool:
    """Every output has bins from 0 to 1 without a gap, and the thin ones lie at the ends."""
    for bins in calibration.bins.values():
        if not bins or bins[0].low != 0 or bins[-1].high != 1:
            return False
        if any(one.high != after.low for one, after in pairwise(bins)):
            return False
        thick = [place for place, one in enumerate(bins) if one.cases >= calibration.minimum_cases]
        if not thick or thick != list(range(thick[0], thick[-1] + 1)):
            return False
    return True


def _falls(prevalences: list[float]) -> bool:
    return all(0 < share < 1 for share in prevalences) and prevalences == sorted(prevalences, reverse=True)
