"""From the tabular teacher to what ships, on the committed extract: every row is there, and a kill costs nothing finished."""

import shutil
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs the train extra")

from cds_service.training.table_compression import measure_table_compression, table_compression_lines

pytestmark = pytest.mark.train

HERE = Path(__file__).parent
DATA = HERE.parent / "data" / "nhanes"
STEPS = (
    "teacher", "student without a teacher", "student distilled", "student distilled, free to move the wrong way",
    "student distilled, half as wide", "student distilled, int8",
)  # fmt: skip


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("compression")
    recipes = folder / "recipes" / "dysglycaemia"
    recipes.mkdir(parents=True)
    shutil.copy(HERE.parents[1] / "recipes" / "dysglycaemia" / "features.toml", recipes)
    shutil.copy(HERE / "quick.toml", recipes / "default.toml")
    said = []
    places = {"data": DATA, "recipes": folder / "recipes", "state": folder / "state", "say": said.append}
    return places, measure_table_compression("dysglycaemia", **places), said


def test_every_step_has_its_figures_and_what_it_costs(measured):
    _, result, _ = measured
    assert tuple(result.steps) == STEPS
    assert result.outputs == ("ge57", "ge60", "ge65")
    for name, step in result.steps.items():
        assert set(step["outputs"]["ge57"]) == {
            "roc_auc_score", "less_teacher", "calibration_slope", "observed_expected_ratio",
        }  # fmt: skip
        assert name == "teacher" or step["cost"]["bytes"] > 1000
    assert result.steps["student distilled"]["seeds"]["ge57"][0] == pytest.approx(
        result.steps["student distilled"]["outputs"]["ge57"]["roc_auc_score"]["value"], abs=1e-4
    )


def test_the_rule_says_all_three_of_its_reasons(measured):
    _, result, _ = measured
    assert result.rule.startswith(("fp32 ships.", "int8 ships."))
    assert all(word in result.rule for word in ("times smaller", "µs of CPU", "AUC"))


def test_a_held_student_goes_the_wrong_way_less_than_a_free_one(measured):
    _, result, _ = measured
    held, free = (
        max(one["share"] for one in result.wrong_way[name].values())
        for name in ("student distilled", "student distilled, free to move the wrong way")
    )
    assert held <= free


def test_the_page_has_a_line_for_each_step(measured):
    _, result, _ = measured
    page = "\n".join(table_compression_lines(result))
    assert all(f"| {name} |" in page for name in STEPS)
    assert "nan" not in page


def test_a_second_run_fits_nothing_for_the_folds_again(measured):
    places, result, said = measured
    said.clear()
    again = measure_table_compression("dysglycaemia", **places)
    assert again.steps["student distilled"]["seeds"] == result.steps["student distilled"]["seeds"]
    assert not [line for line in said if "seed" in line]
