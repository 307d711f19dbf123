"""A bundle that differs from its list in any way is refused, and the file is named (SEC-120, F60, F61, F67)."""

import os
import tomllib

import pytest

from cds_service.errors import BundleError
from cds_service.model.bundle import BUNDLE_FILES, load_bundle, read_parts
from cds_service.model.channels import Channels, read_channels
from cds_service.model.image_model import load_image_bundle, open_image_model
from cds_service.model.runtime import open_model


def flip(name, place):
    def damage(folder):
        data = bytearray((folder / name).read_bytes())
        data[place] ^= 1
        (folder / name).write_bytes(data)

    return damage


def truncate(folder):
    data = (folder / "model.onnx").read_bytes()
    (folder / "model.onnx").write_bytes(data[: len(data) // 2])


def link(folder):
    (folder / "model.onnx").rename(folder.parent / "elsewhere.onnx")
    (folder / "model.onnx").symlink_to(folder.parent / "elsewhere.onnx")


def pipe(folder):
    (folder / "metrics.json").unlink()
    os.mkfifo(folder / "metrics.json")


def directory(folder):
    (folder / "golden.json").unlink()
    (folder / "golden.json").mkdir()


DAMAGE = [
    *[pytest.param(flip(name, place), name, id=f"a bit of {name} flipped at {place}") for name in BUNDLE_FILES for place in (0, -1)],
    pytest.param(truncate, "model.onnx", id="the graph is truncated"),
    pytest.param(lambda folder: (folder / "extra.py").write_text(""), "extra.py", id="a file that is not listed"),
    pytest.param(lambda folder: (folder / "model.onnx").unlink(), "model.onnx", id="a file is missing"),
    pytest.param(lambda folder: (folder / "bundle.toml").unlink(), "bundle.toml", id="the list is missing"),
    pytest.param(link, "model.onnx", id="a file is a link, to the very same bytes"),
    pytest.param(pipe, "metrics.json", id="a file is a pipe"),
    pytest.param(directory, "golden.json", id="a file is a folder"),
]  # fmt: skip


@pytest.mark.sec("SEC-120")
@pytest.mark.fault("F60")
@pytest.mark.parametrize(("damage", "named"), DAMAGE)
def test_a_damaged_bundle_is_refused_by_name(copy, damage, named):
    damage(copy)
    with pytest.raises(BundleError) as refused:
        load_bundle(copy)
    assert any(fault.where.endswith(f"/{named}") for fault in refused.value.faults)


@pytest.mark.sec("SEC-120")
def test_every_fault_is_named_at_once(copy):
    flip("model.onnx", 9)(copy)
    flip("golden.json", 9)(copy)
    (copy / "extra.py").write_text("")
    with pytest.raises(BundleError) as refused:
        load_bundle(copy)
    assert {fault.where.rsplit("/", 1)[1] for fault in refused.value.faults} == {
        "model.onnx",
        "golden.json",
        "extra.py",
    }


@pytest.mark.sec("SEC-120")
@pytest.mark.parametrize("name", ["../1.0.0/model.onnx", "/etc/hostname", "sub/file", ".hidden", "bundle.toml"])
def test_the_list_never_reaches_out_of_the_folder(copy, name):
    listing = copy / "bundle.toml"
    listing.write_text(listing.read_text() + f'"{name}" = {{ sha256 = "0", bytes = 1 }}\n')
    with pytest.raises(BundleError, match="outside the bundle"):
        load_bundle(copy)


def test_a_signature_may_lie_beside_the_list(copy):
    (copy / "bundle.sig").write_bytes(b"signature")
    assert load_bundle(copy).version == "1.0.0"


@pytest.mark.parametrize(
    ("before", "after", "what"),
    [
        ("format         = 1", "format         = 2", "format 2"),
        ('"1.0.0"', '"1.0.1"', "folders' names"),
        ("minimum_inputs = 3", "minimum_inputs = 0", "minimum_inputs"),
        ("minimum_inputs = 3", "minimum_inputs = 'x'", "minimum_inputs"),
        ("ge65 = 0.03", "ge65 = 1.03", "prevalence"),
        ("minimum_inputs = 3", "minimum_inputs = 3\nsurprise = 1", "surprise"),
        ("[files]", "[files", "bundle.toml"),
    ],
)
def test_a_list_that_says_something_else_is_refused(copy, before, after, what):
    listing = copy / "bundle.toml"
    assert before in listing.read_text()
    listing.write_text(listing.read_text().replace(before, after))
    with pytest.raises(BundleError, match=what):
        load_bundle(copy)


@pytest.mark.fault("F67")
@pytest.mark.parametrize(
    ("file", "change", "what"),
    [
        pytest.param("calibration.json", lambda d: d["steps"].pop(), "steps and outputs differ", id="a step is gone"),
        pytest.param("calibration.json", lambda d: d["bins"].pop("ge57"), "bins and outputs differ", id="bins are gone"),
        pytest.param("calibration.json", lambda d: d["bins"]["ge57"].pop(0), "do not cover", id="bins have a hole"),
        pytest.param("calibration.json", lambda d: d["bins"]["ge57"][5].update(cases=3), "thin one", id="a thin bin amid"),
        pytest.param("reference.json", lambda d: d["inputs"].pop("bmi"), "differ from those", id="an input has no range"),
        pytest.param("golden.json", lambda d: d["rows"].clear(), "no golden rows", id="no golden rows"),
        pytest.param("golden.json", lambda d: d["rows"][0]["features"].pop("bmi"), "differ from the model", id="a row lacks an input"),
        pytest.param("golden.json", lambda d: d.update(surprise=1), "surprise", id="an unknown key"),
    ],
)  # fmt: skip
def test_parts_that_disagree_are_refused(copy, edit, file, change, what):
    edit(copy, file, change)
    with pytest.raises(BundleError, match=what) as refused:
        load_bundle(copy)
    assert refused.value.faults[0].where.endswith(f"/{file}")


@pytest.mark.fault("F67")
def test_an_operating_point_of_an_unknown_output_is_refused(copy, reseal):
    points = copy / "operating_points.toml"
    points.write_text(points.read_text().replace("ge65", "ge99"))
    reseal(copy, "operating_points.toml")
    with pytest.raises(BundleError, match="an output is unknown"):
        load_bundle(copy)


@pytest.mark.fault("F67")
@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param('name        = "bmi"', 'name        = "weight"', id="an input of another name"),
        pytest.param('origin = "patient.sex"', 'origin = "patient.sex"\nrole = "condition"', id="an input less"),
    ],
)
def test_features_for_another_graph_are_refused(copy, reseal, before, after):
    declared = copy / "features.toml"
    assert before in declared.read_text()
    declared.write_text(declared.read_text().replace(before, after))
    reseal(copy, "features.toml")
    with pytest.raises(BundleError):
        open_model(load_bundle(copy))


@pytest.mark.fault("F61")
def test_an_edited_golden_row_is_refused_with_row_and_gap(copy, edit):
    edit(copy, "golden.json", lambda d: d["rows"][3]["expected"].update(ge65=0.5))
    with pytest.raises(BundleError, match=r"row decile 4: ge65 differs by 0\.\d+, more than 0\.0001"):
        open_model(load_bundle(copy))


@pytest.mark.fault("F61")
def test_a_golden_row_on_which_the_model_is_silent_is_refused(copy, edit):
    edit(copy, "golden.json", lambda d: d["rows"][0]["features"].update(age_years=None))
    with pytest.raises(BundleError, match="abstains"):
        open_model(load_bundle(copy))


@pytest.mark.fault("F61")
def test_another_calibration_is_caught_by_the_golden_rows(copy, edit):
    edit(copy, "calibration.json", lambda d: d["steps"][0].update(intercept=0.2))
    with pytest.raises(BundleError, match=r"golden\.json: row"):
        open_model(load_bundle(copy))


@pytest.mark.fault("F60")
@pytest.mark.parametrize("graph", [b"", b"not a graph", b"\x08\x08" * 40], ids=["empty", "text", "no graph in it"])
def test_bytes_that_are_no_graph_are_refused(copy, reseal, graph):
    (copy / "model.onnx").write_bytes(graph)
    reseal(copy, "model.onnx")
    with pytest.raises(BundleError, match=r"model\.onnx: it is no ONNX model"):
        open_model(load_bundle(copy))


@pytest.mark.fault("F60")
def test_a_graph_that_onnx_runtime_refuses_is_refused(copy, reseal):
    graph = (copy / "model.onnx").read_bytes()
    (copy / "model.onnx").write_bytes(graph.replace(b"weight_out", b"weight_oat", 1))
    reseal(copy, "model.onnx")
    with pytest.raises(BundleError, match=r"model\.onnx: ONNX Runtime refuses it"):
        open_model(load_bundle(copy))


def test_the_released_bundle_says_what_a_card_needs(bundle):
    assert bundle.outputs == ("ge57", "ge60", "ge65")
    assert bundle.population("ja").startswith("米国")
    assert 0.02 < bundle.prevalence["ge65"] < bundle.prevalence["ge60"] < bundle.prevalence["ge57"] < 0.35
    assert list(bundle.operating_points) == ["high"]
    assert "ethnicity" not in {spec.name for spec in bundle.features.features}


def test_the_released_features_are_the_recipes(bundle):
    from pathlib import Path

    recipe = Path(__file__).parents[2] / "recipes" / "dysglycaemia" / "features.toml"
    assert (Path(bundle.folder) / "features.toml").read_bytes() == recipe.read_bytes()


def test_every_release_in_the_repository_opens():
    from pathlib import Path

    assets = Path(__file__).parents[2] / "model_assets"
    for channels in assets.glob("*/channels.toml"):
        champion = read_channels(channels.parent).champion
        folder = channels.parent / champion
        image = read_parts(folder)[0].kind == "image"
        model = open_image_model(load_image_bundle(folder)) if image else open_model(load_bundle(folder))
        assert model.bundle.version == champion


CHANNELS = [
    pytest.param('champion = "1.0.0"', Channels("1.0.0"), id="a champion alone"),
    pytest.param(
        'champion = "1.0.0"\nshadow = "1.1.0"\ncanary = { version = "1.1.0", share = 0.05 }',
        ("1.1.0", 0.05),
        id="all three",
    ),
    pytest.param("", None, id="no champion"),
    pytest.param('champion = "../../etc"', None, id="a path is no version"),
    pytest.param('champion = "1.0.0"\nchampoin = "1.0.1"', None, id="a misspelt key"),
    pytest.param('champion = "1.0.0"\ncanary = { version = "1.1.0", share = 0.9 }', None, id="a canary that is the larger arm"),
    pytest.param("champion = ", None, id="not TOML"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), CHANNELS)
def test_channels(tmp_path, text, expected):
    (tmp_path / "channels.toml").write_text(text)
    if expected is None:
        with pytest.raises(BundleError, match=r"channels\.toml"):
            read_channels(tmp_path)
        return
    found = read_channels(tmp_path)
    assert found == expected or (found.shadow, found.canary.share) == expected


def test_no_channel_file(tmp_path):
    with pytest.raises(BundleError, match="can't be read"):
        read_channels(tmp_path)


def test_bundle_toml_is_toml_with_every_hash(copy):
    document = tomllib.loads((copy / "bundle.toml").read_text())
    assert set(document["files"]) == set(BUNDLE_FILES)
