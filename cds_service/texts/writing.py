"""Every general sentence that a person reads, in English and Japanese, and how numbers, units and dates are written.

What one service says stands in its own ``texts.<language>.toml``; here is what all services share: why a value is
missing, what was set aside, how a percentage looks. Slots are filled by code only; a value that came from a patient's
data goes through :func:`plain` (inside ``detail``, which is GitHub-flavoured Markdown) or :func:`one_line`.
"""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Literal

from cds_service.texts.sentences import SENTENCES

__all__ = [
    "HIDDEN",
    "LANGUAGES",
    "SENTENCES",
    "day",
    "fill",
    "joined",
    "number",
    "one_line",
    "percent",
    "plain",
    "quantity",
    "reason_words",
    "sentence",
    "unit_words",
    "with_note",
]

LANGUAGES = ("en", "ja")
"""The languages that every general sentence exists in; the first is the fallback."""

Bound = Literal["=", "<", ">"]

_LEAST, _MOST = 0.0005, 0.995
"""Below and from here on, rounding would say 0 % or 100 %, which no model may."""

_UNITS: Mapping[str, Mapping[str, str]] = {
    "mm[Hg]": {"en": "mmHg", "ja": "mmHg"},
    "kg/m2": {"en": "kg/m²", "ja": "kg/m²"},
    "a": {"en": "years", "ja": "歳"},
    "1": {"en": "", "ja": ""},
    "10*3/uL": {"en": "×10³/µL", "ja": "×10³/µL"},
    "m[iU]/mL": {"en": "mIU/mL", "ja": "mIU/mL"},
    "[iU]/mL": {"en": "IU/mL", "ja": "IU/mL"},
    "ug/mL": {"en": "µg/mL", "ja": "µg/mL"},
    "umol/L": {"en": "µmol/L", "ja": "µmol/L"},
}
"""UCUM units that people write otherwise."""

_TIGHT_IN_JAPANESE = frozenset({"%", "歳"})
HIDDEN = r"\x7f-\x9f\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ue000-\uf8ff\ud800-\udfff"
"""For a regular expression, inside ``[]``: what nobody sees or what turns a line around (SEC-047).

Control characters past ASCII's, zero-width characters, bidi marks and overrides, private use, surrogates.
"""
_UNSEEN = re.compile(rf"[\x00-\x1f{HIDDEN}]+|\s+")
_INLINE = re.compile(r"([\\`*_\[\]|~#!$^])")
_BLOCK = re.compile(r"^(?:([-+=:])|(\d{1,9})([.)])(?=\s|$))")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}
_AUTOLINKS = ((re.compile(r":(?=//)"), "："), (re.compile(r"(?i)\b(www)\."), r"\1．"), (re.compile("@"), "＠"))
_PLAIN_ALREADY = re.compile("[A-Za-z]+(?:/[A-Za-z0-9-]+)?")
"""A word, or a reference as almost every one is: nothing in it needs care, and a card names a dozen."""
_SCHEME = re.compile(r"(?i)\b(mailto|xmpp):")


def sentence(key: str, language: str, /, **slots: str) -> str:
    """Say one general sentence.

    Args:
        key: A key of :data:`SENTENCES`.
        language: A language code; a language that has no such sentence falls back to English.
        slots: The values of its slots, already safe for where the sentence will stand.

    >>> sentence("note_newer_unusable", "en", feature="HDL cholesterol", reason="not final")
    'A newer result of HDL cholesterol was not used (not final).'
    """
    words = SENTENCES[key]
    return fill(words.get(language, words[LANGUAGES[0]]), slots)


def fill(text: str, slots: Mapping[str, str]) -> str:
    """Fill ``{slot}`` places; KeyError when a slot has no value, so that no half sentence reaches a clinician."""
    return text.format_map(slots)


def reason_words(reason: str, language: str) -> str:
    """Why a value is missing or was set aside, in words that fit in parentheses.

    A reason without words of its own is said in general ones: a new code must never keep a card from a clinician.

    >>> reason_words("stale", "en"), reason_words("a_new_reason", "ja")
    ('only older results', '使用できない結果')
    """
    key = f"reason_{reason}"
    return sentence(key if key in SENTENCES else "reason_other", language)


def joined(items: Iterable[str], language: str) -> str:
    """Several things in one line; "none" where there are none.

    >>> joined(["age 64", "BMI 31"], "en"), joined([], "ja")
    ('age 64, BMI 31', 'なし')
    """
    listed = list(items)
    return ("、" if language == "ja" else ", ").join(listed) if listed else sentence("none", language)


def with_note(text: str, note: str, language: str) -> str:
    """``text (note)``; Japanese has full-width parentheses and no space."""
    return f"{text}（{note}）" if language == "ja" else f"{text} ({note})"


def number(value: float) -> str:
    """A measured value as a report prints it: at most one decimal from 10 on, two below, no trailing zeros.

    >>> number(212.0), number(29.84), number(5.9), number(0.854)
    ('212', '29.8', '5.9', '0.85')
    """
    text = f"{value:.{1 if abs(value) >= 10 else 2}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def percent(probability: float, language: str, bound: Bound = "=") -> str:
    """A probability as a percentage: whole numbers from 10 % on, one decimal below; never 0 and never 100.

    Args:
        probability: 0 to 1.
        language: Japanese writes no space before the sign, English one.
        bound: ``<`` or ``>`` where the number is only an edge that fewer than 20 cases lie beyond.

    >>> percent(0.314, "en"), percent(0.314, "ja"), percent(0.03, "en", "<"), percent(0.6, "ja", ">")
    ('31 %', '31%', 'under 3 %', '60%超')
    """
    if bound == "=" and probability < _LEAST:
        probability, bound = 0.001, "<"
    elif bound == "=" and probability >= _MOST:
        probability, bound = 0.99, ">"
    shown = 100 * probability
    text = f"{shown:.0f}" if shown >= 9.95 else f"{shown:.1f}".removesuffix(".0")
    if bound == "=":
        return f"{text}%" if language == "ja" else f"{text} %"
    return sentence("percent_under" if bound == "<" else "percent_over", language, number=text)


def unit_words(unit: str, language: str) -> str:
    """A UCUM unit as clinicians write it."""
    return _UNITS.get(unit, {}).get(language, unit)


def quantity(value: float, unit: str, language: str) -> str:
    """A number with its unit.

    >>> quantity(5.9, "%", "en"), quantity(5.9, "%", "ja"), quantity(64, "a", "ja"), quantity(138, "mm[Hg]", "ja")
    ('5.9 %', '5.9%', '64歳', '138 mmHg')
    """
    words = unit_words(unit, language)
    if not words:
        return number(value)
    gap = "" if language == "ja" and words in _TIGHT_IN_JAPANESE else " "
    return f"{number(value)}{gap}{words}"


def day(moment: date | datetime, language: str) -> str:
    """A calendar day.

    >>> day(date(2026, 5, 12), "en"), day(date(2026, 5, 12), "ja")
    ('2026-05-12', '2026年5月12日')
    """
    if language == "ja":
        return f"{moment.year}年{moment.month}月{moment.day}日"
    return f"{moment.year:04d}-{moment.month:02d}-{moment.day:02d}"


def one_line(text: str) -> str:
    """Plain text for ``summary`` and labels: NFC, one line, no control or invisible formatting characters."""
    return _UNSEEN.sub(" ", unicodedata.normalize("NFC", text)).strip()


def plain(text: str) -> str:
    r"""Make a value from data plain text inside GitHub-flavoured Markdown (SEC-064).

    Nothing in the result can become a link, image, heading, list, table, code, HTML or autolink, wherever in a line
    it stands. What GFM would link by itself gets a full-width sign, which is honest to read and links nothing.

    >>> plain("a | b"), plain("<b>1. x</b>"), plain("- 3"), plain("http://x.example")
    ('a \\| b', '&lt;b&gt;1. x&lt;/b&gt;', '\\- 3', 'http：//x.example')
    """
    if _PLAIN_ALREADY.fullmatch(text):
        return text
    line = one_line(text)
    for pattern, replacement in _AUTOLINKS:
        line = pattern.sub(replacement, line)
    line = _SCHEME.sub(r"\1：", line)
    line = _INLINE.sub(r"\\\1", line)
    line = "".join(_ENTITIES.get(character, character) for character in line)
    return _BLOCK.sub(lambda found: f"\\{found[1]}" if found[1] else f"{found[2]}\\{found[3]}", line)
