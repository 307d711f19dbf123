"""One resize, one contrast: case B-073, and what an image must be."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cds_service.clinical.pixels import PixelSpec, PixelsUnfit, prepare, resize, standardise

SPEC = PixelSpec(
    size=128, fit="letterbox", contrast="image", clip=3.0, mean=0.0, std=2.0, least_side=64, most_pixels=2**24
)
CASES = Path(__file__).parents[1] / "cases" / "model.jsonl"
B_073 = next(case for case in map(json.loads, CASES.read_text().splitlines()) if case["id"] == "B-073")


def test_a_checkerboard_becomes_grey_and_not_moire():
    """B-073: 2,048 px of 0 and 255; the mean alone would not show the fault."""
    assert "2048" in B_073["input"]["make"]
    board = (np.indices((2048, 2048)).sum(axis=0) % 2 * 255).astype(np.uint8)
    small = resize(board, 224, 224)
    assert np.abs(small - 127.5).max() / 255 <= 1 / 255
    moire = board[:: 2048 // 224, :: 2048 // 224]
    assert moire.std() > 100  # what a resize without antialias would give


@pytest.mark.parametrize("size", [(40, 60), (100, 150), (63, 77), (300, 500)])
def test_the_filter_is_the_one_of_training_libraries(size):
    """Within the rounding of Pillow's fixed-point bilinear, reduced or enlarged."""
    image = np.random.default_rng(1).integers(0, 256, (200, 310), dtype=np.uint8)
    theirs = np.asarray(Image.fromarray(image).resize(size[::-1], Image.Resampling.BILINEAR), dtype=np.float32)
    assert np.abs(resize(image, *size) - theirs).max() <= 1.01


@pytest.mark.train
def test_training_and_serving_prepare_the_same_pixels():
    """B-073: torchvision's antialiased resize, then the same contrast, differs by less than 1/255."""
    torch = pytest.importorskip("torch", reason="training needs the train extra")
    image = np.random.default_rng(2).integers(0, 256, (240, 320), dtype=np.uint8)
    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(image.astype(np.float32))[None, None], size=(96, 128), mode="bilinear", antialias=True
    )[0, 0].numpy()
    assert B_073["expect"]["max_abs_difference_of_input"] == "1/255"
    assert np.abs(theirs - resize(image, 96, 128)).max() <= 1


def test_gain_and_offset_of_a_scanner_are_taken_out():
    image = np.random.default_rng(3).integers(40, 120, (200, 300), dtype=np.uint8)
    brighter = (image * 2 - 20).astype(np.uint8)
    assert np.abs(prepare(image, SPEC) - prepare(brighter, SPEC)).max() < 1e-4


def test_the_margin_is_the_mean_and_the_shape_is_kept():
    prepared = prepare(np.random.default_rng(4).integers(0, 256, (100, 200), dtype=np.uint8), SPEC)
    assert prepared.shape == (128, 128)
    assert not prepared[:32].any()
    assert not prepared[96:].any()
    assert np.abs(prepared[32:96].mean()) < 1e-3
    assert prepared[32:96].std() == pytest.approx(0.5, abs=0.01)


def test_an_image_of_one_grey_is_all_mean():
    assert not prepare(np.full((80, 80), 7, dtype=np.uint8), SPEC).any()


def test_images_are_standardised_one_by_one():
    images = np.random.default_rng(5).random((3, 16, 16), dtype=np.float32)
    inside = np.ones_like(images, dtype=np.bool_)
    together = standardise(images, inside, SPEC)
    for place in range(3):
        alone = standardise(images[place : place + 1], inside[:1], SPEC)
        assert np.array_equal(alone[0], together[place])


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((63, 100), dtype=np.uint8),
        np.zeros((100, 100), dtype=np.float32),
        np.zeros((100, 100, 3), dtype=np.uint8),
        np.zeros((5000, 5000), dtype=np.uint8),
    ],
    ids=["too small", "not 8 bits", "colour", "too large"],
)
def test_what_is_no_such_image_is_refused(image):
    with pytest.raises(PixelsUnfit, match="image"):
        prepare(image, SPEC)
