"""Training an image model when something is wrong: one sentence, exit status 2, no half bundle, and it goes on afterwards."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="training needs the train extra")

import torch
from click.testing import CliRunner

from cds_service.cli import main
from cds_service.cohorts.images import read_busi
from cds_service.errors import SettingsError
from cds_service.training.image_fit import fit_image_net
from cds_service.training.image_nets import make_net
from cds_service.training.image_recipe_types import FitRecipe
from cds_service.training.image_teacher import assign_image_folds

pytestmark = pytest.mark.train

HERE = Path(__file__).parent
DATA = HERE.parent / "data" / "breast"
PIXELS = HERE.parents[1] / "recipes" / "breast-ultrasound" / "pixels.toml"
MODEL = "breast-ultrasound"


class Place:
    """A data folder, a recipe and a state of our own, and the command that is run on them."""

    def __init__(self, folder):
        self.folder, self.data, self.state, self.assets = folder, DATA, folder / "state", folder / "assets"
        recipes = folder / "recipes" / MODEL
        recipes.mkdir(parents=True)
        shutil.copy(HERE / "quick_image.toml", recipes / "default.toml")
        (recipes / "pixels.toml").write_text(PIXELS.read_text().replace("size        = 128", "size        = 64"))

    def own_data(self):
        self.data = self.folder / "data"
        shutil.copytree(DATA, self.data)
        return self.data

    def change_recipe(self, before, after):
        path = self.folder / "recipes" / MODEL / "default.toml"
        assert before in path.read_text()
        path.write_text(path.read_text().replace(before, after))

    def arguments(self, *more):
        named = {
            "--data": self.data,
            "--recipes": self.folder / "recipes",
            "--assets": self.assets,
            "--state": self.state,
        }
        return ["train", MODEL, *(str(word) for pair in named.items() for word in pair), *more]

    def train(self, *more):
        return CliRunner().invoke(main, self.arguments(*more))

    @property
    def cache(self):
        return self.state / "cache" / MODEL

    @property
    def bundles(self):
        """Whatever stands where a bundle would."""
        return [path for root in (self.state / "candidates", self.assets) for path in root.glob(f"{MODEL}/*")]


@pytest.fixture
def place(tmp_path):
    return Place(tmp_path)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    place = Place(tmp_path_factory.mktemp("undisturbed"))
    ran = place.train("--candidate")
    assert ran.exit_code == 0, ran.output
    return place


def one_sentence(ran):
    """What the command said on stderr: one line, no traceback."""
    assert ran.exit_code == 2, ran.output
    assert ran.exception is None or isinstance(ran.exception, SystemExit)
    (line,) = ran.stderr.strip().splitlines()
    return line


def missing_image(place):
    next((place.own_data() / "images/busi/images").glob("busi_malignant*")).unlink()


def altered_image(place):
    path = next((place.own_data() / "images/busi/images").glob("busi_malignant*"))
    path.write_bytes(path.read_bytes() + b"x")


def no_list(place):
    (place.own_data() / "SHA256SUMS").unlink()


def a_state_inside_a_file(place):
    (place.folder / "file").write_text("")
    place.state = place.folder / "file" / "state"


@pytest.mark.fault("F74")
@pytest.mark.parametrize(
    ("harm", "says"),
    [
        (missing_image, r"can't be read (No such file or directory). Get the data set anew."),
        (altered_image, "its sha256 is not the one in SHA256SUMS"),
        (no_list, "Point --data or CDS_DATA to the data's folder"),
        (lambda place: place.change_recipe("folds            = 2", "folds            = 9"), "has no malignant image"),
        (lambda place: place.change_recipe("learning_rate = 1e-3", "learning_rate = 1e30"), "is no number. Lower the learning rate"),
        (a_state_inside_a_file, "can't be written (Not a directory)"),
    ],
    ids=["an image is missing", "an image is altered", "no list of hashes", "a fold without a case", "NaN", "no place to write"],
)  # fmt: skip
def test_what_is_wrong_is_said_in_one_sentence_and_no_bundle_is_left(place, harm, says):
    harm(place)
    assert says in one_sentence(place.train())
    assert place.bundles == []


def test_weights_that_are_no_numbers_are_never_kept():
    """The spread of a batch overflows, which leaves the loss finite and a weight infinite: no loss would notice."""
    recipe = FitRecipe(
        epochs=1, batch=4, learning_rate=1e-3, weight_decay=0.0, dropout=0.0, frozen_blocks=0, mask_weight=0.0, average=0.5
    )  # fmt: skip

    def batches(_, rows, generator):
        views = 1e25 * torch.randn((len(rows), 1, 64, 64), generator=generator)
        return views, torch.zeros((len(rows), 64, 64)), torch.ones(len(rows))

    with pytest.raises(SettingsError, match="a weight is no number"):
        fit_image_net(make_net("dense", seed=1, dropout=0.0), torch.arange(4), batches, recipe, seed=1)


def test_every_fold_has_both_kinds_or_is_refused():
    cohort = read_busi(DATA, ("train", "val"), name="x")
    for folds in (2, 3):
        fold = assign_image_folds(cohort, folds, neighbours=1, seed=1)
        for k in range(folds):
            assert 0 < cohort.malignant[fold == k].sum() < (fold == k).sum()
    with pytest.raises(SettingsError, match="fold 7 of 8 has no malignant image"):
        assign_image_folds(cohort, 8, neighbours=1, seed=1)


@pytest.mark.fault("F74")
def test_a_full_disk_says_so_and_the_same_command_goes_on(place, undisturbed):
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))  # the operating system fails writes midway
    try:
        ran = place.train("--candidate")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "can't be written" in one_sentence(ran)
    assert place.bundles == []
    assert list(place.cache.iterdir()) == []
    shutil.copytree(undisturbed.cache, place.cache, dirs_exist_ok=True)
    assert place.train("--candidate").exit_code == 0


@pytest.mark.fault("F74")
def test_a_damaged_checkpoint_is_named_and_not_used(place, undisturbed):
    shutil.copytree(undisturbed.cache, place.cache)
    kept = min(place.cache.glob("teacher-*.safetensors"))
    kept.write_bytes(kept.read_bytes()[:1000])
    assert f"{kept.name}: this checkpoint is damaged. Remove it" in one_sentence(place.train("--candidate"))
    shutil.copy(undisturbed.cache / kept.name, kept)
    (said,) = place.cache.glob("said-*.npz")
    said.write_bytes(said.read_bytes()[:300])
    assert f"{said.name}: this checkpoint is damaged. Remove it" in one_sentence(place.train("--candidate"))
    assert place.bundles == []


@pytest.mark.fault("F74")
def test_a_kill_midway_leaves_no_bundle_and_the_next_run_gives_the_undisturbed_one(place, undisturbed):
    command = [sys.executable, "-m", "cds_service", *place.arguments("--candidate")]
    running = subprocess.Popen(command, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    try:
        deadline = time.monotonic() + 120
        while not list(place.cache.glob("teacher-*.safetensors")):
            assert running.poll() is None, "it ended before it could be killed"
            assert time.monotonic() < deadline, "no teacher was fitted"
            time.sleep(0.02)
    finally:
        running.send_signal(signal.SIGKILL)
        running.wait()
    assert place.bundles == []
    ran = place.train("--candidate")
    assert ran.exit_code == 0, ran.output
    assert "taken from teacher-" in ran.output
    for made in ("cache/breast-ultrasound/*.safetensors", "candidates/breast-ultrasound/0.0.1-teacher/*.onnx"):
        ours, theirs = ({path.name: path.read_bytes() for path in one.state.glob(made)} for one in (place, undisturbed))
        assert ours == theirs
        assert len(ours) > 1
