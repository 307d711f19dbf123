"""The two reference pages name every key that the files may hold."""

from pathlib import Path

import pytest
from msgspec.structs import fields

from cds_service.clinical import feature_spec
from cds_service.clinical.pixels import PixelSpec
from cds_service.model import channels, parts
from cds_service.model.bundle import BUNDLE_FILES, IMAGE_BUNDLE_FILES
from cds_service.release.looks import Look

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
TYPES = [
    parts.Manifest, parts.DataUsed, parts.FileSeal, parts.Calibration, parts.CalibrationStep, parts.CalibrationBin,
    parts.OperatingPoint, parts.Reference, parts.InputReference, parts.ScoreReference, parts.Golden, parts.GoldenRow,
    channels.Channels, Look, PixelSpec, parts.ImageGolden, parts.ImageGoldenRow, parts.ImageReference,
]  # fmt: skip


@pytest.mark.parametrize("kind", TYPES, ids=lambda kind: kind.__name__)
def test_every_key_of_the_bundle_is_on_its_page(kind):
    page = (REFERENCE / "model-bundle.md").read_text()
    known = {"files": "[files]", "data": "[[data]]"}
    for field in fields(kind):
        assert f"`{known.get(field.name, field.name)}" in page or f"{field.name}`" in page, field.name


@pytest.mark.parametrize("name", sorted({*BUNDLE_FILES, *IMAGE_BUNDLE_FILES}))
def test_every_file_is_on_its_page(name):
    assert f"`{name}`" in (REFERENCE / "model-bundle.md").read_text()


@pytest.mark.parametrize("key", sorted(feature_spec._KEYS))
def test_every_key_of_a_feature_is_on_its_page(key):
    assert f"`{key}`" in (REFERENCE / "features.md").read_text()
