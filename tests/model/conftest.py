"""The committed bundle, opened once; a copy of it that a test may damage."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from cds_service.clinical.features import Feature
from cds_service.model.bundle import load_bundle
from cds_service.model.runtime import open_model

RELEASED = Path(__file__).parents[2] / "model_assets" / "dysglycaemia" / "1.0.0"


@pytest.fixture(scope="session")
def bundle():
    return load_bundle(RELEASED)


@pytest.fixture(scope="session")
def model(bundle):
    return open_model(bundle)


@pytest.fixture
def copy(tmp_path):
    folder = tmp_path / "dysglycaemia" / "1.0.0"
    shutil.copytree(RELEASED, folder)
    return folder


@pytest.fixture
def reseal():
    """Write the hash of a changed file into bundle.toml: what someone does who wants to hide the change."""

    def write(folder: Path, name: str) -> None:
        data = (folder / name).read_bytes()
        listing = folder / "bundle.toml"
        lines = [
            f'"{name}" = {{ sha256 = "{hashlib.sha256(data).hexdigest()}", bytes = {len(data)} }}'
            if line.startswith(f'"{name}"')
            else line
            for line in listing.read_text().splitlines()
        ]
        listing.write_text("\n".join(lines) + "\n")

    return write


@pytest.fixture
def edit(reseal):
    """Change a JSON file of a bundle by a function, and seal it anew."""

    def write(folder: Path, name: str, change) -> None:
        document = json.loads((folder / name).read_text())
        change(document)
        (folder / name).write_text(json.dumps(document))
        reseal(folder, name)

    return write


@pytest.fixture(scope="session")
def row():
    """Features by name, as build_features gives them."""

    def make(**values):
        return {name: Feature(name, value) for name, value in values.items()}

    return make


@pytest.fixture(scope="session")
def someone(row):
    """A man of 64 with all inputs."""
    return row(
        age_years=64.0,
        sex=1.0,
        bmi=27.0,
        waist=98.0,
        sbp=140.0,
        dbp=80.0,
        total_cholesterol=210.0,
        hdl=45.0,
        glucose=112.0,
        fasting=1.0,
    )
