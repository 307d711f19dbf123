"""A bundle appears whole or not at all, and a release is never written over."""

import resource
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from cds_service.errors import BundleError, SettingsError
from cds_service.model import sealing
from cds_service.model.bundle import BUNDLE_FILES, load_bundle
from cds_service.model.sealing import write_bundle, write_whole

RELEASED = Path(__file__).parents[2] / "model_assets" / "dysglycaemia" / "1.0.0"


@pytest.fixture
def contents():
    return {name: (RELEASED / name).read_bytes() for name in BUNDLE_FILES}


@pytest.fixture
def manifest(bundle):
    return msgspec.structs.replace(bundle.manifest, files={})


def test_sealing_the_released_files_gives_the_released_list(tmp_path, manifest, contents):
    folder = tmp_path / "dysglycaemia" / "1.0.0"
    write_bundle(folder, manifest, contents)
    assert (folder / "bundle.toml").read_bytes() == (RELEASED / "bundle.toml").read_bytes()
    assert load_bundle(folder).digest == load_bundle(RELEASED).digest


def test_the_same_files_leave_the_release_alone(tmp_path, manifest, contents):
    """Trained again at a later commit: the release keeps the commit that made it."""
    folder = tmp_path / "dysglycaemia" / "1.0.0"
    write_bundle(folder, manifest, contents)
    before = (folder / "bundle.toml").stat().st_mtime_ns
    kept = write_bundle(folder, msgspec.structs.replace(manifest, commit="later"), contents)
    assert kept.commit == manifest.commit
    assert (folder / "bundle.toml").stat().st_mtime_ns == before


def test_other_files_are_refused_and_nothing_changes(tmp_path, manifest, contents):
    folder = tmp_path / "dysglycaemia" / "1.0.0"
    write_bundle(folder, manifest, contents)
    with pytest.raises(BundleError, match="raise the version"):
        write_bundle(folder, manifest, {**contents, "MODEL_CARD.md": b"better"})
    assert load_bundle(folder).digest == load_bundle(RELEASED).digest


def test_a_bundle_that_lacks_a_file_is_not_written(tmp_path, manifest, contents):
    del contents["PACKAGE_INSERT.ja.md"]
    with pytest.raises(BundleError, match=r"lacks PACKAGE_INSERT\.ja\.md"):
        write_bundle(tmp_path / "dysglycaemia" / "1.0.0", manifest, contents)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.fault("F74")
def test_a_death_while_writing_leaves_no_half_bundle(tmp_path, manifest, contents, monkeypatch):
    """F74: the job is killed; no folder of that name is there, and the next run is not disturbed by the remains."""
    folder = tmp_path / "dysglycaemia" / "1.0.0"

    def killed(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(sealing.os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            write_bundle(folder, manifest, contents)
    assert not folder.exists()
    write_bundle(folder, manifest, contents)
    assert load_bundle(folder).version == "1.0.0"


@contextmanager
def files_of_at_most(count):
    """What a full disk does to a writer, done by the operating system's own limit: the write fails midway."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.fault("F74")
def test_a_full_disk_leaves_no_half_bundle_and_one_sentence(tmp_path, manifest, contents):
    folder = tmp_path / "dysglycaemia" / "1.0.0"
    with files_of_at_most(10_000), pytest.raises(SettingsError, match=r"1\.0\.0: can't be written \(.+\)\. Free space"):
        write_bundle(folder, manifest, contents)
    assert list(folder.parent.iterdir()) == []
    write_bundle(folder, manifest, contents)
    assert load_bundle(folder).version == "1.0.0"


def test_a_full_disk_leaves_the_old_file(tmp_path):
    path = tmp_path / "new" / "looks.jsonl"
    write_whole(path, b"old")
    with files_of_at_most(100), pytest.raises(SettingsError, match="can't be written"):
        write_whole(path, bytes(1000))
    assert [(one.name, one.read_bytes()) for one in path.parent.iterdir()] == [("looks.jsonl", b"old")]


def test_a_folder_that_is_a_file_is_named(tmp_path, manifest, contents):
    (tmp_path / "state").write_text("")
    for write in (
        lambda: write_whole(tmp_path / "state" / "net.safetensors", b"x"),
        lambda: write_bundle(tmp_path / "state" / "dysglycaemia" / "1.0.0", manifest, contents),
    ):
        with pytest.raises(SettingsError, match="Not a directory"):
            write()


def test_words_of_any_kind_survive_the_list(tmp_path, manifest, contents):
    odd = 'a "quoted" \\ word,\nin two lines 検査'
    folder = tmp_path / "dysglycaemia" / "1.0.0"
    write_bundle(folder, msgspec.structs.replace(manifest, made_by=odd), contents)
    assert load_bundle(folder).manifest.made_by == odd
