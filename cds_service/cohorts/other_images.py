"""Pictures that are no breast ultrasound, or none that a reader could use: what an image model must know it doesn't know.

Other modalities come from the DICOM samples of the data folder; the rest is made. None is trained on.
"""

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from cds_service.clinical.pixels import resize
from cds_service.cohorts.checked import read_checked, read_sums
from cds_service.errors import Fault, SettingsError

__all__ = ["made_from", "read_other_modalities"]

Grey = npt.NDArray[np.uint8]

_LEAST_SIDE = 64


def read_other_modalities(data: Path) -> Mapping[str, tuple[Grey, ...]]:
    """Read what can be decoded of ``dicom/``: modality → its pictures, of a file with several frames the middle one.

    Raises:
        SettingsError: The data folder lacks the files, or pydicom is not installed.
    """
    try:
        import pydicom
        from pydicom.pixels.utils import pixel_array
    except ImportError as missing:
        raise SettingsError(
            Fault("images", f"need the package {missing.name}", "Install the extra: pip install 'cds-service[train]'")
        ) from None
    sums = read_sums(data)
    table, _ = read_checked(data, "dicom/dicom.csv", sums)
    found: dict[str, list[Grey]] = {}
    for row in csv.DictReader(io.StringIO(table.decode("utf-8"))):
        if not row["decode_with_pydicom_numpy_only"].startswith("ok") or not row["modality"]:
            continue
        content, _ = read_checked(data, f"dicom/{row['file']}", sums)
        dataset = pydicom.dcmread(io.BytesIO(content))
        values = np.asarray(pixel_array(dataset))
        if int(dataset.get("NumberOfFrames", 1) or 1) > 1:
            values = values[len(values) // 2]
        if values.ndim == 3:
            values = values.mean(axis=2)
        if min(values.shape) >= _LEAST_SIDE:
            found.setdefault(row["modality"], []).append(_eight_bits(values))
    return {modality: tuple(pictures) for modality, pictures in sorted(found.items())}


def made_from(images: Sequence[Grey], *, seed: int) -> Mapping[str, tuple[Grey, ...]]:
    """Make pictures that only look like data, of some images and of nothing.

    Args:
        images: Breast ultrasound images.
        seed: The same seed gives the same pictures.
    """
    random = np.random.default_rng(seed)
    shapes = [image.shape for image in images]
    slope = [np.linspace(0, 255, h * w).reshape(h, w) for h, w in shapes]
    return {
        "noise": tuple(random.integers(0, 256, shape, dtype=np.uint8) for shape in shapes),
        "smooth noise": tuple(_eight_bits(_smooth(random, shape)) for shape in shapes),
        "slope": tuple(one.astype(np.uint8) for one in slope),
        "inverted": tuple(np.asarray(255 - image, dtype=np.uint8) for image in images),
        "upside down": tuple(np.ascontiguousarray(image[::-1]) for image in images),
        "a tenth of an image": tuple(_eight_bits(_corner(image)) for image in images),
        "columns shuffled": tuple(image[:, random.permutation(image.shape[1])] for image in images),
    }


def _smooth(random: np.random.Generator, shape: tuple[int, int]) -> npt.NDArray[np.float32]:
    return resize(random.normal(size=(12, 12)).astype(np.float32), *shape)


def _corner(image: Grey) -> npt.NDArray[np.float32]:
    height, width = (max(8, round(side * 0.1**0.5)) for side in image.shape)
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return resize(image[top : top + height, left : left + width], *image.shape)


def _eight_bits(values: npt.NDArray[np.generic]) -> Grey:
    """Spread values between their 1st and 99th percentile over 0 … 255, as a viewer without a window does."""
    plain = np.asarray(values, dtype=np.float64)
    low, high = np.percentile(plain, (1, 99))
    return np.asarray(np.clip(255 * (plain - low) / max(high - low, 1e-9), 0, 255).round(), dtype=np.uint8)
