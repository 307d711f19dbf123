"""Every general sentence that a person reads, en and ja, and how numbers, units and dates are written."""

from cds_service.texts.sentences import SENTENCES
from cds_service.texts.writing import (
    HIDDEN,
    LANGUAGES,
    day,
    fill,
    joined,
    number,
    one_line,
    percent,
    plain,
    quantity,
    reason_words,
    sentence,
    unit_words,
    with_note,
)

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
