"""What the page's files must never hold, and what its dictionary must."""

import re
from pathlib import Path
from typing import get_args

import pytest

from cds_service.events.schema import WithheldReason

PAGE = Path(__file__).resolve().parents[2] / "sandbox"
SCRIPTS = sorted(PAGE.glob("*.js"))
TEXTS = (PAGE / "texts.js").read_text()
STRING = r'"((?:[^"\\]|\\.)*)"'
ENTRIES = re.findall(rf'^  "?([\w-]+)"?: \[\s*{STRING},\s*{STRING},?\s*\],$', TEXTS, re.MULTILINE)
KNOWN_ADDRESSES = {
    "http://www.w3.org/2000/svg",
    "http://loinc.org",
    "http://medis.or.jp/CodeSystem/master-JLAC10-17digits",
}


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_no_script_turns_a_string_into_markup_or_code(path):
    forbidden = (
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|setHTML|createContextualFragment"
    )
    assert not re.search(forbidden, path.read_text())


@pytest.mark.parametrize("path", [*SCRIPTS, *PAGE.glob("*.css"), PAGE / "index.html"], ids=lambda path: path.name)
def test_no_file_names_another_host(path):
    assert set(re.findall(r"https?://[\w./-]+", path.read_text())) <= KNOWN_ADDRESSES


def test_the_page_has_no_inline_script_or_style():
    html = (PAGE / "index.html").read_text()
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script(?![^>]*\ssrc=)", html)


def test_the_icon_is_a_square_without_transparency():
    """CH-193: 100 x 100 px PNG, no alpha channel (colour type 2)."""
    header = (PAGE / "icon.png").read_bytes()[:33]
    assert header[:8] == b"\x89PNG\r\n\x1a\n"
    assert (int.from_bytes(header[16:20]), int.from_bytes(header[20:24]), header[25]) == (100, 100, 2)


def test_the_dictionary_is_read_whole_here():
    assert len(ENTRIES) == len(re.findall(r'^  "?[\w-]+"?: \[', TEXTS, re.MULTILINE))


@pytest.mark.parametrize(("key", "english", "japanese"), ENTRIES, ids=[key for key, *_ in ENTRIES])
def test_both_languages_say_it_with_the_same_slots(key, english, japanese):
    assert english.strip()
    assert japanese.strip()
    assert set(re.findall(r"\{\w+\}", english)) == set(re.findall(r"\{\w+\}", japanese)), key
    assert not re.search(r"\d %", japanese), "no space before % in Japanese"


def test_every_reason_of_the_event_log_has_a_sentence():
    assert set(get_args(WithheldReason)) <= {key for key, *_ in ENTRIES}


def test_every_text_that_a_script_asks_for_exists():
    keys = {key for key, *_ in ENTRIES}
    asked = {key for path in SCRIPTS for key in re.findall(r'\bt\("([\w-]+)"', path.read_text())}
    asked |= set(re.findall(r'data-(?:text|label)="([\w-]+)"', (PAGE / "index.html").read_text()))
    assert asked <= keys


def test_no_text_is_left_unused():
    used = "".join(path.read_text() for path in [*SCRIPTS, PAGE / "index.html"] if path.name != "texts.js")
    reasons = set(get_args(WithheldReason))
    composed = ("source_", "long_source_", "viewer_", "short_", "card_", "tab_", "state_", "error_", "order_")
    classes = {"AMB", "EMER", "IMP", "VR", "HH", "female", "male", "other", "unknown"}
    unused = [key for key, *_ in ENTRIES if not re.search(rf'"{key}"', used) and key not in reasons | classes]
    assert [
        key for key in unused if not key.startswith(composed) and key not in re.findall(r'name: "(\w+)"', used)
    ] == []
