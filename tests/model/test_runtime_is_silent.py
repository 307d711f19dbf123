"""ONNX Runtime's wheels report to their maker unless told not to before they are loaded; ours never do (SEC-090)."""

import os
import subprocess
import sys
from importlib.metadata import distribution

import pytest

from tests.attacks.real import ROOT

RUN = """
import sys
from cds_service.model.runtime import ort
session = ort.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
assert session.get_inputs()
"""
SUPPRESSED_ANYWAY = {"CI", "GITHUB_ACTIONS", "ORT_RUNNING_UNIT_TESTS", "ORT_DISABLE_TELEMETRY", "TF_BUILD"}
MODEL = ROOT / "model_assets/dysglycaemia/1.0.0/model.onnx"


@pytest.mark.sec("SEC-090")
def test_a_model_that_runs_leaves_nothing_in_the_home_of_its_user(tmp_path):
    kept = {name: value for name, value in os.environ.items() if name not in SUPPRESSED_ANYWAY and "XDG" not in name}
    subprocess.run(
        [sys.executable, "-c", RUN, MODEL], env=kept | {"HOME": str(tmp_path), "TMPDIR": str(tmp_path)}, cwd=ROOT, check=True,
        timeout=120,
    )  # fmt: skip
    assert list(tmp_path.iterdir()) == []


@pytest.mark.sec("SEC-090")
def test_the_runtime_still_knows_the_word_that_silences_it():
    """Whoever changes the version learns here when the word is another."""
    wheel = distribution("onnxruntime")
    libraries = [wheel.locate_file(file) for file in wheel.files if file.name.startswith("onnxruntime_pybind11_state")]
    assert libraries
    assert all(b"ORT_DISABLE_TELEMETRY" in library.read_bytes() for library in libraries)
