"""docs/reference/limits.md says what the code does."""

import re
from pathlib import Path

from cds_service.api import inference, inference_tensors, predict
from cds_service.cdshooks import feedback, prefetch, wire
from cds_service.web import body, protocol
from cds_service.web.limits import BOUNDS, DEFAULT_LIMITS

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "limits.md").read_text(encoding="utf-8")


def number(value):
    return f"{int(value):,}" if value == int(value) else f"{value:g}"


def test_every_limit_stands_on_the_page_as_it_is():
    rows = re.findall(r"^\| `(\w+)` \|.*$", PAGE, re.MULTILINE)
    assert rows == list(BOUNDS)
    for name, bound in BOUNDS.items():
        cells = (number(getattr(DEFAULT_LIMITS, name)), number(bound.low), number(bound.high), bound.unit)
        assert f"| `{name}` | {' | '.join(cells)} | {bound.meaning} | {bound.then} |" in PAGE


def test_defaults_lie_within_their_bounds():
    assert all(bound.low <= getattr(DEFAULT_LIMITS, name) <= bound.high for name, bound in BOUNDS.items())


def test_what_is_fixed():
    assert f"| keys of `prefetch` | {wire.MAX_PREFETCH_KEYS} |" in PAGE
    assert f"{prefetch.MAX_RESOURCES:,} | 413" in PAGE
    assert feedback.MAX_ITEMS == prefetch.MAX_RESOURCES
    assert f"{predict._LARGEST:,} bytes" in PAGE
    assert f"{inference._LARGEST:,} bytes, {inference_tensors.MOST_ROWS} rows" in PAGE
    assert f"at most {body._MEMBERS_MAX} gzip members" in PAGE
    once = {name.decode() for name in protocol._ONCE}
    assert once == {name.strip().lower() for name in re.search(r"may stand once \| (.*?) \|", PAGE)[1].split(",")}
