"""Images through the reader: splits, conflicts, hashes, and what may never be an input."""

import csv
import hashlib
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest

from cds_service.cohorts.images import read_breast, read_busi
from cds_service.errors import SettingsError

EXTRACT = Path(__file__).parents[1] / "data" / "breast"
DATA = Path(os.environ.get("CDS_DATA") or Path(__file__).parents[3] / "shared" / "data")
full_data = pytest.mark.skipif(
    not (DATA / "images" / "busi").exists(), reason=f"the full images are not at {DATA}; set CDS_DATA"
)


def test_a_split_is_read_with_its_counts():
    cohort = read_busi(EXTRACT, ("train", "val"), name="extract")
    assert cohort.manifest()["labels"] == {"benign": 6, "malignant": 6, "normal": 2}
    assert cohort.left_out == {"another split": 5, "its group carries two labels": 1}
    assert int(cohort.malignant.sum()) == 6
    assert int(cohort.lesion.sum()) == 12
    assert all(image.dtype == np.uint8 and image.ndim == 2 for image in cohort.images)
    assert not any(mask.any() for mask, lesion in zip(cohort.masks, cohort.lesion, strict=True) if not lesion)


def test_no_conflict_is_in_any_split():
    everything = read_busi(EXTRACT, ("train", "val", "test", "exclude"), name="all")
    assert len(everything) == 19


def test_the_external_set_brings_its_readers():
    cohort = read_breast(EXTRACT, name="external")
    assert len(cohort) == 8
    assert np.isfinite(cohort.reader).all()
    assert set(cohort.groups) == {"age"}


def damaged(tmp_path, change):
    folder = tmp_path / "data"
    shutil.copytree(EXTRACT, folder)
    change(folder)
    return folder


def relist(folder):
    lines = [
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  ./{path.relative_to(folder)}\n"
        for path in sorted((folder / "images").rglob("*"))
        if path.is_file()
    ]
    (folder / "SHA256SUMS").write_text("".join(lines))


def test_an_altered_image_is_refused(tmp_path):
    def change(folder):
        path = next((folder / "images/busi/images").glob("busi_malignant*"))
        path.write_bytes(path.read_bytes() + b"x")

    with pytest.raises(SettingsError, match="never train on changed data"):
        read_busi(damaged(tmp_path, change), ("train", "test", "val"), name="x")


def test_a_missing_image_is_named(tmp_path):
    def change(folder):
        next((folder / "images/breast/images").glob("*.jpg")).unlink()

    with pytest.raises(SettingsError, match="can't be read"):
        read_breast(damaged(tmp_path, change), name="x")


def test_a_set_without_a_case_is_refused(tmp_path):
    def change(folder):
        table = folder / "images/busi/busi.csv"
        rows = [row for row in csv.DictReader(table.read_text().splitlines()) if row["label"] != "malignant"]
        with table.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
        relist(folder)

    with pytest.raises(SettingsError, match="no malignant image"):
        read_busi(damaged(tmp_path, change), ("train",), name="x")


def table_with(change):
    """BUSI's table with every row changed; the list of hashes follows, as when a set was made anew."""

    def apply(folder):
        path = folder / "images/busi/busi.csv"
        rows = [change(dict(row)) for row in csv.DictReader(path.read_text().splitlines())]
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(rows)
        relist(folder)

    return apply


def without_a_column(row):
    del row["colour_fraction"]
    return row


def no_picture(folder):
    path = min((folder / "images/busi/images").glob("busi_malignant*"))
    path.write_bytes(b"<html>not found</html>")
    relist(folder)


def half_a_picture(folder):
    path = min((folder / "images/busi/images").glob("busi_malignant*"))
    path.write_bytes(path.read_bytes()[:400])
    relist(folder)


def no_masks(folder):
    with zipfile.ZipFile(folder / "images/busi/masks.zip", "w"):
        pass
    relist(folder)


def no_zip(folder):
    (folder / "images/busi/masks.zip").write_bytes(b"gone")
    relist(folder)


def another_encoding(folder):
    (folder / "images/busi/busi.csv").write_bytes("ファイル,label\n".encode("utf-16"))
    relist(folder)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (table_with(lambda row: {**row, "colour_fraction": "nan"}), r"busi\.csv:2: a cell of this line is empty or is no number"),
        (table_with(lambda row: {**row, "colour_fraction": ""}), r"busi\.csv:2: a cell of this line is empty or is no number"),
        (table_with(lambda row: {**row, "original_name": "benign"}), r"busi\.csv:2: a cell of this line is empty or is no number"),
        (table_with(lambda row: {**row, "label": "cyst"}), r"busi\.csv:2: the label is unknown"),
        (table_with(without_a_column), r"busi\.csv: the column colour_fraction is missing"),
        (another_encoding, r"busi\.csv: it is no table of text in UTF-8"),
        (no_picture, r"busi_malignant\w+\.jpg: it can't be decoded as a picture"),
        (half_a_picture, r"busi_malignant\w+\.jpg: it can't be decoded as a picture"),
        (no_masks, r"masks\.zip: the mask \w+\.png is missing or damaged"),
        (no_zip, r"masks\.zip: it is no zip file"),
    ],
    ids=[
        "a number is NaN", "a number is empty", "a name without a number", "a strange label", "no such column",
        "another encoding", "no picture", "half a picture", "no masks", "no zip file",
    ],
)  # fmt: skip
def test_a_damaged_set_is_named_by_file_and_line(tmp_path, change, says):
    """Listed with the right hash and wrong all the same: whoever made the set anew made it badly."""
    with pytest.raises(SettingsError, match=says):
        read_busi(damaged(tmp_path, change), ("train", "val", "test"), name="x")


@pytest.mark.data
@full_data
def test_the_full_sets_are_as_their_page_says():
    train = read_busi(DATA, ("train", "val"), name="training")
    test = read_busi(DATA, ("test",), name="test")
    external = read_breast(DATA, name="external")
    assert train.manifest()["labels"] == {"benign": 374, "malignant": 170, "normal": 123}
    assert test.manifest()["labels"] == {"benign": 51, "malignant": 33, "normal": 8}
    assert external.manifest()["labels"] == {"benign": 77, "malignant": 49, "normal": 2}
    assert not set(train.group.tolist()) & set(test.group.tolist())
    assert train.left_out["its group carries two labels"] == 21
