"""The building holds: floors and wings, no banned call, a small serving install, versions above the known weaknesses.

Each rule is broken once on purpose, in a copy: a guard that never barks is no guard.
"""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import distributions
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "cds_service"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
CONTRACTS = {contract["name"] for contract in PROJECT["tool"]["importlinter"]["contracts"]}

LAYERS = "Imports go down the floors"
BREAKS = [
    pytest.param("texts/writing.py", "import cds_service.clinical.codes", {LAYERS}, id="a room that reaches upstairs"),
    pytest.param("newroom.py", "", {LAYERS}, id="a room that has no place"),
    pytest.param("answer.py", "import cds_service.training", {"The fast wing never reaches the slow one"}, id="serving that trains"),
    pytest.param("training/recipe.py", "import cds_service.cdshooks.client", {"The slow wing never reaches the fast one", LAYERS}, id="training that serves"),
    pytest.param("model/runtime.py", "import cds_service.settings", {"Settings are read at the doors only"}, id="a setting read deep inside"),
    pytest.param("model/runtime.py", "import torch", {"torch stays in training"}, id="torch beside the patient"),
    pytest.param("stats/intervals.py", "import pathlib", {"The chart and the statistics are pure"}, id="statistics that read files"),
    pytest.param("clinical/facts.py", "import socket", {"The chart and the statistics are pure"}, id="a chart that calls out"),
]  # fmt: skip


def broken_contracts(folder):
    """The contracts that import-linter finds broken in the package under *folder*."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    said = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    assert "Contracts:" in said.stdout, said.stdout + said.stderr
    found = {name for name in CONTRACTS if re.search(rf"^{re.escape(name)} BROKEN", said.stdout, re.MULTILINE)}
    assert bool(found) == (said.returncode != 0)
    return found


@pytest.fixture
def copy(tmp_path):
    shutil.copytree(PACKAGE, tmp_path / "cds_service", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    return tmp_path


def test_every_contract_holds(copy):
    assert broken_contracts(copy) == set()


@pytest.mark.parametrize(("file", "line", "broken"), BREAKS)
def test_each_contract_breaks_when_it_is_broken(copy, file, line, broken):
    path = copy / "cds_service" / file
    path.write_text((path.read_text(encoding="utf-8") if path.exists() else "") + f"\n{line}\n", encoding="utf-8")
    assert broken_contracts(copy) == broken


def test_no_contract_is_left_unbroken():
    assert set().union(*(row.values[2] for row in BREAKS)) == CONTRACTS


NEVER_SERVED = (
    "torch",
    "torchvision",
    "sklearn",
    "onnx",
    "fhir",
    "pandas",
    "matplotlib",
    "cds_service.training",
    "cds_service.cohorts",
)
"""What the serving process does not load: too heavy, or for other people's work."""

START = """
import pathlib, sys
from cds_service.service_app import create_app, open_parts
from cds_service.settings import read_settings
{planted}
parts = open_parts(read_settings(environment={{}}, auth="off-for-development", state=pathlib.Path(sys.argv[1])))
create_app(parts)
parts.store.close()
print(*sorted(sys.modules))
"""


def loaded_at_start(folder, planted=""):
    command = [sys.executable, "-c", START.format(planted=planted), str(folder)]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    modules = set(said.stdout.split())
    return {name for name in NEVER_SERVED if name in modules}


def test_the_serving_process_loads_nothing_of_training(tmp_path):
    assert loaded_at_start(tmp_path) == set()


def test_and_would_be_seen_to(tmp_path):
    assert loaded_at_start(tmp_path, "import onnx") == {"onnx"}


BANNED_MODULES = {
    "pickle",
    "cPickle",
    "_pickle",
    "marshal",
    "shelve",
    "dill",
    "cloudpickle",
    "joblib",
    "telnetlib",
    "xmlrpc",
}
BANNED_NAMES = {"eval", "exec", "__import__"}
BANNED_CALLS = {
    ("os", "system"),
    ("os", "popen"),
    ("yaml", "load"),
    ("yaml", "unsafe_load"),
    ("tempfile", "mktemp"),
    ("onnx", "hub"),
}


def violations(tree):
    """(line, what) of each banned import or call."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, one.name) for one in node.names if one.name.split(".")[0] in BANNED_MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in BANNED_MODULES:
            yield node.lineno, node.module
        elif isinstance(node, ast.Call):
            yield from ((node.lineno, what) for what in called(node))


def called(node):
    given = {word.arg: word.value for word in node.keywords}
    is_true = lambda name: isinstance(given.get(name), ast.Constant) and given[name].value is True  # noqa: E731
    if isinstance(node.func, ast.Name) and node.func.id in BANNED_NAMES:
        yield node.func.id
    if isinstance(node.func, ast.Attribute):
        holder = node.func.value.id if isinstance(node.func.value, ast.Name) else ""
        if (holder, node.func.attr) in BANNED_CALLS:
            yield f"{holder}.{node.func.attr}"
        if (holder, node.func.attr) == ("torch", "load") and not is_true("weights_only"):
            yield "torch.load without weights_only"
    if is_true("shell"):
        yield "shell=True"
    if is_true("allow_pickle"):
        yield "allow_pickle=True"


def test_no_banned_call_anywhere():
    found = {
        f"{path.relative_to(ROOT)}:{line} {what}"
        for path in PACKAGE.rglob("*.py")
        for line, what in violations(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert found == set()


@pytest.mark.parametrize(
    "planted",
    [
        "import pickle", "from pickle import loads", "import joblib as j", "eval('1')", "exec('x = 1')", "import yaml\nyaml.load(f)",
        "import torch\ntorch.load(f)", "torch.load(f, weights_only=False)", "subprocess.run(x, shell=True)",
        "numpy.load(f, allow_pickle=True)", "import os\nos.system('ls')", "def f():\n    import marshal",
    ],
)  # fmt: skip
def test_each_banned_call_is_seen(planted):
    assert list(violations(ast.parse(planted)))


@pytest.mark.parametrize(
    "fine",
    ["torch.load(f, weights_only=True)", "re.compile('x')", "yaml.safe_load(f)", "model.eval()", "subprocess.run(x)"],
)
def test_what_is_fine_is_not_seen(fine):
    assert list(violations(ast.parse(fine))) == []


ADDRESSES = {"url", "base_url", "url_for"}
"""What Starlette builds from ``Host``, so that a caller has a say in it (CVE-2026-48710)."""


def addresses_read(tree):
    """(line, name) of each address of a request that is read; an object's own ``self.url`` is none."""
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="self")):
                pass
            case ast.Attribute(attr=name) if name in ADDRESSES:
                yield node.lineno, name


@pytest.mark.sec("SEC-042")
def test_nothing_is_decided_on_an_address_that_the_caller_wrote():
    found = {
        f"{path.relative_to(ROOT)}:{line} {name}"
        for room in ("api", "web")
        for path in (PACKAGE / room).rglob("*.py")
        for line, name in addresses_read(ast.parse(path.read_text(encoding="utf-8")))
    }
    assert found == set()


@pytest.mark.parametrize(
    "planted", ["request.url.path", "str(request.base_url)", "request.url_for('x')", "self._request.url"]
)
def test_each_address_that_is_read_is_seen(planted):
    assert list(addresses_read(ast.parse(planted)))


FLOORS = tomllib.loads((ROOT / "security-floors.toml").read_text(encoding="utf-8"))


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def installed():
    return {canonical(one.metadata["Name"]): one.version for one in distributions() if one.metadata["Name"]}


def locked(path):
    """Name → version of one hash-locked list."""
    found = re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {canonical(name): version for name, version in found}


def too_low(versions, floors=FLOORS):
    """Each package of *versions* that lies below its floor, or is not to be there at all."""
    return {
        f"{name} {versions[name]}: {entry['floor']} because of {entry['advisory']}"
        for name, entry in floors.items()
        if name in versions and (entry["floor"] == "never" or Version(versions[name]) < Version(entry["floor"]))
    }


@pytest.mark.sec("SEC-127")
def test_no_installed_package_is_below_its_floor():
    versions = installed()
    assert {"starlette", "uvicorn", "httptools", "onnxruntime", "pydantic"} <= set(versions) & set(FLOORS)
    assert too_low(versions) == set()


@pytest.mark.sec("SEC-127")
@pytest.mark.parametrize("path", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda path: path.stem)
def test_no_locked_package_is_below_its_floor(path):
    versions = locked(path)
    assert versions
    assert too_low(versions) == set()


@pytest.mark.sec("SEC-127")
def test_what_we_declare_cannot_resolve_below_a_floor():
    extras = PROJECT["project"]["optional-dependencies"].values()
    declared = [*PROJECT["project"]["dependencies"], *chain.from_iterable(extras)]
    loose = set()
    for requirement in map(Requirement, declared):
        entry = FLOORS.get(canonical(requirement.name))
        bounds = [Version(one.version) for one in requirement.specifier if one.operator in (">=", "==", "~=")]
        if entry is not None and (not bounds or max(bounds) < Version(entry["floor"])):
            loose.add(str(requirement))
    assert loose == set()


@pytest.mark.parametrize(
    ("name", "version", "is_low"),
    [
        ("starlette", "1.3.0", True), ("starlette", "1.3.1", False), ("starlette", "1.10.0", False), ("h11", "0.16.0rc1", True),
        ("python-jose", "99", True), ("uvicorn", "0.9", True), ("numpy", "0.1", False),
    ],
)  # fmt: skip
def test_a_version_below_its_floor_is_seen(name, version, is_low):
    assert bool(too_low({name: version})) is is_low


def test_each_floor_says_why():
    for name, entry in FLOORS.items():
        assert canonical(name) == name
        assert set(entry) == {"floor", "advisory", "reason"}
        assert all(entry.values())
        assert entry["floor"] == "never" or Version(entry["floor"])
