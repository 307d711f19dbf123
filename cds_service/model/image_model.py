"""An image model: its bundle checked as every bundle is, its graph asked about one prepared image."""

import base64
import math
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
from msgspec import Struct

from cds_service.clinical.pixels import PixelSpec, PixelsUnfit, prepare
from cds_service.errors import BundleError, Fault
from cds_service.model.abstain import Abstention
from cds_service.model.bundle import (
    Calibration,
    Manifest,
    OperatingPoint,
    bins_hold,
    bundle_error,
    json_part,
    read_parts,
    toml_part,
)
from cds_service.model.chain import Chain, calibrated_chain, prevalence_shift
from cds_service.model.parts import ImageGolden, ImageGoldenRow, ImageReference
from cds_service.model.predict import Prediction
from cds_service.model.runtime import open_session

__all__ = [
    "ACTIVATION", "UNLIKENESS", "ImageBundle", "ImageModel", "load_image_bundle", "open_image_model", "pack_pixels", "predict_image",
    "prepared_samples", "unpack_pixels",
]  # fmt: skip

Grey = npt.NDArray[np.uint8]
Float32 = npt.NDArray[np.float32]

ACTIVATION, UNLIKENESS = "activation", "unlikeness"
"""Outputs of the graph beside its logits: what each place adds to the logit, and how unlike the training images it is."""
MOST_GOLDEN_PIXELS = 2**23
"""A golden image is never unpacked beyond this, whatever it claims."""


class ImageBundle(Struct, frozen=True):
    """A bundle of an image model whose every byte was checked. Nothing is read from disk after this."""

    folder: str
    manifest: Manifest
    pixels: PixelSpec
    calibration: Calibration
    operating_points: Mapping[str, OperatingPoint]
    reference: ImageReference
    golden: ImageGolden
    metrics: Mapping[str, Any]
    onnx: bytes
    digest: str

    @property
    def model(self) -> str:
        return self.manifest.model

    @property
    def version(self) -> str:
        return self.manifest.version

    @property
    def outputs(self) -> tuple[str, ...]:
        return tuple(self.manifest.outputs)


class ImageModel:
    """An open image model."""

    def __init__(self, bundle: ImageBundle, session: ort.InferenceSession) -> None:
        self.bundle = bundle
        self.chain: Chain = calibrated_chain(bundle.outputs, bundle.calibration)
        self._session = session

    def logits(self, prepared: Float32) -> list[list[float]]:
        """Run the graph on prepared images, shape (n, size, size)."""
        rows: list[list[float]] = self._session.run(["logits"], {"pixels": prepared[:, None]})[0].tolist()
        return rows

    def look(self, prepared: Float32) -> tuple[list[float], float]:
        """Run the graph on one prepared image, shape (size, size): its logits, and how unlike the training images it is."""
        logits, unlikeness = self._session.run(["logits", UNLIKENESS], {"pixels": prepared[None, None]})
        return logits[0].tolist(), float(unlikeness[0, 0])

    def activation(self, prepared: Float32) -> Float32:
        """What each place of one prepared image adds to its logit, shape (h, w); see ``ImageNet.activation``."""
        return np.asarray(self._session.run([ACTIVATION], {"pixels": prepared[None, None]})[0][0, 0])


def load_image_bundle(folder: Path) -> ImageBundle:
    """Read a bundle of kind ``image``, each file once, and check every byte that is then used.

    Raises:
        BundleError: As :func:`~cds_service.model.bundle.load_bundle`, or it is a bundle of another kind.
    """
    manifest, contents, digest = read_parts(folder)
    if manifest.kind != "image":
        raise bundle_error(folder, "bundle.toml", f"kind is {manifest.kind}, not image", "Name an image model")
    bundle = ImageBundle(
        folder=str(folder),
        manifest=manifest,
        pixels=toml_part(folder, "pixels.toml", contents["pixels.toml"], PixelSpec),
        calibration=json_part(folder, "calibration.json", contents, Calibration),
        operating_points=toml_part(
            folder, "operating_points.toml", contents["operating_points.toml"], dict[str, OperatingPoint]
        ),
        reference=json_part(folder, "reference.json", contents, ImageReference),
        golden=json_part(folder, "golden.json", contents, ImageGolden),
        metrics=json_part(folder, "metrics.json", contents, dict[str, Any]),
        onnx=contents["model.onnx"],
        digest=digest,
    )
    outputs = list(bundle.outputs)
    checks = (
        ("bundle.toml", list(manifest.prevalence) == outputs, "prevalence and outputs differ"),
        ("bundle.toml", all(0 < share < 1 for share in manifest.prevalence.values()), "prevalence must lie inside (0, 1)"),
        ("bundle.toml", "en" in manifest.population, "population has no English text"),
        ("pixels.toml", 16 <= bundle.pixels.size <= 1024 and bundle.pixels.std > 0, "size or std is impossible"),
        ("calibration.json", [step.output for step in bundle.calibration.steps] == outputs, "steps and outputs differ"),
        ("calibration.json", set(bundle.calibration.bins) == set(outputs), "bins and outputs differ"),
        ("calibration.json", bins_hold(bundle.calibration), "bins do not cover 0 to 1, or a thin one is not at an end"),
        ("operating_points.toml", all(one.output in outputs for one in bundle.operating_points.values()), "an output is unknown"),
        ("golden.json", len(bundle.golden.rows) > 0 and bundle.golden.tolerance > 0, "there are no golden rows, or no tolerance"),
        ("golden.json", all(set(row.expected) == set(outputs) for row in bundle.golden.rows), "a row's outputs are not the model's"),
    )  # fmt: skip
    faults = [bundle_error(folder, file, what).faults[0] for file, holds, what in checks if not holds]
    if faults:
        raise BundleError(*faults)
    return bundle


def open_image_model(bundle: ImageBundle, *, threads: int = 1, run_golden: bool = True) -> ImageModel:
    """Open a bundle for predictions.

    Args:
        bundle: As :func:`load_image_bundle` gave it.
        threads: Intra-op threads.
        run_golden: Off only where the golden rows are being made.

    Raises:
        BundleError: The graph can't be loaded or is another one, or a golden image is prepared or judged otherwise
            than at the release. Names the row and the difference.
    """
    size = bundle.pixels.size
    session = open_session(bundle.onnx, f"{bundle.folder}/model.onnx", threads)
    reads = {node.name: (node.type, node.shape[1:]) for node in session.get_inputs()}
    gives = {node.name: (node.type, node.shape[1:]) for node in session.get_outputs()}
    faults = []
    if reads != {"pixels": ("tensor(float)", [1, size, size])}:
        faults.append(f"its input is not pixels, float [N, 1, {size}, {size}]")
    count = len(bundle.outputs)
    says_more = bundle.reference.unlikeness is not None
    wanted = ("logits", ACTIVATION, UNLIKENESS) if says_more else ("logits",)
    if {name: kind[0] for name, kind in gives.items()} != dict.fromkeys(wanted, "tensor(float)"):
        faults.append(f"its outputs are not {' and '.join(wanted)}, all float")
    elif gives["logits"][1] != [count] or (
        says_more and (gives[UNLIKENESS][1] != [1] or gives[ACTIVATION][1][:1] != [count])
    ):
        faults.append(f"its outputs are not of {count} output{'s' if count > 1 else ''}")
    if faults:
        raise BundleError(*(Fault(f"{bundle.folder}/model.onnx", what, "Export it anew") for what in faults))
    model = ImageModel(bundle, session)
    found = [fault for row in bundle.golden.rows for fault in _golden_faults(model, row)] if run_golden else []
    if found:
        raise BundleError(*found)
    return model


def predict_image(
    model: ImageModel, image: Grey, *, site_prevalence: Mapping[str, float] | None = None
) -> Prediction | Abstention:
    """Ask the model about one grey image, shape (height, width), 8 bits.

    Args:
        model: An open model.
        image: Decoded; what is in it is not checked here beyond its size.
        site_prevalence: The site's own prevalence by output, if it has declared one; the odds are shifted to it.

    Returns:
        Probabilities, or an abstention: the image is too small or too large (``not_enough_inputs``), it is unlike
        all that the model was made from (``out_of_distribution``), or the graph gives no number (``non_finite``).
    """
    bundle = model.bundle
    try:
        prepared = prepare(image, bundle.pixels)
    except PixelsUnfit:
        return Abstention(bundle.model, bundle.version, "not_enough_inputs", ("image",))
    limit = bundle.reference.unlikeness
    logits, unlikeness = model.look(prepared) if limit is not None else (model.logits(prepared[None])[0], 0.0)
    if not all(map(math.isfinite, (*logits, unlikeness))):
        return Abstention(bundle.model, bundle.version, "non_finite", ("image",))
    if limit is not None and unlikeness > limit.most:
        return Abstention(bundle.model, bundle.version, "out_of_distribution", ("image",))
    shift = prevalence_shift(bundle.manifest.prevalence, site_prevalence, bundle.outputs) if site_prevalence else None
    calibrated = model.chain.probabilities(logits)
    shown = shift(calibrated) if shift is not None else calibrated
    probabilities = dict(zip(bundle.outputs, shown, strict=True))
    reached = None
    for name, point in bundle.operating_points.items():
        if probabilities[point.output] >= point.threshold:
            reached = name
    display = model.chain.display(calibrated, shift)
    return Prediction(bundle.model, bundle.version, probabilities, display, reached, ("image",), (), shift is not None)


def pack_pixels(image: Grey) -> str:
    """Write an image's pixels as ``golden.json`` holds them."""
    return base64.b64encode(zlib.compress(image.tobytes(), 9)).decode()


def unpack_pixels(row: ImageGoldenRow) -> Grey:
    """Read them back, never more than a golden image may have.

    Raises:
        ValueError: They are not so many pixels, or no pixels at all.
    """
    if not 0 < row.height * row.width <= MOST_GOLDEN_PIXELS:
        raise ValueError("a golden image has no size, or too large a one")
    try:
        stream = zlib.decompressobj()
        content = stream.decompress(base64.b64decode(row.pixels, validate=True), row.height * row.width + 1)
    except zlib.error as fault:
        raise ValueError("its pixels can't be inflated") from fault
    if len(content) != row.height * row.width:
        raise ValueError("it has another number of pixels than its size says")
    return np.frombuffer(content, dtype=np.uint8).reshape(row.height, row.width)


def prepared_samples(prepared: Float32) -> Sequence[float]:
    """Take every eighth row and column of a prepared image."""
    samples: list[float] = prepared[::8, ::8].astype(np.float64).round(6).ravel().tolist()
    return samples


def _golden_faults(model: ImageModel, row: ImageGoldenRow) -> list[Fault]:
    bundle = model.bundle
    where = f"{bundle.folder}/golden.json: row {row.id}"
    restore = "Serve it only where it gives the released numbers: restore the bundle, or check CPU and runtime"
    try:
        prepared = prepare(unpack_pixels(row), bundle.pixels)
    except ValueError as fault:  # PixelsUnfit is one
        return [Fault(where, str(fault), "Restore the bundle from its release")]
    samples = np.array(prepared_samples(prepared))
    if samples.shape != (len(row.prepared),):
        return [Fault(where, "it was prepared to another size", restore)]
    gap = float(np.abs(samples - np.array(row.prepared)).max())
    if not gap <= bundle.golden.prepared_tolerance:
        return [Fault(where, f"the prepared image differs by {gap:.3g}", restore)]
    given = model.chain.probabilities(model.logits(prepared[None])[0])
    gaps = {output: abs(p - row.expected[output]) for output, p in zip(bundle.outputs, given, strict=True)}
    return [
        Fault(where, f"{output} differs by {gap:.3g}, more than {bundle.golden.tolerance:g}", restore)
        for output, gap in gaps.items()
        if not gap <= bundle.golden.tolerance
    ]
