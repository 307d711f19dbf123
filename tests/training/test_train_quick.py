"""From rows to a released bundle, on the committed extract: the whole road, its determinism, and its refusals."""

import json
import shutil
from datetime import date
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs the train extra")

from cds_service.clinical.features import Feature
from cds_service.errors import BundleError, SettingsError
from cds_service.model.bundle import load_bundle
from cds_service.model.predict import Prediction, predict
from cds_service.model.runtime import open_model
from cds_service.release.evaluate import evaluate, release_candidate, summary
from cds_service.release.looks import read_looks
from cds_service.training.recipe import train

pytestmark = pytest.mark.train

HERE = Path(__file__).parent
DATA = HERE.parent / "data" / "nhanes"
FEATURES = HERE.parents[1] / "recipes" / "dysglycaemia" / "features.toml"


def recipes_in(folder, text=None):
    to = folder / "recipes" / "dysglycaemia"
    to.mkdir(parents=True)
    shutil.copy(FEATURES, to / "features.toml")
    (to / "default.toml").write_text(text if text is not None else (HERE / "quick.toml").read_text())
    return folder / "recipes"


@pytest.fixture(scope="module")
def candidate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quick")
    lines = []
    made = train(
        "dysglycaemia", data=DATA, recipes=recipes_in(folder), state=folder / "state", commit="abc", say=lines.append
    )
    assert lines[0] == "data: NHANES extract, 1224 eligible of 1500 rows"
    return made


def test_the_candidate_is_a_whole_bundle_whose_golden_rows_pass(candidate):
    bundle = load_bundle(candidate)
    model = open_model(bundle)
    assert (bundle.version, bundle.manifest.commit, bundle.manifest.data[0].rows) == ("0.0.1", "abc", 1224)
    answer = predict(
        model,
        {"age_years": Feature("age_years", 64.0), "glucose": Feature("glucose", 140.0), "hdl": Feature("hdl", 40.0)},
    )
    assert isinstance(answer, Prediction)
    assert "test" not in bundle.metrics
    assert "has not been opened" in (candidate / "MODEL_CARD.md").read_text()


def test_golden_rows_belong_to_nobody_and_miss_each_input_in_turn(candidate):
    golden = json.loads((candidate / "golden.json").read_text())
    gone = {name for row in golden["rows"] for name, value in row["features"].items() if value is None}
    assert gone == {spec.name for spec in load_bundle(candidate).features.inputs} - {"age_years"}
    assert len({row["id"] for row in golden["rows"]}) == len(golden["rows"])


def test_the_same_command_gives_the_same_bytes(candidate, tmp_path):
    again = train(
        "dysglycaemia",
        data=DATA,
        recipes=recipes_in(tmp_path),
        state=tmp_path / "state",
        commit="abc",
        say=lambda _: None,
    )
    for file in sorted(candidate.iterdir()):
        assert (again / file.name).read_bytes() == file.read_bytes(), file.name


def test_out_of_fold_means_out_of_fold(candidate):
    """The figures say which rows they are about, and the operating point was chosen under its burden."""
    metrics = load_bundle(candidate).metrics
    assert metrics["development"]["cases"] == 1224
    point = metrics["development"]["operating_points"]["high"]
    assert point["cards_per_100"]["value"] <= 10
    assert set(metrics["development"]["subgroups"]) == {"sex", "age", "bmi", "ethnicity"}
    assert set(metrics["baselines"]["logistic_regression"]["coefficients"]) == {"ge57", "ge60", "ge65"}


def test_a_release_opens_the_test_set_once_and_writes_it_down(candidate, tmp_path):
    assets = tmp_path / "assets"
    folder, figures = release_candidate(
        candidate, data=DATA, assets=assets, today=date(2026, 11, 25), say=lambda _: None
    )
    bundle = load_bundle(folder)
    assert bundle.metrics["test"]["cases"] == figures["cases"] > 300
    assert bundle.metrics["test"]["look"] == 1
    card = (folder / "MODEL_CARD.md").read_text()
    assert "has not been opened" not in card
    assert f"{figures['student']['ge57']['roc_auc_score']['value']:.3f}" in card
    assert "テストデータをまだ開いていません" not in (folder / "PACKAGE_INSERT.ja.md").read_text()
    assert summary(figures)[0].startswith("NHANES extract, test:")

    again, _ = release_candidate(candidate, data=DATA, assets=assets, today=date(2026, 12, 1), say=lambda _: None)
    assert again == folder  # the same candidate: the release stands, and it is no new look
    assert len(read_looks(assets / "dysglycaemia" / "looks.jsonl")) == 1
    assert evaluate(bundle, data=DATA)["student"] == figures["student"]


def test_a_release_is_never_overwritten(candidate, tmp_path):
    assets = tmp_path / "assets"
    release_candidate(candidate, data=DATA, assets=assets, today=date(2026, 11, 25), say=lambda _: None)
    other = train(
        "dysglycaemia",
        data=DATA,
        recipes=recipes_in(
            tmp_path, (HERE / "quick.toml").read_text().replace("seed             = 7", "seed             = 8")
        ),
        state=tmp_path / "state",
        say=lambda _: None,
    )
    before = {file.name: file.read_bytes() for file in (assets / "dysglycaemia" / "0.0.1").iterdir()}
    with pytest.raises(BundleError, match="raise the version"):
        release_candidate(other, data=DATA, assets=assets, today=date(2026, 11, 26), say=lambda _: None)
    assert {file.name: file.read_bytes() for file in (assets / "dysglycaemia" / "0.0.1").iterdir()} == before
    assert [look.version for look in read_looks(assets / "dysglycaemia" / "looks.jsonl")] == ["0.0.1", "0.0.1"]


def test_served_numbers_are_the_evaluated_ones(candidate):
    """What evaluate judges is predict_many: the same rows asked one by one give the same probabilities."""
    from cds_service.cohorts.tables import read_nhanes
    from cds_service.model.predict import predict_many

    model = open_model(load_bundle(candidate))
    cohort = read_nhanes(DATA, ["nhanes_extract_test.csv"], model.features, name="test")
    together = predict_many(model, cohort.rows)
    alone = [predict(model, row) for row in cohort.rows]
    got = np.array([list(answer.probabilities.values()) for answer in together if isinstance(answer, Prediction)])
    one = np.array([list(answer.probabilities.values()) for answer in alone if isinstance(answer, Prediction)])
    assert got == pytest.approx(one, abs=1e-6)


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        pytest.param("seed ", "sead ", "sead", id="an unknown key"),
        pytest.param("folds            = 3", "folds            = 'three'", "folds", id="a wrong type"),
        pytest.param("folds            = 3", "folds            = 2", "at least 3", id="two folds leave nothing to learn from"),
        pytest.param("at_least = 6.0", "at_least = 5.0", "do not rise", id="limits that do not rise"),
        pytest.param('test      = ["nhanes_extract_test.csv"]', 'test      = ["nhanes_extract.csv"]', "in training and in test", id="the test set trains"),
        pytest.param('model            = "dysglycaemia"', 'model            = "other"', "is other", id="a recipe of another model"),
        pytest.param("minimum_ppv_score = 0.01", "minimum_ppv_score = 0.99", "PPV may be as low", id="a PPV that can't be kept"),
        pytest.param('"nhanes_extract.csv"', '"gone.csv"', "can't be read", id="a file that is not there"),
    ],
)  # fmt: skip
def test_a_wrong_recipe_is_refused_in_words(tmp_path, before, after, message):
    text = (HERE / "quick.toml").read_text()
    assert before in text
    with pytest.raises(SettingsError, match=message):
        train(
            "dysglycaemia",
            data=DATA,
            recipes=recipes_in(tmp_path, text.replace(before, after)),
            state=tmp_path / "state",
            say=lambda _: None,
        )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(None, "can't be read", id="no declaration"),
        pytest.param("[[feature]", "features.toml", id="not TOML"),
        pytest.param('[[feature]]\nname = "a"\nsurprise = 1', "unknown key", id="an unknown key"),
    ],
)
def test_a_wrong_declaration_is_refused_in_words(tmp_path, text, message):
    recipes = recipes_in(tmp_path)
    if text is None:
        (recipes / "dysglycaemia" / "features.toml").unlink()
    else:
        (recipes / "dysglycaemia" / "features.toml").write_text(text)
    with pytest.raises(SettingsError, match=message):
        train("dysglycaemia", data=DATA, recipes=recipes, state=tmp_path, say=lambda _: None)


def test_a_recipe_that_is_not_there(tmp_path):
    with pytest.raises(SettingsError, match="can't be read"):
        train("dysglycaemia", "nothing", data=DATA, recipes=recipes_in(tmp_path), state=tmp_path)


def test_changed_data_are_never_trained_on(tmp_path):
    data = tmp_path / "data"
    shutil.copytree(DATA, data)
    with (data / "nhanes_extract.csv").open("a") as file:
        file.write("\n")
    with pytest.raises(SettingsError, match="never train on changed data"):
        train("dysglycaemia", data=data, recipes=recipes_in(tmp_path), state=tmp_path / "state", say=lambda _: None)
