"""Labelled breast ultrasound images: BUSI by its clean split, BrEaST as the other hospital.

Positive is malignant; benign and normal are negative. Both data sets are described in ``docs/developers/data.md``:
twins, conflicting labels, burned-in crosses, and what may never be an input.
"""

import csv
import io
import math
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from msgspec import Struct

from cds_service.cohorts.checked import digest_of_files, read_checked, read_sums
from cds_service.errors import Fault, SettingsError

__all__ = ["OUTPUT", "ImageCohort", "read_breast", "read_busi"]

Grey = npt.NDArray[np.uint8]
Bools = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Strings = npt.NDArray[np.str_]
Row = Mapping[str, str]
T = TypeVar("T")

OUTPUT = "malignant"
"""The one output of the model, and the label that is positive."""
_LABELS = ("benign", "malignant", "normal")
_BIRADS = ("1", "2", "3", "4a", "4b", "4c", "5")


class ImageCohort(Struct, frozen=True):
    """Labelled images in the table's order."""

    name: str
    ids: tuple[str, ...]
    images: tuple[Grey, ...]
    masks: tuple[Bools, ...]
    """Where the lesion is; empty for normal tissue. For training and for checks, never an input."""
    label: Strings
    """benign, malignant or normal."""
    group: Strings
    """Near-duplicates share one: they must never be on two sides."""
    neighbour: npt.NDArray[np.int64]
    """The image's number within its label in the source: neighbouring numbers are often one patient."""
    groups: Mapping[str, Strings]
    """What the figures are split by, never inputs."""
    reader: Floats
    """The radiologists' BI-RADS as 0 (category 1) to 6 (category 5), NaN where none is known: the human baseline."""
    files: Mapping[str, str]
    read: int
    left_out: Mapping[str, int]

    def __len__(self) -> int:
        return len(self.images)

    @property
    def malignant(self) -> Bools:
        return np.asarray(self.label == OUTPUT)

    @property
    def lesion(self) -> Bools:
        """Benign or malignant: telling these apart is the harder question."""
        return np.asarray(self.label != "normal")

    def digest(self) -> str:
        """Name the data: the hash of the files' hashes, in order of their names."""
        return digest_of_files(self.files)

    def manifest(self) -> dict[str, Any]:
        """Say what was read: hashes, counts, prevalence."""
        return {
            "name": self.name,
            "sha256": self.digest(),
            "tables": {name: digest for name, digest in self.files.items() if not name.endswith(".jpg")},
            "images": len(self),
            "rows_read": self.read,
            "left_out": dict(self.left_out),
            "labels": {label: int((self.label == label).sum()) for label in _LABELS},
            "near_duplicate_groups": len(set(self.group.tolist())),
            "prevalence": {OUTPUT: round(float(self.malignant.mean()), 6)},
        }


def read_busi(data: Path, splits: Sequence[str], *, name: str) -> ImageCohort:
    """Read BUSI images by the split in which no group of near-duplicates is on two sides.

    Images whose group carries two labels belong to no split and are left out.

    Args:
        data: The folder that holds ``SHA256SUMS`` and ``images/busi``.
        splits: Of ``train``, ``val`` and ``test``.
        name: What to call the cohort.

    Raises:
        SettingsError: A file is missing, altered or no picture, a line of the table is damaged, a label is unknown,
            or a class has no case.
    """

    def why_not(row: Row) -> str | None:
        if row["label_conflict"] == "1":
            return "its group carries two labels"
        return None if row["clean_split"] in splits else "another split"

    return _read(
        data,
        "images/busi/busi.csv",
        name=name,
        why_not=why_not,
        group=lambda row: row["group"],
        neighbour=lambda row: int("".join(c for c in row["original_name"] if c.isdigit())),
        groups={"colour": lambda row: "coloured marks" if _number(row["colour_fraction"]) > 0.001 else "grey only"},
    )


def read_breast(data: Path, *, name: str) -> ImageCohort:
    """Read BrEaST, the external hospital: another country, other scanners. It judges and is never trained on.

    Raises:
        SettingsError: As :func:`read_busi`.
    """
    return _read(
        data,
        "images/breast/breast.csv",
        name=name,
        why_not=lambda _: None,
        group=lambda row: row["case_id"],
        neighbour=lambda row: int(row["case_id"]),
        groups={"age": _age_band},
    )


def _read(
    data: Path,
    table: str,
    *,
    name: str,
    why_not: Callable[[Row], str | None],
    group: Callable[[Row], str],
    neighbour: Callable[[Row], int],
    groups: Mapping[str, Callable[[Row], str]],
) -> ImageCohort:
    sums = read_sums(data)
    folder = table.rpartition("/")[0]
    content, of_table = read_checked(data, table, sums)
    packed, of_masks = read_checked(data, f"{folder}/masks.zip", sums)
    digests = {table: of_table, f"{folder}/masks.zip": of_masks}
    where = f"{data}/{table}"
    lines = _lines(content, where)
    kept: list[tuple[int, Row]] = []
    images: list[Grey] = []
    masks: list[Bools] = []
    left_out: dict[str, int] = {}
    with _open_masks(packed, f"{data}/{folder}/masks.zip") as drawn:
        for number, row in lines:
            (why,) = _each(where, [(number, row)], why_not)
            if why is not None:
                left_out[why] = left_out.get(why, 0) + 1
                continue
            (name_of_file,) = _each(where, [(number, row)], lambda one: one["file"])
            file = f"{folder}/{name_of_file}"
            if row.get("label") not in _LABELS:
                do = f"Use {', '.join(_LABELS)}"
                raise SettingsError(Fault(f"{where}:{number}", "the label is unknown", do))
            pixels, digests[file] = read_checked(data, file, sums)
            images.append(_grey(pixels, f"{data}/{file}"))
            masks.append(_mask(drawn, Path(file).stem, f"{data}/{folder}/masks.zip"))
            if masks[-1].shape != images[-1].shape:
                raise SettingsError(Fault(f"{data}/{file}", "its mask has another size", "Get the data set anew"))
            kept.append((number, row))
    label = np.array([row["label"] for _, row in kept])
    if not 0 < int((label == OUTPUT).sum()) < len(label):
        raise SettingsError(Fault(where, "there is no malignant image, or no other one", "Name other splits"))
    reader = [float(_BIRADS.index(row["birads"])) if row.get("birads") in _BIRADS else np.nan for _, row in kept]
    return ImageCohort(
        name=name,
        ids=tuple(row["file"] for _, row in kept),
        images=tuple(images),
        masks=tuple(masks),
        label=label,
        group=np.array(_each(where, kept, group)),
        neighbour=np.array(_each(where, kept, neighbour), dtype=np.int64),
        groups={title: np.array(_each(where, kept, band)) for title, band in groups.items()},
        reader=np.array(reader),
        files=digests,
        read=len(lines),
        left_out=left_out,
    )


def _each(table: str, lines: Sequence[tuple[int, Row]], read: Callable[[Row], T]) -> list[T]:
    """Read something of every line, and say which one is damaged."""
    found = []
    for number, row in lines:
        try:
            found.append(read(row))
        except KeyError as gone:
            what = f"the column {gone.args[0]} is missing"
            raise SettingsError(Fault(table, what, "Get the data set anew")) from None
        except (ValueError, TypeError):  # an empty cell of a short line is None
            what = "a cell of this line is empty or is no number"
            raise SettingsError(Fault(f"{table}:{number}", what, "Get the data set anew")) from None
    return found


def _lines(content: bytes, table: str) -> list[tuple[int, Row]]:
    """Read a table: each row with the number of its line in the file."""
    try:
        reader = csv.DictReader(io.StringIO(content.decode("utf-8")))
        return [(reader.line_num, row) for row in reader]
    except (UnicodeDecodeError, csv.Error):
        raise SettingsError(Fault(table, "it is no table of text in UTF-8", "Get the data set anew")) from None


def _open_masks(packed: bytes, where: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(io.BytesIO(packed))
    except zipfile.BadZipFile:
        raise SettingsError(Fault(where, "it is no zip file", "Get the data set anew")) from None


def _mask(drawn: zipfile.ZipFile, stem: str, where: str) -> Bools:
    try:
        content = drawn.read(f"{stem}.png")
    except (KeyError, zipfile.BadZipFile, zlib.error):
        what = f"the mask {stem}.png is missing or damaged"
        raise SettingsError(Fault(where, what, "Get the data set anew")) from None
    return np.asarray(_grey(content, f"{where}/{stem}.png") > 0)


def _number(cell: str) -> float:
    number = float(cell)
    if not math.isfinite(number):
        raise ValueError("not finite")
    return number


def _grey(content: bytes, where: str) -> Grey:
    """Decode a picture of the data set; the serving path has its own decoder, in a process of its own."""
    try:
        from PIL import Image
    except ImportError as missing:
        raise SettingsError(
            Fault("images", f"need the package {missing.name}", "Install the extra: pip install 'cds-service[train]'")
        ) from None
    try:
        with Image.open(io.BytesIO(content)) as picture:
            return np.asarray(picture.convert("L"), dtype=np.uint8)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
        raise SettingsError(Fault(where, "it can't be decoded as a picture", "Get the data set anew")) from None


def _age_band(row: Row) -> str:
    if not row["age_years"]:
        return "age unknown"
    return "under 50" if _number(row["age_years"]) < 50 else "50 and over"
