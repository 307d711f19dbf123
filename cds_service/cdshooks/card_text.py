"""What text on a card may be: lengths, no HTML, no characters that hide or turn around what is read."""

import re

from cds_service.texts import HIDDEN

__all__ = ["SUMMARY_MAX", "CardError", "check_detail", "check_line", "check_summary", "shorten"]

SUMMARY_MAX = 139
"""Characters of a summary: fewer than 140 (CH-170)."""
_ELLIPSIS = "…"

_UNFIT_IN_LINE = re.compile(rf"[\x00-\x1f{HIDDEN}]")
_UNFIT_IN_DETAIL = re.compile(rf"[\x00-\x08\x0b-\x1f{HIDDEN}<]")
_BREAK = re.compile(r"[\s、。，．,;:；：)）」』】]")
_TORN = " \t\u3000、。，．,.;:；：(（「『【[/-0123456789%％<>=≥≤~+"
"""What a cut summary may not end in: open brackets, and numbers, which may have lost their tail or their unit."""


class CardError(ValueError):
    """A card that would break CDS Hooks. Our own fault: the sentence names the field, never its content.

    Args:
        where: The field, such as ``card.summary``.
        what: What is wrong with it.
    """

    def __init__(self, where: str, what: str) -> None:
        self.where, self.what = where, what
        super().__init__(f"{where}: {what}")


def check_line(text: str, where: str) -> None:
    """Refuse a label that is blank, broken over lines, or holds characters that can't be seen."""
    if not text.strip():
        raise CardError(where, "empty")
    if _UNFIT_IN_LINE.search(text):
        raise CardError(where, "holds a character that can't be seen or turns the text around")


def check_summary(text: str) -> None:
    """Refuse a summary of 140 characters or more, or one that is no plain line."""
    check_line(text, "card.summary")
    if len(text) > SUMMARY_MAX:
        raise CardError("card.summary", f"{len(text)} characters, at most {SUMMARY_MAX}")


def check_detail(text: str) -> None:
    """Refuse Markdown that is blank or holds ``<``: all HTML begins with it, and we send none (CH-174)."""
    if not text.strip():
        raise CardError("card.detail", "empty")
    if _UNFIT_IN_DETAIL.search(text):
        raise CardError("card.detail", "holds '<' or a character that can't be seen; write data with texts.plain")


def shorten(summary: str, *, most: int = SUMMARY_MAX) -> str:
    """Cut a summary that came out too long, by rule, so that no cut changes what it says.

    It ends in an ellipsis, after the last word or clause that fits whole (text without spaces or punctuation in its
    second half is cut anywhere), and never in a number, since "12…" is not what "12.3 %" says.

    Args:
        summary: The text after all substitutions.
        most: Characters, the ellipsis counted.

    >>> shorten("Fasting glucose was 126 mg/dL in May", most=24)
    'Fasting glucose was…'
    """
    if len(summary) <= most:
        return summary
    cut = most - 1
    if not _BREAK.match(summary[cut]):
        last = max((match.end() for match in _BREAK.finditer(summary, 0, cut)), default=0)
        cut = last if last >= most // 2 else cut
    return summary[:cut].rstrip(_TORN) + _ELLIPSIS
