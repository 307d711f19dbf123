"""Folders become services, and discovery says exactly what they declare."""

import json
import re
import shutil

import pytest

from cds_service.cdshooks.catalog import load_services
from cds_service.cdshooks.catalog_toml import read_document
from cds_service.errors import DeclarationError, UnknownService
from tests.cdshooks.planted import ID, SHIPPED, TEST_HOOKS

SEMVER = re.compile(r"\d+\.\d+\.\d+")


@pytest.fixture(scope="module")
def catalog():
    return load_services(SHIPPED)


@pytest.fixture(scope="module")
def entry(catalog):
    return catalog.discovery()["services"][0]


def two_services(tmp_path, *, second_id=None, second_hook="order-sign"):
    """The shipped folder twice, the second under another folder name, with the id and hook asked for."""
    for name in ("a", "b"):
        shutil.copytree(SHIPPED / ID, tmp_path / name)
    path = tmp_path / "b" / "service.toml"
    text = path.read_text("utf-8").replace('hook        = "patient-view"', f'hook = "{second_hook}"', 1)
    path.write_text((f'id = "{second_id}"\n' if second_id else "") + text, "utf-8")
    return tmp_path


@pytest.mark.ch("CH-022", "CH-023")
def test_an_empty_folder_is_an_empty_list(tmp_path):
    assert load_services(tmp_path).discovery() == {"services": []}


@pytest.mark.ch("CH-025", "CH-026", "CH-027", "CH-028", "CH-030", "CH-031", "CH-032", "CH-040")
def test_an_entry_says_what_the_folder_declares(catalog, entry):
    service = catalog.services[0]
    assert (entry["hook"], entry["id"], entry["hookVersion"]) == ("patient-view", ID, "1.0")
    assert SEMVER.fullmatch(entry["version"])
    assert all(entry[name].strip() for name in ("title", "description", "usageRequirements"))
    assert entry["prefetch"] == {key.name: key.query for key in service.prefetch}


@pytest.mark.ch("CH-002", "CH-003", "CH-029")
def test_nothing_in_discovery_is_null_or_empty(catalog):
    def walk(value):
        assert value not in (None, "", [], {})
        for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
            walk(inner)

    walk(catalog.discovery())


@pytest.mark.ch("CH-029", "CH-030")
def test_prefetch_and_requirements_are_left_out_where_there_are_none(tmp_path):
    folder = tmp_path / "bare"
    shutil.copytree(TEST_HOOKS / "case-labs", folder)
    path = folder / "service.toml"
    kept = re.sub(r"(?ms)^\[prefetch\..*?(?=^\[card\])|^usage_requirements.*?$", "", path.read_text("utf-8"))
    path.write_text(kept, "utf-8")
    entry = load_services(tmp_path).discovery()["services"][0]
    assert "prefetch" not in entry
    assert "usageRequirements" not in entry


def test_discovery_is_written_once_and_sorted(tmp_path):
    catalog = load_services(two_services(tmp_path, second_hook="patient-view"))
    assert json.loads(catalog.discovery_bytes) == catalog.discovery()
    assert catalog.discovery_bytes is catalog.discovery_bytes
    assert [service.id for service in catalog.services] == ["a", "b"]


@pytest.mark.ch("CH-033")
def test_one_id_may_answer_two_hooks(tmp_path):
    catalog = load_services(two_services(tmp_path, second_id="a"))
    assert catalog.hooks("a") == ("order-sign", "patient-view")
    assert catalog.find("a", "order-sign").hook == "order-sign"
    assert [entry["id"] for entry in catalog.discovery()["services"]] == ["a", "a"]


@pytest.mark.ch("CH-034")
def test_one_pair_of_id_and_hook_is_refused_with_both_folders(tmp_path):
    with pytest.raises(DeclarationError) as refused:
        load_services(two_services(tmp_path, second_id="a", second_hook="patient-view"))
    (fault,) = refused.value.faults
    assert fault.where == f"{tmp_path / 'b'}/service.toml:1"
    assert str(tmp_path / "a") in fault.what


@pytest.mark.ch("CH-061")
def test_an_unknown_service_and_an_unknown_hook_are_told_apart(catalog):
    with pytest.raises(UnknownService, match="no service of this id"):
        catalog.find("nope", "patient-view")
    with pytest.raises(UnknownService, match="does not answer this hook"):
        catalog.find(ID, "order-sign")


@pytest.mark.ch("CH-089")
@pytest.mark.parametrize(
    ("hook", "refused"),
    [
        pytest.param("org.example.chart-open", False, id="a hook of our own is reverse-domain"),
        pytest.param("chart-open", True, id="an unknown undotted hook is refused"),
    ],
)
def test_hook_names(tmp_path, hook, refused):
    hooks = two_services(tmp_path, second_hook=hook)
    if refused:
        with pytest.raises(DeclarationError, match="is no published hook"):
            load_services(hooks)
    else:
        assert "hookVersion" not in load_services(hooks).discovery()["services"][1]


def test_all_faults_of_all_folders_come_at_once(tmp_path):
    hooks = two_services(tmp_path, second_hook="nonsense")
    path = hooks / "a" / "service.toml"
    path.write_text(
        path.read_text("utf-8").replace('title       = "Undetected diabetes"', "title = 3").replace("= 36", '= "x"'),
        "utf-8",
    )
    with pytest.raises(DeclarationError) as refused:
        load_services(hooks)
    told = sorted(fault.where.split(" ")[-1] for fault in refused.value.faults)
    assert told == ["hook", "title", "when.no_recent.months"]


def test_a_second_service_needs_no_python():
    (service,) = load_services(TEST_HOOKS).services
    assert [key.name for key in service.prefetch] == ["patient", "labs", "imaging"]
    assert [key.required for key in service.prefetch] == [True, True, False]


@pytest.mark.parametrize(
    ("toml", "path", "line"),
    [
        pytest.param("a = 1\nb = 2\n", ("b",), 2, id="a key"),
        pytest.param("[t]\n\n# note\nx.y = 1\n", ("t", "x", "y"), 4, id="a dotted key after a comment"),
        pytest.param("[[r]]\nn = 1\n[[r]]\nn = 2\n", ("r", 1, "n"), 4, id="the second table of a list"),
        pytest.param("[[r]]\n[[r.s]]\n[r.s.t]\nn = 2\n", ("r", 0, "s", 0, "t", "n"), 4, id="a table inside lists"),
        pytest.param("t = { a = 1, b = { c = 2 } }\n", ("t", "b", "c"), 1, id="inline tables"),
        pytest.param("l = [\n  'x]',\n  \"y\",\n]\nm = 1\n", ("l", 1), 3, id="an item of a long list"),
        pytest.param('s = """\n[not.a.table]\n"""\nm = 1\n', ("m",), 4, id="after a long text"),
        pytest.param('s = "a\\"b # no"\n"q.k" = 1\n', ("q.k",), 2, id="quoted keys and escapes"),
        pytest.param("a = 1\n", ("z", "y"), 1, id="what is not written: the nearest table"),
    ],
)
def test_lines_of_keys(tmp_path, toml, path, line):
    file = tmp_path / "x.toml"
    file.write_text(toml, "utf-8")
    assert read_document(file).line(path) == line
