"""What the event log may say: the types, their shapes, the golden file and the page that explains them."""

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect

from cds_service.events import schema
from cds_service.events.check import hold_to_schema
from cds_service.events.schema import AnyEvent, decode, encode
from cds_service.events.table import row

GOLDEN = (Path(__file__).parent / "golden_events.jsonl").read_bytes().splitlines()
PAGE = Path(__file__).parents[2] / "docs" / "reference" / "events.md"
KINDS = {str(kind.__struct_config__.tag): kind for kind in get_args(AnyEvent)}
MADE = decode(GOLDEN[0])


def walk(kind: inspect.Type, path: str):
    """Every type in the schema, with its place."""
    yield path, kind
    match kind:
        case inspect.UnionType(types=types):
            for part in types:
                yield from walk(part, path)
        case inspect.VarTupleType(item_type=item):
            yield from walk(item, f"{path}[]")
        case inspect.DictType(key_type=key, value_type=item):
            yield from walk(key, f"{path}.key")
            yield from walk(item, f"{path}.value")
        case inspect.StructType(fields=fields):
            for field in fields:
                yield from walk(field.type, f"{path}.{field.name}")


SCHEMA = [place for tag, kind in KINDS.items() for place in walk(inspect.type_info(kind), tag)]


@pytest.mark.sec("SEC-080")
@pytest.mark.parametrize(
    ("path", "kind"),
    [place for place in SCHEMA if isinstance(place[1], inspect.StrType)],
    ids=lambda value: str(value)[:60],
)
def test_every_text_has_a_shape(path, kind):
    assert kind.pattern is not None
    assert kind.pattern.startswith("^")
    assert kind.pattern.endswith(r"\Z"), "a pattern that ends in $ lets a newline through"
    assert re.search(kind.pattern, "Yamada Hanako") is None
    assert re.search(kind.pattern, "a" * 300) is None


@pytest.mark.sec("SEC-080")
def test_nothing_in_the_schema_takes_anything():
    open_types = (
        inspect.AnyType,
        inspect.RawType,
        inspect.BytesType,
        inspect.ListType,
        inspect.SetType,
        inspect.CustomType,
    )
    assert [path for path, kind in SCHEMA if isinstance(kind, open_types)] == []
    assert [path for path, kind in SCHEMA if isinstance(kind, inspect.DateTimeType) and not kind.tz] == []


@pytest.mark.sec("SEC-080")
@pytest.mark.parametrize("line", GOLDEN, ids=lambda line: json.loads(line)["type"])
def test_an_unknown_field_is_refused(line):
    told = json.loads(line) | {"patient_name": "x"}
    with pytest.raises(msgspec.ValidationError, match="patient_name"):
        decode(json.dumps(told))


@pytest.mark.parametrize("line", GOLDEN, ids=lambda line: json.loads(line)["type"])
def test_the_golden_file_is_read_and_written_byte_for_byte(line):
    assert encode(decode(line)) == line


def test_the_golden_file_has_every_type_and_every_field():
    seen = {tag: set() for tag in KINDS}
    for line in GOLDEN:
        told = json.loads(line)
        seen[told["type"]] |= set(told)
    for tag, kind in KINDS.items():
        assert seen[tag] - {"type"} <= set(kind.__struct_fields__)
    asked = seen["prediction_made"] | seen["prediction_withheld"]
    assert set(KINDS["prediction_withheld"].__struct_fields__) - asked == {"arm", "sent"}, "at their defaults"


REASONS = (
    "excluded_age", "excluded_encounter", "excluded_condition", "excluded_medication", "excluded_state",
    "recent_measurement", "below_threshold", "repeated", "viewer_not_clinician", "silent_site", "card_ceiling",
    "review_overdue", "patient_deceased", "data_unknown", "data_missing", "required_input_missing",
    "out_of_distribution", "not_enough_inputs", "non_finite", "deadline_passed", "holdout",
)  # fmt: skip


def test_the_reasons_of_silence_are_a_closed_set():
    assert get_args(schema.WithheldReason) == REASONS
    told = json.loads(GOLDEN[1]) | {"reason": "did_not_feel_like_it"}
    with pytest.raises(msgspec.ValidationError):
        decode(json.dumps(told))


@pytest.mark.sec("SEC-080", "SEC-085")
@pytest.mark.parametrize(
    ("field", "value"),
    [
        pytest.param("tenant", "Yamada Hanako", id="a name is no tenant"),
        pytest.param("patient", "12345", id="a patient id is no pseudonym"),
        pytest.param("patient", "v1:k3vq2m7x5a6bcdefghijklmnop\n", id="a newline at the end is seen"),
        pytest.param("invocation", "12345", id="an invocation is a uuid"),
        pytest.param("card", "1980-01-01", id="a date is no card"),
        pytest.param("suggestions", ("x",), id="a suggestion is a uuid"),
        pytest.param("suggestions", ["7c1c9a52-3f4b-4a51-9d2e-000000000001"], id="a list could change later"),
        pytest.param("features", {"Glucose (fasting)": 1.0}, id="a feature has a declared name"),
        pytest.param("features", {"glucose": float("nan")}, id="NaN is no value"),
        pytest.param("features", {"glucose": float("inf")}, id="infinity is no value"),
        pytest.param("scores", {"ge65": 1.2}, id="a probability ends at 1"),
        pytest.param("scores", {"ge65": float("nan")}, id="NaN is no probability"),
        pytest.param("scores", {"ge65": None}, id="a score is a number"),
        pytest.param("reported", {"glucose": schema.Reported(1.0, "mg per dL")}, id="a unit is a UCUM code"),
        pytest.param("missing", {"bmi": "not in chart"}, id="a reason is a name"),
        pytest.param("flags", ("see notes",), id="a flag is a name"),
        pytest.param("set_aside", {"stale": -1}, id="a count is not negative"),
        pytest.param("language", "fr", id="we speak two languages"),
        pytest.param("at", datetime(2026, 6, 1), id="a moment has a zone"),  # noqa: DTZ001
        pytest.param("took_ms", "1", id="a duration is a number"),
        pytest.param("arm", "left", id="an arm is known"),
    ],
)
def test_what_breaks_the_schema_is_not_stored(field, value):
    event = msgspec.structs.replace(MADE, **{field: value})
    with pytest.raises(msgspec.ValidationError, match=rf"^PredictionMade\.{field} breaks the event schema") as caught:
        hold_to_schema(event)
    assert str(value)[:20] not in str(caught.value)


uuids = st.uuids().map(str)
names = st.from_regex(r"\A[a-z][a-z0-9_]{0,12}\Z")
labels = st.from_regex(r"\A[A-Za-z0-9][A-Za-z0-9._-]{0,12}\Z")
moments = st.datetimes(datetime(1970, 1, 2), datetime(2200, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
numbers = st.floats(allow_nan=False, allow_infinity=False, width=32)
event_ids = st.from_regex(r"\A[0-9A-HJKMNP-TV-Z]{26}\Z")
pseudonyms = st.from_regex(r"\Av1:[a-z2-7]{26}\Z")
base = {
    "id": event_ids, "at": moments, "tenant": st.none() | labels, "client": st.none() | labels, "service": st.none() | labels,
}  # fmt: skip
asked = base | {
    "hook": labels, "invocation": st.none() | uuids, "patient": st.none() | pseudonyms, "model": st.none() | labels,
    "scores": st.dictionaries(names, st.floats(0, 1), max_size=3), "operating_point": st.none() | names,
    "card": st.none() | uuids, "suggestions": st.lists(uuids, max_size=2).map(tuple),
    "features": st.dictionaries(names, st.none() | numbers, max_size=5), "missing": st.dictionaries(names, names, max_size=3),
    "set_aside": st.dictionaries(names, st.integers(0, 99), max_size=2), "prefetch": st.dictionaries(labels, names, max_size=3),
    "reported": st.dictionaries(names, st.builds(schema.Reported, numbers, st.sampled_from(["mg/dL", "10*3/uL", "m[iU]/mL"])), max_size=2),
    "language": st.sampled_from([None, "en", "ja"]), "took_ms": st.floats(0, 1e6),
}  # fmt: skip
feedback = base | {"card": uuids, "outcome_at": moments, "matched": st.booleans(), "had_comment": st.booleans()}
events = st.one_of(
    st.builds(schema.PredictionMade, **asked),
    st.builds(schema.PredictionWithheld, **asked, reason=st.sampled_from(REASONS), detail=st.none() | names),
    st.builds(schema.RuleFired, **base, hook=labels, rule=names, feature=names, value=numbers, card=st.none() | uuids,
              took_ms=st.floats(0, 1e6)),
    st.builds(schema.CardAccepted, **feedback, suggestions=st.lists(uuids, min_size=1, max_size=2).map(tuple)),
    st.builds(schema.CardOverridden, **feedback, reason=st.none() | st.builds(schema.OverrideReasonCode, labels)),
    st.builds(schema.CallRefused, **base, door=st.sampled_from(get_args(schema.Door)), status=st.integers(400, 599),
              reason=st.sampled_from(get_args(schema.RefusedReason))),
    st.builds(schema.PatientLeftOut, **base, what=st.sampled_from(["answer", "feedback"]), hook=st.none() | labels,
              model=st.none() | labels),
)  # fmt: skip


@settings(deadline=None)  # the machine may be busy
@given(events)
def test_what_is_written_is_read_back(event):
    hold_to_schema(event)
    assert decode(encode(event)) == event
    assert decode(row(event)[-1]) == event


texts = st.text(max_size=8) | st.sampled_from(["a", "v1:k3vq2m7x5a6bcdefghijklmnop", "champion", "mg/dL"])


@pytest.mark.sec("SEC-080")
@settings(deadline=None)  # the machine may be busy
@given(events, st.data())
def test_the_check_before_writing_refuses_what_a_reader_would_refuse(event, data):
    """Any text in any field: the two checks are one."""
    field = data.draw(st.sampled_from(type(event).__struct_fields__))
    old = getattr(event, field)
    new = data.draw(texts)
    value = {type(old): new, tuple: (new,), dict: {new: next(iter(old.values()), 1.0) if isinstance(old, dict) else 0}}
    changed = msgspec.structs.replace(event, **{field: value[type(old)]})
    try:
        decode(encode(changed))
    except (msgspec.ValidationError, UnicodeEncodeError):
        with pytest.raises(msgspec.ValidationError):
            hold_to_schema(changed)
    else:
        if type(value[type(old)]) is type(old):
            hold_to_schema(changed)


def test_old_lines_stay_readable():
    """F73: lines of the first version, with only what there was then."""
    event = decode(
        b'{"type":"prediction_made","id":"01KT0VDQ80C5DBWW1MJFXR94H3","at":"2026-06-01T00:00:00Z","hook":"patient-view"}'
    )
    assert (event.tenant, event.card, event.arm, event.sent) == (None, None, "champion", "unknown")
    rule = decode(
        b'{"type":"rule_fired","id":"01KT0VDT5R0C5DBWW1MJFXR94M","at":"2026-06-01T00:00:03Z","hook":"patient-view",'
        b'"rule":"glucose_diabetic_type","feature":"glucose","value":214.0,"language":"ja"}'
    )
    assert (rule.tenant, rule.card, rule.took_ms) == (None, None, 0.0)


# the page


def page_tables() -> dict[str, dict[str, str]]:
    tables: dict[str, dict[str, str]] = {}
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if heading := re.match(r"## `(\w+)`", line):
            fields = tables.setdefault(heading[1], {})
        elif tables and (field := re.match(r"\| `(\w+)` \| ([^|]+) \|[^|]*\|$", line)):
            fields[field[1]] = field[2]
        elif line.startswith("## "):
            fields = {}
    return tables


def pattern_of(part: object) -> str | None:
    return getattr(part, "pattern", None)


def shape(kind: inspect.Type) -> str:
    """The page's word for a type."""
    match kind:
        case inspect.StrType(pattern=pattern):
            of_kind = next(name for name, given in vars(schema).items() if pattern in map(pattern_of, get_args(given)))
            return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", of_kind).lower()
        case inspect.LiteralType(values=values) if len(values) > 7:
            return "one of the reasons below"
        case inspect.LiteralType(values=values):
            return (
                "one of " + ", ".join(f"`{value}`" for value in sorted(values)) if len(values) > 1 else f"`{values[0]}`"
            )
        case inspect.FloatType(ge=0.0, le=1.0):
            return "probability"
        case inspect.FloatType():
            return "number"
        case inspect.IntType():
            return "count"
        case inspect.BoolType():
            return "true or false"
        case inspect.DateTimeType():
            return "moment"
        case inspect.UnionType(types=types):
            return " or ".join(shape(part) for part in types)
        case inspect.NoneType():
            return "none"
        case inspect.VarTupleType(item_type=item):
            return f"list of {shape(item)}"
        case inspect.DictType(key_type=key, value_type=item):
            return f"{shape(key)} → {shape(item)}"
        case inspect.StructType(cls=cls):
            return f"`{cls.__name__}`"
    raise AssertionError(kind)


@pytest.mark.parametrize("tag", KINDS)
def test_the_page_names_every_field_as_it_is(tag):
    kind = inspect.type_info(KINDS[tag])
    shared = page_tables()["event"]
    own = page_tables()[tag]
    if tag in {"prediction_made", "prediction_withheld"}:
        own = page_tables()["prediction"] | own
    if tag in {"card_accepted", "card_overridden"}:
        own = page_tables()["feedback"] | own
    assert shared | own == {field.name: shape(field.type) for field in kind.fields} | {"type": f"`{tag}`"} | {
        "type": shared["type"]
    }


def test_the_page_names_every_reason():
    text = PAGE.read_text(encoding="utf-8")
    for reason in (*get_args(schema.WithheldReason), *get_args(schema.RefusedReason), *get_args(schema.FeedbackFlag)):
        assert f"`{reason}`" in text
