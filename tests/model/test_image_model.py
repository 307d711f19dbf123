"""An image bundle: checked like any other, the same number alone or in a batch, and refused when it differs."""

import base64
import hashlib
import json
import shutil
import zlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cds_service.clinical.pixels import PixelSpec, prepare
from cds_service.errors import BundleError
from cds_service.model.abstain import Abstention
from cds_service.model.bundle import load_bundle
from cds_service.model.image_model import (
    ImageGoldenRow,
    load_image_bundle,
    open_image_model,
    pack_pixels,
    predict_image,
    prepared_samples,
    unpack_pixels,
)
from cds_service.model.measure import graph_cost
from cds_service.model.parts import DataUsed, Manifest
from cds_service.model.predict import Prediction
from cds_service.model.sealing import write_bundle

SPEC = PixelSpec(
    size=32, fit="letterbox", contrast="image", clip=3.0, mean=0.0, std=2.0, least_side=16, most_pixels=2**22
)
TOML = (
    'size = 32\nfit = "letterbox"\ncontrast = "image"\nclip = 3.0\nmean = 0.0\nstd = 2.0\nleast_side = 16\n'
    "most_pixels = 4194304\n"
)
TISSUE = np.random.default_rng(7).integers(0, 256, (60, 90), dtype=np.uint8)


def small_graph():
    """One convolution, the mean over the image, one logit."""
    rng = np.random.default_rng(3)
    nodes = [
        helper.make_node("Conv", ["pixels", "w", "b"], ["c"], kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "lw", "lb"], ["logits"], transB=1),
        helper.make_node("Conv", ["r", "cw"], ["activation"], kernel_shape=[1, 1]),
        helper.make_node("MatMul", ["f", "uw"], ["unlikeness"]),
    ]
    weights = {"w": (4, 1, 3, 3), "b": (4,), "lw": (1, 4), "lb": (1,), "cw": (1, 4, 1, 1), "uw": (4, 1)}
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["N", 1, 32, 32])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 1]),
            helper.make_tensor_value_info("activation", TensorProto.FLOAT, ["N", 1, "h", "w"]),
            helper.make_tensor_value_info("unlikeness", TensorProto.FLOAT, ["N", 1]),
        ],
        [numpy_helper.from_array(rng.normal(size=shape).astype(np.float32), name) for name, shape in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "breast" / "1.0.0"
    manifest = Manifest(
        format=1, model="breast", version="1.0.0", made_by="tests", commit="0", parent="", minimum_inputs=1,
        data=(DataUsed("none", "0", 1, "none"),), population={"en": "nobody"}, prevalence={"malignant": 0.255},
        outputs={"malignant": "malignant"}, files={}, kind="image",
    )  # fmt: skip
    bins = [{"low": 0.0, "high": 1.0, "cases": 100, "predicted": 0.5, "observed": 0.5}]
    calibration = {
        "method": "none",
        "steps": [{"output": "malignant", "intercept": 0.0, "slope": 1.0}],
        "minimum_cases": 20,
        "bins": {"malignant": bins},
    }
    point = 'output = "malignant"\nthreshold = 0.0\ncards_per_100 = [1.0, 1.0, 1.0]\nppv_score = [0.5, 0.4, 0.6]\nminimum_ppv_score = 0.1\neligible = "all"\ncases = 9\n'
    contents = {
        "model.onnx": small_graph(),
        "pixels.toml": TOML.encode(),
        "calibration.json": json.dumps(calibration).encode(),
        "operating_points.toml": f"[any]\n{point}".encode(),
        "reference.json": reference(most=1e6),
        "golden.json": golden(0.5).encode(),
        **dict.fromkeys(("metrics.json", "MODEL_CARD.md", "PACKAGE_INSERT.ja.md"), b"{}"),
    }
    write_bundle(place, manifest, contents)
    model = open_image_model(load_image_bundle(place), run_golden=False)
    given = predict_image(model, TISSUE).probabilities["malignant"]
    contents["golden.json"] = golden(given).encode()
    write_bundle(place, manifest, contents, replace=True)
    return place


def reference(most):
    unlikeness = {"method": "none", "most": most, "false_abstention": [0.02, 0.01, 0.03], "deciles": []}
    return json.dumps({"rows": 1, "inputs": {}, "scores": {}, "unlikeness": unlikeness}).encode()


def golden(expected, prepared=None):
    samples = list(prepared_samples(prepare(TISSUE, SPEC))) if prepared is None else prepared
    row = {
        "id": "tissue", "height": 60, "width": 90, "pixels": pack_pixels(TISSUE), "prepared": samples,
        "expected": {"malignant": expected},
    }  # fmt: skip
    return json.dumps({"tolerance": 1e-4, "prepared_tolerance": 1 / 255, "rows": [row]})


def rewrite(folder, name, content):
    """Change a file and the list, as a careless release would."""
    (folder / name).write_bytes(content)
    listing = (folder / "bundle.toml").read_text().splitlines()
    sealed = f'"{name}" = {{ sha256 = "{hashlib.sha256(content).hexdigest()}", bytes = {len(content)} }}'
    changed = [sealed if line.startswith(f'"{name}"') else line for line in listing]
    (folder / "bundle.toml").write_text("\n".join(changed) + "\n")


def test_it_speaks_and_falls_silent(folder):
    model = open_image_model(load_image_bundle(folder))
    answer = predict_image(model, TISSUE)
    assert isinstance(answer, Prediction)
    assert answer.operating_point == "any"
    assert not answer.at_site_prevalence
    small = predict_image(model, TISSUE[:10])
    assert isinstance(small, Abstention)
    assert (small.reason, small.features) == ("not_enough_inputs", ("image",))


def test_it_is_silent_on_what_is_unlike_its_images(folder):
    """No number for what the model never saw (issue 3, item 6)."""
    unlikeness = open_image_model(load_image_bundle(folder)).look(prepare(TISSUE, SPEC))[1]
    rewrite(folder, "reference.json", reference(most=unlikeness - 1e-3))
    answer = predict_image(open_image_model(load_image_bundle(folder)), TISSUE)
    assert isinstance(answer, Abstention)
    assert (answer.reason, answer.features) == ("out_of_distribution", ("image",))


def test_where_it_looked_has_a_figure_for_each_place(folder):
    model = open_image_model(load_image_bundle(folder))
    assert model.activation(prepare(TISSUE, SPEC)).shape == (16, 16)


def test_a_graph_that_says_less_is_refused(folder):
    graph = onnx.load_from_string((folder / "model.onnx").read_bytes())
    del graph.graph.output[2]
    rewrite(folder, "model.onnx", graph.SerializeToString())
    with pytest.raises(BundleError, match="outputs are not logits and activation and unlikeness"):
        open_image_model(load_image_bundle(folder))


def test_a_rarer_disease_makes_the_same_image_less_likely_to_show_it(folder):
    """Issue 3, item 5: the odds are shifted from the training mix to the site's."""
    model = open_image_model(load_image_bundle(folder))
    here = predict_image(model, TISSUE).probabilities["malignant"]
    there = predict_image(model, TISSUE, site_prevalence={"malignant": 0.08}).probabilities["malignant"]
    ratio = (0.08 / 0.92) / (0.255 / 0.745)
    assert there / (1 - there) == pytest.approx(here / (1 - here) * ratio)


def test_alone_or_in_a_batch(folder):
    """B-075: singly, together, reversed, with one and with eight threads."""
    bundle = load_image_bundle(folder)
    one, eight = open_image_model(bundle, threads=1), open_image_model(bundle, threads=8)
    images = np.random.default_rng(1).integers(0, 256, (9, 50, 70), dtype=np.uint8)
    prepared = np.stack([prepare(image, SPEC) for image in images])
    alone = np.array([one.logits(image[None])[0][0] for image in prepared])
    for together in (one.logits(prepared), one.logits(prepared[::-1])[::-1], eight.logits(prepared)):
        assert np.abs(np.array(together)[:, 0] - alone).max() < bundle.golden.tolerance


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("golden.json", lambda: golden(0.9), "malignant differs by"),
        ("golden.json", lambda: golden(0.5, [9.0] * 16), "prepared image differs"),
        ("golden.json", lambda: golden(0.5, [0.0] * 4), "another size"),
        ("pixels.toml", lambda: TOML.replace("std = 2.0", "std = 1.0"), "prepared image differs"),
        ("pixels.toml", lambda: TOML.replace("size = 32", "size = 64"), "float \\[N, 1, 64, 64\\]"),
    ],
    ids=["another number", "another preparation", "another size", "another contrast", "another side"],
)
def test_a_bundle_that_differs_refuses_to_start(folder, name, content, says):
    rewrite(folder, name, content().encode())
    with pytest.raises(BundleError, match=says):
        open_image_model(load_image_bundle(folder))


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("pixels.toml", "size = 32\n", "missing required field"),
        ("pixels.toml", TOML + "extra = 1\n", "unknown field"),
        ("pixels.toml", TOML.replace('"letterbox"', '"stretch"'), "Invalid enum value"),
        ("pixels.toml", TOML.replace("size = 32", "size = 9999"), "impossible"),
        ("golden.json", '{"tolerance": 0.1, "prepared_tolerance": 0.1, "rows": []}', "no golden rows"),
        ("calibration.json", '{"method": "", "steps": [], "minimum_cases": 1, "bins": {}}', "differ"),
    ],
)
def test_a_part_that_is_wrong_is_named(folder, name, content, says):
    rewrite(folder, name, content.encode())
    with pytest.raises(BundleError, match=says) as raised:
        load_image_bundle(folder)
    assert name in str(raised.value)


def test_a_changed_byte_is_named(folder):
    (folder / "pixels.toml").write_text(TOML + "#")
    with pytest.raises(BundleError, match=r"pixels\.toml"):
        load_image_bundle(folder)


def test_each_kind_has_its_own_loader(folder):
    with pytest.raises(BundleError, match="kind is image"):
        load_bundle(folder)
    released = Path(__file__).parents[2] / "model_assets" / "dysglycaemia" / "1.0.0"
    with pytest.raises(BundleError, match="kind is tabular"):
        load_image_bundle(released)


def test_a_golden_image_is_never_more_than_it_says():
    bomb = zlib.compress(bytes(2**24), 9)
    row = ImageGoldenRow("bomb", 10, 10, base64.b64encode(bomb).decode(), (), {})
    with pytest.raises(ValueError, match="another number of pixels"):
        unpack_pixels(row)
    with pytest.raises(ValueError, match="too large"):
        unpack_pixels(ImageGoldenRow("huge", 10**5, 10**5, "", (), {}))
    with pytest.raises(ValueError, match="inflated"):
        unpack_pixels(ImageGoldenRow("noise", 10, 10, "AAAA", (), {}))


def test_a_release_is_not_overwritten(folder):
    bundle = load_image_bundle(folder)
    contents = {name: (folder / name).read_bytes() for name in bundle.manifest.files}
    write_bundle(folder, bundle.manifest, contents)
    with pytest.raises(BundleError, match="Releases never change"):
        write_bundle(folder, bundle.manifest, {**contents, "MODEL_CARD.md": b"other"})
    shutil.rmtree(folder)
    with pytest.raises(BundleError, match=r"lacks pixels\.toml"):
        write_bundle(folder, bundle.manifest, {n: c for n, c in contents.items() if n != "pixels.toml"})


def test_what_a_graph_costs_is_measured_in_a_process_of_its_own():
    cost = graph_cost(small_graph(), (1, 1, 32, 32), runs=20)
    assert cost.bytes == len(small_graph())
    assert 0 < cost.p50_ms <= cost.p95_ms
    assert 0 < cost.memory_mb < 500
    with pytest.raises(RuntimeError, match="measuring process failed"):
        graph_cost(b"no graph", (1, 1, 32, 32), runs=1)
