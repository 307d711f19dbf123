"""What a clinician reads: short enough, plain whatever the chart holds, no number without its prevalence."""

import json
from dataclasses import replace
from itertools import product
from zoneinfo import ZoneInfo

import pytest
from markdown_it import MarkdownIt

from cds_service.cdshooks.cards_wire import write_response
from cds_service.cdshooks.client import SitePrevalence
from tests.asking import DECLARED, UNDECLARED, ask, call_of, made_desk, whole_chart
from tests.clinical.charts import FASTING, JLAC_CASUAL, ago, bundle, person, result

LANGUAGES = ("en", "ja")
GFM = MarkdownIt("gfm-like", {"linkify": False})
HOSTILE = (
    "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "a|b|c", "[x](http://evil.example)", "![x](http://evil.example/p)",
    "http://evil.example", "www.evil.example", "me@evil.example", "`code`", "**bold**", "_em_", "~~gone~~", "# head", "- item",
    "1. item", "> quote", "\\", "&lt;b&gt;", "&#60;b&#62;", "a\n\n# b", "a\r\n- b", "\u202etxet", "\u200b", "{p65}", "{{x}}", "<!--", "]]>",
    "| a |\n|---|", "$x$", "^up^", "[^1]", "<https://evil.example>", "javascript:alert(1)", "***", "---", "\x00",
)  # fmt: skip


@pytest.fixture(scope="module")
def desk(tmp_path_factory):
    return made_desk(tmp_path_factory.mktemp("assets"))


def card_of(desk, *, client=DECLARED, language="en", **keys):
    (card,) = ask(
        desk, call_of(whole_chart(**keys)), client=replace(client, language=language), language=language
    ).cards
    return card


def written(card):
    return json.loads(write_response([card]))["cards"][0]


def empty_parts(node, path="card"):
    """Paths of what is null, empty or blank."""
    if isinstance(node, dict):
        yield from (found for key, value in node.items() for found in empty_parts(value, f"{path}.{key}"))
    elif isinstance(node, list):
        yield from (found for place, value in enumerate(node) for found in empty_parts(value, f"{path}[{place}]"))
    if node is None or node in ([], {}) or (isinstance(node, str) and not node.strip()):
        yield path


KINDS = {
    "the model": {},
    "the rule": {"labs": bundle(result("r", 1999.999, code=FASTING))},
    "a casual value": {"labs": bundle(result("r", 1999.999, code=JLAC_CASUAL))},
    "missing data": {"problems": ..., "hba1c": ..., "medications": ..., "patient": ...},
    "a sparse chart": {"vitals": ..., "encounter": ..., "procedures": ..., "pregnancy": ...},
}


@pytest.mark.ch("CH-003", "CH-170", "CH-171", "CH-172", "CH-175", "CH-177", "CH-200", "CH-201")
@pytest.mark.parametrize(("language", "kind", "client"), list(product(LANGUAGES, KINDS, (DECLARED, UNDECLARED))))
def test_each_card_is_whole_and_short(desk, language, kind, client):
    card = card_of(desk, client=client, language=language, **KINDS[kind])
    json_card = written(card)
    assert list(empty_parts(json_card)) == []
    assert 0 < len(json_card["summary"]) < 140
    assert json_card["indicator"] == "info"
    assert ("suggestions" in json_card) == ("selectionBehavior" in json_card) == (kind != "missing data")
    assert "{" not in json_card["summary"] + json_card["detail"]
    assert "<" not in json_card["detail"]


@pytest.mark.ch("CH-170")
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("prevalence", [1e-9, 0.04, 0.5, 1 - 1e-9])
@pytest.mark.parametrize("offset", [-30.0, 0.0, 30.0])
def test_a_summary_is_short_at_every_extreme(tmp_path, language, prevalence, offset):
    shares = SitePrevalence({"ge57": prevalence, "ge60": prevalence / 2, "ge65": prevalence / 4}, "s" * 300, "2026")
    client = replace(DECLARED, prevalence={"dysglycaemia-screening": shares})
    card = card_of(made_desk(tmp_path, offset=offset), client=client, language=language)
    assert len(card.summary) < 140
    assert "%" in card.summary
    assert "0 %" not in card.summary.replace("10 %", "").replace("6.0 %", "").replace("50 %", "")
    assert "100" not in card.summary


@pytest.mark.parametrize("language", LANGUAGES)
def test_without_a_declared_prevalence_there_are_words(desk, language):
    with_number, words = card_of(desk, language=language), card_of(desk, client=UNDECLARED, language=language)
    assert "%" in with_number.summary
    assert "%" not in words.summary
    from_model = [line for line in words.detail.splitlines() if "%" in line]
    assert from_model == []


def tree(markdown):
    """The shape of a text as GFM reads it: token types and tags, no content."""
    flat = []
    for token in GFM.parse(markdown):
        flat.append((token.type, token.tag))
        flat += [(child.type, child.tag) for child in token.children or () if child.type != "text_special"]
    return merged(flat)


def merged(flat):
    """Neighbouring runs of text are one."""
    return [one for place, one in enumerate(flat) if place == 0 or one[0] != "text" or flat[place - 1][0] != "text"]


@pytest.mark.ch("CH-174")
@pytest.mark.sec("SEC-064")
@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("language", LANGUAGES)
def test_what_a_chart_holds_never_becomes_markup(desk, text, language):
    def detail(word):
        client = replace(
            DECLARED,
            prevalence={
                "dysglycaemia-screening": SitePrevalence(
                    {"ge57": 0.3, "ge60": 0.1, "ge65": 0.04}, f"x{word}", f"x{word}"
                )
            },
        )
        return card_of(desk, client=client, language=language, labs=bundle(result(f"x{word}", 168))).detail

    assert tree(detail(text)) == tree(detail("x"))
    lead = card_of(desk, language=language, labs=bundle(result(text, 168))).detail
    assert tree(lead) == tree(card_of(desk, language=language, labs=bundle(result("x", 168))).detail)


@pytest.mark.parametrize("word", ["http://evil.example", "www.evil.example", "me@evil.example", "mailto:me"])
def test_nothing_is_left_that_gfm_would_link_by_itself(desk, word):
    detail = card_of(desk, labs=bundle(result(word, 168))).detail
    assert not any(sign in detail for sign in ("://", "www.", "@", "mailto:"))


@pytest.mark.ch("CH-207", "CH-208", "CH-209", "CH-212")
@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("encounter", [{}, {"encounterId": "enc-1"}])
def test_with_the_sites_order_code_the_draft_is_a_valid_order(desk, language, encounter):
    from fhir.resources.R4B.servicerequest import ServiceRequest

    (card,) = ask(desk, call_of(whole_chart(), **encounter), language=language).cards
    (action,) = written(card)["suggestions"][0]["actions"]
    order = ServiceRequest.model_validate(action["resource"])
    assert (action["type"], order.status, order.intent) == ("create", "draft", "proposal")
    assert order.subject.reference == "Patient/me"
    assert order.requester.reference == "Practitioner/1"
    assert ("encounter" in action["resource"]) is bool(encounter)
    assert {"system": "urn:example:orders", "code": "LAB1"} in action["resource"]["code"]["coding"]
    assert "id" not in action["resource"]


def test_without_it_the_button_drafts_nothing(desk):
    (suggestion,) = written(card_of(desk, client=UNDECLARED))["suggestions"]
    assert set(suggestion) == {"label", "uuid"}


def test_missing_data_suggest_nothing(desk):
    assert "suggestions" not in written(card_of(desk, problems=...))


@pytest.mark.parametrize(
    ("zone", "at", "shown"),
    [
        pytest.param(None, "2026-05-20T20:00:00Z", "2026-05-20", id="undeclared: as the chart wrote it"),
        pytest.param(None, "2026-05-21T05:00:00+09:00", "2026-05-21", id="with the offset that it has"),
        pytest.param("Asia/Tokyo", "2026-05-20T20:00:00Z", "2026-05-21", id="in the site's zone"),
        pytest.param("America/New_York", "2026-05-20T02:00:00Z", "2026-05-19", id="westwards too"),
        pytest.param("Asia/Tokyo", "2026-05-20", "2026-05-20", id="a date stays its day"),
        pytest.param("America/New_York", "2026-05-20", "2026-05-20", id="in every zone"),
    ],
)
def test_dates_are_those_of_the_site(desk, zone, at, shown):
    client = replace(DECLARED, zone=ZoneInfo(zone) if zone else None)
    assert f"| {shown} |" in card_of(desk, client=client, labs=bundle(result("g", 168, at=at))).detail


def test_a_value_is_shown_with_the_record_that_proves_it(desk):
    detail = card_of(desk, labs=bundle(result("g-1", 9.3, "mmol/L", at=ago(12)))).detail
    assert "| glucose | 167.5 mg/dL | 2026-05-20 | Observation/g-1 |" in detail


@pytest.mark.parametrize(
    ("labs", "words"),
    [
        pytest.param([result("o", of="you")], "Results of another or unknown patient were set aside.", id="another patient's"),
        pytest.param([{**result("i"), "status": 7}], "1 results could not be read and were set aside.", id="unreadable"),
        pytest.param([{**result("n"), "status": "preliminary", "effectiveDateTime": ago(1)}], "A newer result of glucose was not used", id="newer, not final"),
        pytest.param([{**result("u"), "effectiveDateTime": "once"}], "A newer result of glucose could not be dated.", id="undated"),
        pytest.param([result("h", 9e9, code="http://loinc.org|2085-9")], "A result of HDL cholesterol exists that cannot be right.", id="impossible"),
    ],
)  # fmt: skip
def test_what_was_set_aside_is_said(desk, labs, words):
    assert words in card_of(desk, labs=bundle(result("g", 168), *labs)).detail


def test_the_patients_name_is_on_no_card(desk):
    named = person(name=[{"family": "Zanarkand", "given": ["Yuna"]}], telecom=[{"value": "090"}])
    assert "Zanarkand" not in json.dumps(written(card_of(desk, patient=named)))


def test_uuids_never_repeat(desk):
    cards = [card_of(desk) for _ in range(50)]
    uuids = [card.uuid for card in cards] + [suggestion.uuid for card in cards for suggestion in card.suggestions]
    assert len(set(uuids)) == len(uuids)
