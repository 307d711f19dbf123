"""Cards that break the standard can't be built: sections A and H to M as a table."""

import json
from decimal import Decimal

import pytest
from markdown_it import MarkdownIt

from cds_service.cdshooks.card_text import SUMMARY_MAX, shorten
from cds_service.cdshooks.cards_wire import (
    Action,
    Card,
    CardError,
    Coding,
    Link,
    OverrideReasonCoding,
    Source,
    Suggestion,
    selection_behavior,
    write_response,
)
from cds_service.contract.output_walk import emptiness
from cds_service.texts import plain

TOPIC = Coding("https://cds.example.org/topics", "dysglycaemia")
SOURCE = Source(
    "Hospital CDS team", TOPIC, url="https://cds.example.org/about", icon="https://cds.example.org/icon.png"
)
ORDER = {"resourceType": "ServiceRequest", "status": "draft", "subject": {"reference": "Patient/pat-7"}}
UUID = "7c1c9a52-3a61-4d0c-8f1b-0d5b6f1f3a10"


def card(summary: str = "Finding", **parts: object) -> Card:
    return Card(summary, parts.pop("indicator", "info"), parts.pop("source", SOURCE), **parts)


def suggestion(**parts: object) -> Suggestion:
    return Suggestion("Order HbA1c", **parts)


def two(**parts: object) -> dict:
    return {"suggestions": (suggestion(**parts), suggestion(**parts))}


FULL = card(
    detail="**Used:** HbA1c 8.1 %",
    suggestions=(suggestion(is_recommended=True, actions=(Action("create", "Draft order", ORDER), Action("delete", "Remove", resource_id="ServiceRequest/1"))),),
    selection_behavior="any",
    override_reasons=(OverrideReasonCoding("urn:x", "done", "Already done"),),
    links=(Link("More", "https://cds.example.org/more", "absolute"), Link("App", "https://app.example/launch", "smart", '{"a":1}', autolaunchable=True)),
    extension={"org.example.a": {"b": 1}},
)  # fmt: skip


@pytest.mark.ch("CH-161", "CH-003", "CH-162")
def test_nothing_to_say_is_an_empty_list():
    assert write_response([]) == b'{"cards":[]}'


@pytest.mark.ch("CH-160", "CH-172", "CH-175", "CH-179", "CH-180", "CH-182", "CH-194", "CH-195", "CH-200", "CH-201", "CH-202", "CH-211", "CH-221", "CH-230", "CH-235", "CH-290", "CH-292")  # fmt: skip
def test_a_full_card_in_the_standards_own_names():
    written = json.loads(write_response([FULL]))["cards"][0]
    assert set(written) == {
        "uuid", "summary", "detail", "indicator", "source", "suggestions", "selectionBehavior", "overrideReasons", "links",
        "extension",
    }  # fmt: skip
    assert written["source"]["topic"] == {"system": TOPIC.system, "code": TOPIC.code}
    assert written["suggestions"][0]["isRecommended"] is True
    assert written["suggestions"][0]["actions"] == [
        {"type": "create", "description": "Draft order", "resource": ORDER},
        {"type": "delete", "description": "Remove", "resourceId": "ServiceRequest/1"},
    ]
    assert written["links"][1] == {
        "label": "App", "url": "https://app.example/launch", "type": "smart", "appContext": '{"a":1}', "autolaunchable": True,
    }  # fmt: skip
    assert emptiness(written) == ([], [])


@pytest.mark.ch("CH-002", "CH-003", "CH-004", "CH-176", "CH-204", "CH-206", "CH-235")
def test_what_has_no_value_is_left_out():
    written = json.loads(write_response([card(suggestions=(suggestion(),), selection_behavior="any")]))["cards"][0]
    assert set(written) == {"uuid", "summary", "indicator", "source", "suggestions", "selectionBehavior"}
    assert set(written["suggestions"][0]) == {"label", "uuid"}


@pytest.mark.ch("CH-006")
def test_decimals_stay_as_they_were_written():
    quantity = {"resourceType": "Observation", "valueQuantity": {"value": Decimal("1.50")}}
    action = Action("update", "Correct", quantity)
    written = write_response([card(suggestions=(suggestion(actions=(action,)),), selection_behavior="any")])
    assert b'"value":1.50}' in written


@pytest.mark.parametrize(
    ("make", "where"),
    [
        pytest.param(lambda: card("S" * 140), "card.summary", marks=pytest.mark.ch("CH-170"), id="a summary of 140 characters"),
        pytest.param(lambda: card(" "), "card.summary", marks=pytest.mark.ch("CH-170"), id="a blank summary"),
        pytest.param(lambda: card("two\nlines"), "card.summary", marks=pytest.mark.ch("CH-170"), id="a summary of two lines"),
        pytest.param(lambda: card("a\u202eb"), "card.summary", marks=pytest.mark.sec("SEC-047"), id="a summary turned around"),
        pytest.param(lambda: card(indicator="hard-stop"), "card.indicator", marks=pytest.mark.ch("CH-171"), id="hard-stop"),
        pytest.param(lambda: card(indicator="success"), "card.indicator", marks=pytest.mark.ch("CH-171"), id="success"),
        pytest.param(lambda: Source(""), "source.label", marks=pytest.mark.ch("CH-172", "CH-190"), id="a source without label"),
        pytest.param(lambda: Source("x", url="/about"), "source.url", marks=pytest.mark.ch("CH-191"), id="a relative source.url"),
        pytest.param(lambda: Source("x", url="https://a:b@c.example/"), "source.url", marks=pytest.mark.ch("CH-192"), id="a source.url with a name in it"),
        pytest.param(lambda: Source("x", icon="icon.png"), "source.icon", marks=pytest.mark.ch("CH-193"), id="a relative icon"),
        pytest.param(lambda: Coding("", "c"), "coding.system", marks=pytest.mark.ch("CH-195"), id="a topic without system"),
        pytest.param(lambda: Coding("s", ""), "coding.code", marks=pytest.mark.ch("CH-195"), id="a topic without code"),
        pytest.param(lambda: Coding("s", "c", ""), "coding.display", marks=pytest.mark.ch("CH-003"), id="an empty display"),
        pytest.param(lambda: card(detail=""), "card.detail", marks=pytest.mark.ch("CH-173"), id="an empty detail"),
        pytest.param(lambda: card(detail="a <b>c</b>"), "card.detail", marks=pytest.mark.ch("CH-174"), id="HTML in detail"),
        pytest.param(lambda: card(uuid="1"), "card.uuid", marks=pytest.mark.ch("CH-175"), id="a uuid that is none"),
        pytest.param(lambda: card(suggestions=(suggestion(),)), "card.selectionBehavior", marks=pytest.mark.ch("CH-177"), id="suggestions without selectionBehavior"),
        pytest.param(lambda: card(selection_behavior="any"), "card.selectionBehavior", marks=pytest.mark.ch("CH-177"), id="selectionBehavior without suggestions"),
        pytest.param(lambda: card(**two(), selection_behavior="all"), "card.selectionBehavior", marks=pytest.mark.ch("CH-178"), id="another selectionBehavior"),
        pytest.param(lambda: card(**two(is_recommended=True), selection_behavior="at-most-one"), "card.suggestions", marks=pytest.mark.ch("CH-203"), id="two recommended under at-most-one"),
        pytest.param(lambda: Suggestion(""), "suggestion.label", marks=pytest.mark.ch("CH-200"), id="a suggestion without label"),
        pytest.param(lambda: suggestion(uuid="x"), "suggestion.uuid", marks=pytest.mark.ch("CH-201"), id="a suggestion's uuid that is none"),
        pytest.param(lambda: Action("Create", "d", ORDER), "action.type", marks=pytest.mark.ch("CH-207"), id="Create in capitals"),
        pytest.param(lambda: Action("create", "", ORDER), "action.description", marks=pytest.mark.ch("CH-208"), id="an action without description"),
        pytest.param(lambda: Action("create", "d"), "action.resource", marks=pytest.mark.ch("CH-209"), id="create without resource"),
        pytest.param(lambda: Action("create", "d", {"status": "draft"}), "action.resource", marks=pytest.mark.ch("CH-209"), id="create with no FHIR resource"),
        pytest.param(lambda: Action("update", "d", {**ORDER, "note": []}), "action.resource.note", marks=pytest.mark.ch("CH-003", "CH-210"), id="an empty array inside a resource"),
        pytest.param(lambda: Action("update", "d", {**ORDER, "code": {"text": None}}), "action.resource.code.text", marks=pytest.mark.ch("CH-002", "CH-210"), id="a null inside a resource"),
        pytest.param(lambda: Action("update", "d", ORDER, "ServiceRequest/1"), "action.resourceId", marks=pytest.mark.ch("CH-210"), id="update with resourceId"),
        pytest.param(lambda: Action("delete", "d", ORDER), "action.resource", marks=pytest.mark.ch("CH-211"), id="delete with a resource"),
        pytest.param(lambda: Action("delete", "d", resource_id="1"), "action.resourceId", marks=pytest.mark.ch("CH-211"), id="delete with a bare id"),
        pytest.param(lambda: OverrideReasonCoding("s", "c", ""), "overrideReasons.display", marks=pytest.mark.ch("CH-196", "CH-221"), id="a reason without display"),
        pytest.param(lambda: OverrideReasonCoding("", "c", "d"), "overrideReasons.system", marks=pytest.mark.ch("CH-221"), id="a reason without system"),
        pytest.param(lambda: Link("", "https://x.example", "absolute"), "link.label", marks=pytest.mark.ch("CH-230"), id="a link without label"),
        pytest.param(lambda: Link("x", "more", "absolute"), "link.url", marks=pytest.mark.ch("CH-231"), id="a relative link"),
        pytest.param(lambda: Link("x", "javascript:alert(1)", "absolute"), "link.url", marks=pytest.mark.ch("CH-231"), id="a link that is a script"),
        pytest.param(lambda: Link("x", "https://x.example", "relative"), "link.type", marks=pytest.mark.ch("CH-232"), id="another type of link"),
        pytest.param(lambda: Link("x", "https://x.example/launch?iss=a", "smart"), "link.url", marks=pytest.mark.ch("CH-233"), id="iss in a launch URL"),
        pytest.param(lambda: Link("x", "https://x.example/?launch=", "smart"), "link.url", marks=pytest.mark.ch("CH-233"), id="launch in a launch URL"),
        pytest.param(lambda: Link("x", "https://x.example", "absolute", "c"), "link.appContext", marks=pytest.mark.ch("CH-234"), id="appContext on an absolute link"),
        pytest.param(lambda: card(extension={}), "card.extension", marks=pytest.mark.ch("CH-003", "CH-290"), id="an empty extension"),
        pytest.param(lambda: card(extension={"a": None}), "card.extension.a", marks=pytest.mark.ch("CH-002", "CH-290"), id="a null in an extension"),
        pytest.param(lambda: write_response([card(uuid=UUID), card(uuid=UUID)]), "cards.uuid", marks=pytest.mark.ch("CH-175"), id="one uuid for two cards"),
        pytest.param(lambda: write_response([card(uuid=UUID, suggestions=(suggestion(uuid=UUID),), selection_behavior="any")]), "cards.uuid", marks=pytest.mark.ch("CH-201"), id="one uuid for a card and its suggestion"),
    ],
)  # fmt: skip
def test_a_card_that_breaks_the_standard_cannot_be_built(make, where):
    with pytest.raises(CardError) as caught:
        make()
    assert caught.value.where == where


@pytest.mark.ch("CH-170")
def test_a_summary_of_139_characters_in_any_script():
    assert card("S" * SUMMARY_MAX).summary == "S" * 139
    assert card("値" * SUMMARY_MAX).summary == "値" * 139


@pytest.mark.ch("CH-175", "CH-201")
def test_uuids_do_not_repeat_in_10_000_answers():
    seen = [part.uuid for _ in range(10_000) for part in (card(), suggestion())]
    assert len(set(seen)) == 20_000
    assert {value[14] for value in seen} == {"4"}


@pytest.mark.ch("CH-178", "W-07")
@pytest.mark.parametrize(
    ("suggestions", "cds_hooks_1", "behavior"),
    [
        (0, False, None),
        (1, False, "any"),
        (2, False, "at-most-one"),
        (1, True, "at-most-one"),
        (3, True, "at-most-one"),
    ],
)
def test_the_selection_behavior_of_w07(suggestions, cds_hooks_1, behavior):
    assert selection_behavior(suggestions, cds_hooks_1=cds_hooks_1) == behavior


@pytest.mark.ch("CH-203")
def test_several_may_be_recommended_under_any():
    assert len(card(**two(is_recommended=True), selection_behavior="any").suggestions) == 2


@pytest.mark.ch("CH-173", "CH-174")
@pytest.mark.sec("SEC-047")
@pytest.mark.parametrize(
    "text",
    ["<script>alert(1)</script>", '<img src=x onerror="a()">', "a|b", "**bold** _it_ `code`", "[x](javascript:a)", "a\nb", "\u202eabc", "&lt;b&gt;", "# no heading", "~~x~~"],
)  # fmt: skip
def test_text_from_elsewhere_is_shown_as_it_is(text):
    detail = f"| Input | Value |\n|---|---|\n| x | {plain(text)} |"
    assert card(detail=detail)
    html = MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(detail)
    assert html.count("<td") == 2
    for tag in ("<script", "<img", "<a ", "<strong", "<em", "<code", "<s>", "<h1"):
        assert tag not in html


@pytest.mark.ch("CH-170")
@pytest.mark.parametrize(
    ("text", "most", "short"),
    [
        pytest.param("fits", 139, "fits", id="what fits stays"),
        pytest.param("HbA1c is high in this adult", 20, "HbA1c is high in…", id="cut after a whole word"),
        pytest.param("The estimate is 12.3 percent", 20, "The estimate is…", id="never inside a number"),
        pytest.param("The probability is 12 % now", 23, "The probability is…", id="nor between a number and its unit"),
        pytest.param("推定確率は高いです。採血を検討してください", 16, "推定確率は高いです…", id="cut after a clause"),
        pytest.param("推定確率は高いと考えられます", 8, "推定確率は高い…", id="cut anywhere in a text without breaks"),
        pytest.param("推定確率は12.3%です", 9, "推定確率は…", id="but not in a number"),
        pytest.param("HbA1c raised (measured elsewhere)", 15, "HbA1c raised…", id="no open bracket is left"),
    ],
)
def test_a_summary_is_shortened_by_rule(text, most, short):
    assert shorten(text, most=most) == short
    assert len(shorten(text * 20)) <= SUMMARY_MAX
