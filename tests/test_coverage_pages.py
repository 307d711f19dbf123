"""Every requirement has a test or a reason, and the pages that say so are those that the tests make."""

import subprocess
import sys

import pytest

from tests.coverage_page import ROOT, IdSet, Open, Row, faults_of, read_sets, render

SETS = {one.marker: one for one in read_sets()}


def test_the_pages_and_lists_agree_with_the_tests():
    """Run in a process of its own: pytest collects all tests there, whatever is collected here."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.coverage_page", "--check"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, ""), done.stdout + done.stderr[-2000:]


@pytest.mark.parametrize(("marker", "rows"), [("ch", 217), ("sec", 96), ("fault", 62)])
def test_no_id_is_lost(marker, rows):
    assert len({row.id for row in SETS[marker].rows}) == rows


ONE = IdSet(
    marker="ch",
    page=ROOT / "docs" / "x.md",
    heading="X",
    intro="Y.",
    rows=(
        Row("A-1", "SHALL", "first"),
        Row("A-2", "SHALL", "a|b"),
        Row("A-3", "MAY", "third"),
        Row("A-4", "MAY", "last"),
    ),
    open=(Open(("A-2", "A-1"), "later", "Issue"), Open(("A-3",), "nothing", "")),
)


@pytest.mark.parametrize(
    ("tests", "faults"),
    [
        ({"A-1": {"t.py::test_a"}}, ["A-4 has no test and no reason"]),
        ({"A-4": {"t.py::test_a"}}, []),
    ],
)
def test_gaps_are_named(tests, faults):
    assert faults_of(ONE, tests) == faults


def test_the_page_tells_shown_from_open_from_nothing_to_do():
    page = render(ONE, {"A-1": {"tests/t.py::test_it_works"}, "A-4": {"tests/t.py::test_it_works"}})
    assert "4 rows: 2 shown by tests, 1 open, 1 with nothing for us to do." in page
    assert "| A-1 | SHALL | first<br>*Open in part (Issue): later* | [it works](../tests/t.py) |" in page
    assert "## Open: Issue" in page
    assert "| A-2 | SHALL | a\\|b | later |" in page
    assert page.endswith("| A-3 | MAY | third | nothing |\n")
