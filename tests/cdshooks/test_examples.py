"""Every example is answered as its file says; and for the right reason, whatever the model's numbers are."""

import json

import pytest

from cds_service.events.schema import PredictionMade, PredictionWithheld, RuleFired
from tests.bundles import write_tiny_bundle
from tests.cdshooks.example_answers import ROOT, Examples, written

EXAMPLES = Examples.of("dysglycaemia-screening")
RELEASED = ROOT / "model_assets"
REASONS = {
    "card": (PredictionMade, None, 1),
    "rule": (RuleFired, None, 1),
    "known-diabetes": (PredictionWithheld, "excluded_condition", 0),
    "recent-hba1c": (PredictionWithheld, "recent_measurement", 0),
    "missing-required": (PredictionWithheld, "data_missing", 1),
    "vitals-absent": (PredictionMade, None, 1),
    "out-of-range": (PredictionMade, None, 1),  # here, where no model knows a range; see the released one below
    "patient-viewer": (PredictionWithheld, "viewer_not_clinician", 0),
    "japanese": (PredictionMade, None, 1),
}


@pytest.fixture(scope="module")
def always_high(tmp_path_factory):
    """A model that always reaches its operating point, so that only the service decides."""
    assets = tmp_path_factory.mktemp("assets")
    features = ROOT / "recipes/dysglycaemia/features.toml"
    write_tiny_bundle(assets, "dysglycaemia", features, outputs=("ge57", "ge60", "ge65"), point="high")
    return assets


def test_every_example_has_a_reason_here():
    assert set(REASONS) == set(EXAMPLES.names)
    assert {path.name.removesuffix(".request.json") for path in EXAMPLES.folder.glob("*.request.json")} == set(REASONS)


@pytest.mark.parametrize("name", EXAMPLES.names)
def test_each_example_comes_out_for_its_reason(name, always_high):
    made = EXAMPLES.answer(name, always_high)
    kind, reason, cards = REASONS[name]
    (event,) = made.events
    assert type(event) is kind
    assert getattr(event, "reason", None) == reason
    assert len(made.cards) == cards


def test_the_japanese_card_is_japanese_and_a_suspicion_does_not_exclude(always_high):
    (card,) = EXAMPLES.answer("japanese", always_high).cards
    assert card.summary.startswith("過去36か月のHbA1cが当院の記録に見当たりません。6.5%以上の推定確率 ")
    assert "腹囲" in card.detail
    assert card.override_reasons[0].display == "他院・健診で測定済み"


def test_a_site_without_a_declared_prevalence_gets_words_and_no_order(always_high):
    (card,) = EXAMPLES.answer("vitals-absent", always_high).cards
    assert "%" not in card.summary
    assert card.suggestions[0].actions == ()
    assert "BMI" in card.detail


def test_the_rule_speaks_in_its_own_words(always_high):
    (card,) = EXAMPLES.answer("rule", always_high).cards
    assert card.summary == (
        "Glucose 214 mg/dL (fasting state unknown, 2026-05-12) is in the diabetic range; "
        "no HbA1c on record here in the past 36 months"
    )


needs_release = pytest.mark.skipif(
    not (RELEASED / "dysglycaemia/1.1.0").is_dir(), reason="the released bundle is not here"
)


@needs_release
def test_a_value_unlike_those_that_the_model_saw_is_said_and_gives_no_figure():
    made = EXAMPLES.answer("out-of-range", RELEASED)
    (card,), (event,) = made.cards, made.events
    assert (event.reason, event.detail, event.card) == ("out_of_distribution", "bmi", card.uuid)
    assert "no estimate is shown" in card.summary
    assert "%" not in card.summary
    assert "unlike those the model learned from (BMI)" in card.detail
    assert card.suggestions == ()


@needs_release
@pytest.mark.parametrize("name", EXAMPLES.names)
def test_the_released_model_answers_as_the_file_says(name):
    told = json.loads((EXAMPLES.folder / f"{name}.response.json").read_text("utf-8"))
    assert written(EXAMPLES.answer(name, RELEASED)) == told
