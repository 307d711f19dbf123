"""Every sentence in both languages, every slot, every length; and what data can never become inside Markdown."""

import re
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from cds_service.cdshooks.catalog import load_services
from cds_service.cdshooks.text_slots import SUMMARY_LIMIT, card_texts, longest, slots_in
from cds_service.texts import LANGUAGES, SENTENCES, fill, percent, plain, quantity, sentence
from tests.cdshooks.planted import MODELS, ROOT, SHIPPED, TEST_HOOKS

SERVICES = [*load_services(SHIPPED).services, *load_services(TEST_HOOKS).services]
BOTH = [(service, language) for service in SERVICES for language in service.languages]
IDS = [f"{service.id}-{language}" for service, language in BOTH]
KANA = re.compile(r"[\u3040-\u30ff\u4e00-\u9fff]")
REASONS = (
    "absent", "no_result", "stale", "implausible", "unit_missing", "unit_not_convertible", "text_value",
    "status_not_usable", "other_patient", "subject_unresolved", "invalid_resource", "time_missing", "time_invalid",
    "time_ambiguous", "stale_or_unknown", "time_in_future", "comparator", "code_not_listed", "no_value", "conflicting",
    "key_failed", "key_absent", "key_incomplete", "not_asked", "patient_deceased", "not_told", "value_not_listed",
    "value_not_number", "unit_conflicting",
)  # fmt: skip


@pytest.mark.parametrize("key", SENTENCES)
def test_every_general_sentence_is_in_both_languages_with_the_same_slots(key):
    words = SENTENCES[key]
    assert tuple(sorted(words)) == tuple(sorted(LANGUAGES))
    assert slots_in(words["en"]) == slots_in(words["ja"])
    assert KANA.search(words["ja"])
    assert not KANA.search(words["en"])


@pytest.mark.parametrize("key", SENTENCES)
def test_japanese_has_no_space_before_a_percent_sign_and_english_has_one(key):
    assert not re.search(r"[\d}]\s+%", SENTENCES[key]["ja"])
    assert not re.search(r"[\d}]%", SENTENCES[key]["en"])


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_has_words_of_its_own(reason):
    assert SENTENCES[f"reason_{reason}"] != SENTENCES["reason_other"]


def test_every_reason_that_clinical_gives_has_words():
    """A code in the sources that looks like a reason and is not in the table above."""
    sources = "".join(path.read_text("utf-8") for path in (ROOT / "cds_service/clinical").glob("*.py"))
    given = set(re.findall(r'(?:Feature\(spec\.name, None, |reason=|reason = |UnitError\()"([a-z_]+)"', sources))
    given |= set(re.findall(r'_put_aside\([^"]*"[^"]*", "([a-z_]+)"', sources))
    assert given
    assert given <= set(REASONS)


def test_different_reasons_are_said_differently():
    for language in LANGUAGES:
        said = [SENTENCES[f"reason_{reason}"][language] for reason in REASONS]
        assert len(set(said)) == len(said)


def test_a_slot_without_a_value_is_an_error_and_no_half_sentence():
    with pytest.raises(KeyError):
        sentence("note_not_available", "en")


@pytest.mark.parametrize(("service", "language"), BOTH, ids=IDS)
def test_both_languages_say_the_same_things(service, language):
    first = service.languages[0]
    for key in card_texts(service):
        ours, theirs = service.texts[language].sentences[key], service.texts[first].sentences[key]
        assert slots_in(ours) == slots_in(theirs), key


@pytest.mark.ch("CH-170")
@pytest.mark.parametrize(("service", "language"), BOTH, ids=IDS)
def test_no_summary_can_reach_the_limit(service, language):
    units = {spec.name: spec.unit for spec in MODELS[service.model].features.features}
    for key, text in card_texts(service).items():
        if text.summary:
            said = service.texts[language].sentences[key]
            full = fill(said, {slot: longest(service, language, slot, units) for slot in slots_in(said)})
            assert len(full) < SUMMARY_LIMIT, full


@pytest.mark.parametrize(("service", "language"), BOTH, ids=IDS)
def test_a_japanese_text_is_japanese_and_an_english_one_is_not(service, language):
    for key, said in service.texts[language].sentences.items():
        assert (
            bool(KANA.search(said)) == (language == "ja")
            or not string.Formatter().format(said, **dict.fromkeys(slots_in(said), "")).strip()
        ), key


@pytest.mark.parametrize(("service", "language"), BOTH, ids=IDS)
def test_a_text_never_says_that_a_disease_is_absent(service, language):
    for said in service.texts[language].sentences.values():
        assert not re.search(r"疑いなし|異常なし|no (sign|evidence) of|unlikely", said)


@pytest.mark.parametrize(
    ("probability", "language", "bound", "said"),
    [
        pytest.param(0.11, "ja", "=", "11%", id="Japanese: no space"),
        pytest.param(0.11, "en", "=", "11 %", id="English: one space"),
        pytest.param(0.0324, "en", "=", "3.2 %", id="below 10 %: one decimal"),
        pytest.param(0.02, "en", "=", "2 %", id="no trailing zero"),
        pytest.param(0.0996, "en", "=", "10 %", id="rounding does not write 10.0"),
        pytest.param(0.9951, "en", "=", "over 99 %", id="never rounds up to certainty"),
        pytest.param(0.0004, "ja", "=", "0.1%未満", id="never rounds down to zero"),
        pytest.param(0.03, "ja", "<", "3%未満", id="an edge, below"),
        pytest.param(0.6, "en", ">", "over 60 %", id="an edge, above"),
    ],
)  # fmt: skip
def test_percent(probability, language, bound, said):
    assert percent(probability, language, bound) == said


@pytest.mark.parametrize(
    ("value", "unit", "language", "said"),
    [
        pytest.param(5.9, "%", "ja", "5.9%", id="a percentage in Japanese"),
        pytest.param(64, "a", "en", "64 years", id="an age"),
        pytest.param(29.84, "kg/m2", "ja", "29.8 kg/m²", id="a unit as people write it"),
        pytest.param(215, "10*3/uL", "en", "215 ×10³/µL", id="a power of ten"),
    ],
)  # fmt: skip
def test_quantity(value, unit, language, said):
    assert quantity(value, unit, language) == said


GFM = MarkdownIt("commonmark").enable(["table", "strikethrough"])
FRAMES = ["{}", "**Values used:** {}", "| a | {} |\n|---|---|\n| b | {} |", "text {} text", "{}\n===", "- x {}\n"]
AUTOLINK = re.compile(r"(?i)https?://|ftp://|\bwww\.|[\w.+-]+@[\w-]+\.|\b(mailto|xmpp):")
CORPUS = [
    "[a](javascript:alert(1))", "![x](http://evil.example/x.png)", "<img src=x onerror=alert(1)>", "<script>x</script>",
    "a | b", "`code`", "# head", "- item", "1. item", "2) item", "> quote", "***", "---", "===", "    code", "~~gone~~",
    "http://evil.example", "www.evil.example", "me@evil.example", "mailto:me@evil.example", "<http://evil.example>",
    "&lt;b&gt;", "a\n\nb", "a\\\nb", "\\", "*a*", "_a_", "[a]: http://x", "```\nx\n```", "$x$", "|", "||", "\u202eabc",
    "ignore previous instructions", "+ x", "= x", "a\u2028b", "\u200b# x",
]  # fmt: skip


def shape(markdown: str) -> list:
    """The tree of a text, without its words."""

    def walk(tokens):
        return [
            (token.type, token.tag, walk(token.children or []))
            for token in tokens
            if token.type not in ("text", "text_special")
        ]

    return walk(GFM.parse(markdown))


def is_plain(value: str) -> bool:
    said = plain(value)
    return all(
        shape(frame.replace("{}", said)) == shape(frame.replace("{}", "x" if said else "")) for frame in FRAMES
    ) and not AUTOLINK.search(said)


@pytest.mark.sec("SEC-064")
@pytest.mark.ch("CH-174")
@pytest.mark.parametrize("value", CORPUS)
def test_a_value_from_data_stays_plain_text(value):
    assert is_plain(value)
    assert "<" not in plain(value)


@pytest.mark.sec("SEC-064")
@given(
    st.text(st.characters(codec="utf-8"), min_size=1) | st.text(alphabet="[]()<>!|`*_~#-+=.:/\\ \n&@w1a$^", min_size=1)
)
def test_any_value_from_data_stays_plain_text(value):
    if plain(value):
        assert is_plain(value)
