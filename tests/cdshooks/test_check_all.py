"""``check`` opens every bundle that lies among the assets, also an image model that no service asks yet."""

import hashlib
import json
import shutil

import pytest

from cds_service.cdshooks.check_all import check_all
from tests.cdshooks.planted import ROOT, SHIPPED

MODEL = "breast-ultrasound"


@pytest.fixture
def assets(tmp_path):
    return shutil.copytree(ROOT / "model_assets", tmp_path / "assets")


@pytest.fixture
def bundle(assets):
    return assets / MODEL / "1.0.0"


def reseal(bundle, name, content):
    """Change a file and its line in the list, as somebody would who knows the format."""
    listing = (bundle / "bundle.toml").read_text("utf-8")
    old, new = (
        f'sha256 = "{hashlib.sha256(one).hexdigest()}", bytes = {len(one)}'
        for one in ((bundle / name).read_bytes(), content)
    )
    assert old in listing
    (bundle / name).write_bytes(content)
    (bundle / "bundle.toml").write_text(listing.replace(old, new), "utf-8")


def test_what_is_shipped_is_fit(assets):
    report = check_all(SHIPPED, assets)
    assert report.exit_code == 0
    assert report.lines == (
        "dysglycaemia-screening: 9 prefetch keys, model dysglycaemia 1.1.0, 9 examples",
        "breast-ultrasound: image model 1.0.0, 8 golden images, no service asks it",
    )


def flip(bundle, name):
    content = bytearray((bundle / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle / name).write_bytes(content)


def judge_otherwise(bundle):
    golden = json.loads((bundle / "golden.json").read_text("utf-8"))
    row = golden["rows"][0]
    row["expected"] = {output: 1 - expected / 2 for output, expected in row["expected"].items()}
    reseal(bundle, "golden.json", json.dumps(golden).encode())


@pytest.mark.parametrize(
    ("damage", "where", "what"),
    [
        pytest.param(lambda bundle: flip(bundle, "model.onnx"), "1.0.0/model.onnx", "sha256", id="a byte of the graph"),
        pytest.param(lambda bundle: (bundle / "golden.json").unlink(), "1.0.0/golden.json", "missing", id="no golden images"),
        pytest.param(lambda bundle: (bundle / "extra").touch(), "1.0.0/extra", "list", id="a file that nobody lists"),
        pytest.param(judge_otherwise, "1.0.0/golden.json: row", "malignant differs by", id="another number for a golden image"),
        pytest.param(lambda bundle: (bundle.parent / "channels.toml").unlink(), f"{MODEL}/channels.toml", "can't be read", id="nobody says which version"),
        pytest.param(shutil.rmtree, "1.0.0/bundle.toml", "missing", id="the champion is not there"),
    ],
)  # fmt: skip
def test_a_damaged_image_bundle_is_named(assets, bundle, damage, where, what):
    damage(bundle)
    report = check_all(SHIPPED, assets)
    assert report.exit_code == 2
    (line,) = report.lines
    assert f"{assets}/" in line
    assert where in line
    assert what in line


def test_a_bundle_with_features_is_opened_without_a_service_too(assets, tmp_path):
    (tmp_path / "hooks").mkdir()
    flip(assets / "dysglycaemia" / "1.1.0", "model.onnx")
    report = check_all(tmp_path / "hooks", assets)
    assert report.exit_code == 2
    assert any("dysglycaemia/1.1.0/model.onnx" in line for line in report.lines)
