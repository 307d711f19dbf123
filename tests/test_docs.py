"""The documentation says what the program does: commands, settings, links, ids."""

import re
import subprocess
from pathlib import Path

import pytest

from cds_service.cli import main
from cds_service.settings import Settings

ROOT = Path(__file__).parents[1]
TRACKED = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
PAGES = [ROOT / name for name in TRACKED if name.endswith(".md") and not name.startswith(("tests/cases/", "sandbox/"))]
LINK = re.compile(r"(?<!\!)\[[^\]]*\]\(([^)#\s]+)(?:#[^)]*)?\)|!\[[^\]]*\]\(([^)]+)\)")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    broken = []
    for found in LINK.finditer(page.read_text(encoding="utf-8")):
        target = found[1] or found[2]
        if not target.startswith(("http://", "https://", "mailto:")) and not (page.parent / target).exists():
            broken.append(target)
    assert broken == []


def test_every_command_has_its_line():
    page = (ROOT / "docs/reference/commands.md").read_text(encoding="utf-8")
    assert [name for name in main.commands if f"`cds-service {name}" not in page] == []


def test_every_command_shows_a_run_and_its_options():
    for name, command in main.commands.items():
        assert f"$ cds-service {name}" in (command.help or "").replace("CDS_AUTH=off-for-development ", ""), name


def test_every_setting_has_its_line():
    page = (ROOT / "docs/reference/settings.md").read_text(encoding="utf-8")
    assert [name for name in Settings.model_fields if f"| `{name}` |" not in page] == []


def test_no_page_says_what_no_setting_is():
    page = (ROOT / "docs/reference/settings.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `([a-z_]+)` \|", page, flags=re.MULTILINE))
    assert named == set(Settings.model_fields)


def test_every_decision_is_listed():
    pages = sorted(path.name for path in (ROOT / "docs/decisions").glob("0*.md"))
    index = (ROOT / "docs/decisions/README.md").read_text(encoding="utf-8")
    assert [name for name in pages if f"({name})" not in index] == []


def test_japanese_and_english_front_doors_name_the_same_first_command():
    for name in ("README.md", "README.ja.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        assert text.index("make sandbox") < text.index("make test")
