"""The committed bundle is what the committed recipe makes (minutes; in the campaign)."""

import os
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs the train extra")

from cds_service.model.bundle import load_bundle
from cds_service.model.predict import predict_many
from cds_service.model.runtime import open_model
from cds_service.training.recipe import train

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("CDS_DATA") or ROOT.parent / "shared" / "data")

pytestmark = [
    pytest.mark.train,
    pytest.mark.data,
    pytest.mark.slow,
    pytest.mark.skipif(not (DATA / "SHA256SUMS").exists(), reason=f"the full data are not at {DATA}; set CDS_DATA"),
    pytest.mark.skipif(not os.environ.get("CDS_CAMPAIGN"), reason="takes minutes: make campaign runs it"),
]


def test_the_recipe_makes_the_committed_model(tmp_path):
    """The same kind of CPU gives the same bytes; another one may round otherwise, within a thousandth."""
    from cds_service.clinical.features import Feature

    candidate = load_bundle(train("dysglycaemia", data=DATA, recipes=ROOT / "recipes", state=tmp_path))
    released = load_bundle(ROOT / "model_assets" / "dysglycaemia" / "1.1.0")
    rows = [{name: Feature(name, value) for name, value in row.features.items()} for row in released.golden.rows]
    ours, theirs = (predict_many(open_model(bundle), rows) for bundle in (candidate, released))
    for one, other in zip(ours, theirs, strict=True):
        assert one.probabilities == pytest.approx(other.probabilities, abs=1e-3)
    assert candidate.features == released.features
