"""The page lists every key that the loader knows, and the tutorial makes a service that works."""

import re

import pytest

from cds_service.cdshooks.catalog import load_services
from cds_service.cdshooks.catalog_keys import SERVICE_KEYS, STATE_KEYS
from cds_service.cdshooks.check import check_services
from cds_service.cdshooks.order_template import SLOTS
from cds_service.cdshooks.text_slots import card_texts
from tests.cdshooks.planted import MODELS, ROOT, SHIPPED

PAGE = (ROOT / "docs/reference/service-folder.md").read_text("utf-8")
TUTORIAL = (ROOT / "docs/how-to-add-a-service.md").read_text("utf-8")
FILES = re.findall(r"```\w+ file=(\S+)\n(.*?)```", TUTORIAL, re.DOTALL)


def section(heading: str) -> str:
    """The text under the heading that begins so, up to the next heading of the same depth or above."""
    begin = re.search(rf"^(#+) {re.escape(heading)}.*$", PAGE, re.MULTILINE)
    assert begin, heading
    rest = PAGE[begin.end() :]
    end = re.search(rf"^#{{1,{len(begin[1])}}} ", rest, re.MULTILINE)
    return rest[: end.start()] if end else rest


HEADINGS = {
    "": "Top level", "owner": "`[owner]`", "when": "`[when]`", "when.age_years": "`[when]`", "when.no_recent": "`[when]`",
    "rule": "`[[rule]]`", "rule.if": "`[[rule]]`", "prefetch.NAME": "`[prefetch.NAME]`", "card": "`[card]`",
    "card.topic": "`[card]`", "card.suggestion": "`[card]`", "card.override_reason": "`[card]`", "card.link": "`[card]`",
    "repeat": "`[repeat]`", "outcome": "`[outcome]`", "evaluation": "`[evaluation]`",
}  # fmt: skip


@pytest.mark.parametrize("table", SERVICE_KEYS)
def test_the_page_explains_every_key(table):
    text = section(HEADINGS[table])
    for key in SERVICE_KEYS[table]:
        written = key if table == "card.topic" else f"`{key}`"
        assert written in text or f"[{key}" in text or f"[[{key}" in text, key


@pytest.mark.parametrize("table", [table for table in SERVICE_KEYS if table not in {"card.topic", "card.link"}])
def test_the_page_explains_no_key_that_the_loader_does_not_know(table):
    known = set().union(*(keys for name, keys in SERVICE_KEYS.items() if HEADINGS[name] == HEADINGS[table]))
    assert set(re.findall(r"^\| `([a-z_]+)` \|", section(HEADINGS[table]), re.MULTILINE)) <= known


def test_the_page_explains_states_templates_and_sentences():
    assert all(f"`{key}`" in section("`codes/*.toml`") for key in STATE_KEYS[""])
    assert set(re.findall(r"^\| `(\{\w+\})` \|", section("Templates"), re.MULTILINE)) == set(SLOTS)
    told = section("`texts.<language>.toml`")
    service = load_services(SHIPPED).services[0]
    for key, text in card_texts(service).items():
        name = re.sub(r"^rule_.*_(summary|detail)$", r"rule_<name>_\1", key)
        if name == key and not text.may and not text.needs and key not in ("source", "topic"):
            continue  # labels
        row = next(line for line in told.splitlines() if f"`{name}`" in line)
        must, may = row.split("|")[2:4] if text.needs or text.may else ("", "")
        assert set(re.findall(r"\{(\w+)\}", must)) == text.needs, key
        assert {slot for slot in re.findall(r"\{(\w+)\}", may) if not slot.startswith("p")} | text.needs >= text.may - {
            "population"
        }, key


def make_service(tmp_path):
    folder = tmp_path / "hooks" / "potassium-watch"
    for name, text in FILES:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    return tmp_path / "hooks"


def test_the_tutorial_makes_a_service_without_a_line_of_python(tmp_path):
    hooks = make_service(tmp_path)
    findings = check_services(hooks, MODELS)
    assert [found for found in findings if found.level == "error"] == []
    (entry,) = load_services(hooks).discovery()["services"]
    assert entry["id"] == "potassium-watch"
    assert sorted(entry["prefetch"]) == ["labs", "patient", "vitals"]


def test_the_tutorial_shows_what_check_really_says(tmp_path):
    hooks = make_service(tmp_path)
    path = hooks / "potassium-watch" / "texts.en.toml"
    path.write_text(
        path.read_text("utf-8").replace("Could not be read: {missing}", "Something could not be read", 1), "utf-8"
    )
    shown = re.search(r"```text finding\n(.*?)\n```", TUTORIAL, re.DOTALL)
    assert shown
    assert [str(found).replace(f"{tmp_path}/", "") for found in check_services(hooks, MODELS)] == [shown[1]]
