"""Every general sentence that a person reads, en and ja, and how numbers, units and dates are written."""

from cds_service.texts.sentences import SENTENCES
from cds_service.texts.writing import (
    LANGUAGES,
    day,
    fill,
    list_of,
    number,
    one_line,
    percent,
    plain,
    quantity,
    sentence,
    unit_words,
)

__all__ = [
    "LANGUAGES",
    "SENTENCES",
    "day",
    "fill",
    "list_of",
    "number",
    "one_line",
    "percent",
    "plain",
    "quantity",
    "sentence",
    "unit_words",
]
