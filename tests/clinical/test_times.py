"""FHIR times are intervals; nothing is filled in, and no zone is assumed for a time of day."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

import pytest

from cds_service.clinical.times import TimeFault, interval_of, whole_years

TOKYO = ZoneInfo("Asia/Tokyo")
BERLIN = ZoneInfo("Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "zone", "start", "end", "flag"),
    [
        pytest.param("2026-05-01T10:20:30Z", None, "2026-05-01T10:20:30+00:00", None, None, id="an instant"),
        pytest.param("2026-05-01T10:20:30+09:00", None, "2026-05-01T01:20:30+00:00", None, None, id="with an offset"),
        pytest.param("2026-05-01T10:20:30.123456789Z", None, "2026-05-01T10:20:30.123456+00:00", None, None, id="digits beyond microseconds are cut"),
        pytest.param("2026-05-01", None, "2026-05-01T00:00:00+00:00", "2026-05-01T23:59:59.999999+00:00", "time_partial", id="a date is its whole day"),
        pytest.param("2026-05-01", TOKYO, "2026-04-30T15:00:00+00:00", "2026-05-01T14:59:59.999999+00:00", "time_partial", id="of the declared zone"),
        pytest.param("2026-02", None, "2026-02-01T00:00:00+00:00", "2026-02-28T23:59:59.999999+00:00", "time_partial", id="a month is its whole month"),
        pytest.param("2024-02", None, "2024-02-01T00:00:00+00:00", "2024-02-29T23:59:59.999999+00:00", "time_partial", id="with its leap day"),
        pytest.param("2025-12", None, "2025-12-01T00:00:00+00:00", "2025-12-31T23:59:59.999999+00:00", "time_partial", id="over the year's end"),
        pytest.param("2024", None, "2024-01-01T00:00:00+00:00", "2024-12-31T23:59:59.999999+00:00", "time_partial", id="a year is its whole year"),
        pytest.param("2026-05-01T10:20:30", TOKYO, "2026-05-01T01:20:30+00:00", None, "time_local", id="a declared zone reads a time without one"),
        pytest.param("2026-03-29", BERLIN, "2026-03-28T23:00:00+00:00", "2026-03-29T21:59:59.999999+00:00", "time_partial", id="a day of 23 hours"),
        pytest.param("2026-10-25", BERLIN, "2026-10-24T22:00:00+00:00", "2026-10-25T22:59:59.999999+00:00", "time_partial", id="a day of 25 hours"),
    ],
)  # fmt: skip
def test_a_time_is_read_as_it_stands(text, zone, start, end, flag):
    read = interval_of(text, zone)
    assert read.start.astimezone(UTC).isoformat() == start
    assert read.end.astimezone(UTC).isoformat() == (end or start)
    assert read.flag == flag


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("2026-05-01T10:20:30", id="a time of day without a zone, undeclared"),
        pytest.param("2026-05-01T10:20Z", id="without seconds"),
        pytest.param("2026-05-01T10Z", id="an hour alone"),
        pytest.param("2026-05-01Z", id="a date with a zone"),
        pytest.param("2026-13-01", id="a month that is none"),
        pytest.param("2026-02-29", id="a leap day of another year"),
        pytest.param("2026-05-01T24:00:00Z", id="hour 24"),
        pytest.param("2026-05-01T10:20:60Z", id="second 60"),
        pytest.param("2026-05-01T10:20:30+25:00", id="an offset that is none"),
        pytest.param("2026-5-1", id="digits left out"),
        pytest.param("01/05/2026", id="another notation"),
        pytest.param("20260501", id="ISO's basic form"),
        pytest.param("2026-05-01 10:20:30Z", id="a blank for the T"),
        pytest.param("２０２６-05-01", id="full-width digits"),
        pytest.param("2026-05-01\n", id="a line break"),
        pytest.param("R8.5.1", id="a Japanese era"),
        pytest.param("", id="nothing"),
        pytest.param("9999", id="the last year has no end"),
        pytest.param("9999-12-31", id="nor has the last day"),
        pytest.param("0000", id="the year 0"),
        pytest.param("2026-05-01T10:20:30." + "1" * 40 + "Z", id="too long"),
    ],
)  # fmt: skip
def test_what_is_no_fhir_time_is_refused(text):
    with pytest.raises(TimeFault):
        interval_of(text)


def test_a_local_time_that_leaves_the_calendar_is_refused():
    with pytest.raises(TimeFault):
        interval_of("0001-01-01T00:00:00", TOKYO)


def test_an_instant_at_the_edge_of_the_calendar_can_be_compared():
    assert interval_of("0001-01-01T00:00:00+14:00").start < datetime(2026, 1, 1, tzinfo=UTC)
    assert interval_of("9999-12-31T23:59:59-12:00").start > datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize("text", ["2016-12-31T23:59:60Z", "2017-01-01T08:59:60+09:00"])
def test_a_leap_second_is_read_where_utc_has_one(text):
    assert interval_of(text).end.astimezone(UTC).isoformat() == "2016-12-31T23:59:59.999999+00:00"


def test_a_leap_second_elsewhere_or_on_no_day_is_none():
    for text in ("2016-12-31T22:59:60Z", "2016-12-32T23:59:60Z", "0001-01-01T00:00:60+14:00"):
        with pytest.raises(TimeFault):
            interval_of(text)


def test_an_hour_that_the_clocks_skip_is_none_and_one_that_they_repeat_is_both():
    with pytest.raises(TimeFault):
        interval_of("2026-03-29T02:30:00", BERLIN)
    twice = interval_of("2026-10-25T02:30:00", BERLIN)
    assert (twice.start.isoformat(), twice.end.isoformat()) == (
        "2026-10-25T00:30:00+00:00",
        "2026-10-25T01:30:00+00:00",
    )


@pytest.mark.parametrize(
    ("born", "on", "years"),
    [
        pytest.param((1958, 4, 12), (2026, 4, 11), 67, id="the day before a birthday"),
        pytest.param((1958, 4, 12), (2026, 4, 12), 68, id="the birthday"),
        pytest.param((1960, 2, 29), (2026, 2, 28), 65, id="born on a leap day: not yet on the 28th"),
        pytest.param((1960, 2, 29), (2026, 3, 1), 66, id="but on 1 March"),
        pytest.param((1960, 2, 29), (2028, 2, 29), 68, id="and on the leap day of a leap year"),
        pytest.param((2026, 6, 1), (2026, 6, 1), 0, id="born today"),
        pytest.param((2026, 6, 2), (2026, 6, 1), -1, id="born tomorrow"),
    ],
)
def test_completed_years(born, on, years):
    assert whole_years(date(*born), date(*on)) == years
