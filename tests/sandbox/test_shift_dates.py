"""Dates move by whole days, all of them, and nothing else moves."""

import re
from datetime import date
from pathlib import Path

import pytest

from cds_service.sandbox.charts import read_charts
from cds_service.sandbox.dates import days_to_shift, newest_day, shift_dates

PATIENTS = Path(__file__).resolve().parents[2] / "sandbox" / "patients"
TODAY = date(2026, 11, 25)
A_DATE = re.compile(r"\d{4}-\d\d-\d\d(T.*)?")


@pytest.mark.parametrize(
    ("resource", "days", "shifted"),
    [
        pytest.param({"birthDate": "1960-01-31"}, 1, {"birthDate": "1960-02-01"}, id="a birth date"),
        pytest.param({"birthDate": "1960-02-28"}, 1, {"birthDate": "1960-02-29"}, id="into a leap day"),
        pytest.param({"birthDate": "2000-03-01"}, -1, {"birthDate": "2000-02-29"}, id="backwards"),
        pytest.param(
            {"effectiveDateTime": "2019-12-31T23:59:59.123+09:00"},
            1,
            {"effectiveDateTime": "2020-01-01T23:59:59.123+09:00"},
            id="the time of day and the offset stay",
        ),
        pytest.param(
            {"effectivePeriod": {"start": "2020-01-01", "end": "2020-01-03"}},
            10,
            {"effectivePeriod": {"start": "2020-01-11", "end": "2020-01-13"}},
            id="both ends of a period",
        ),
        pytest.param({"recordedDate": "2019-05"}, 31, {"recordedDate": "2019-06"}, id="a month moves by its middle"),
        pytest.param({"recordedDate": "2019"}, 365, {"recordedDate": "2020"}, id="a year moves by its middle"),
        pytest.param({"deceasedDateTime": "2001-01-01"}, 2, {"deceasedDateTime": "2001-01-03"}, id="a date of death"),
        pytest.param({"meta": {"lastUpdated": "2020-01-01T00:00:00Z"}}, 1, {"meta": {"lastUpdated": "2020-01-02T00:00:00Z"}}, id="an instant"),
        pytest.param({"event": ["2020-01-01", "2020-02-01"]}, 1, {"event": ["2020-01-02", "2020-02-02"]}, id="a list of dates"),
        pytest.param({"postalCode": "2020", "code": {"text": "2020-01-01"}}, 1, {"postalCode": "2020", "code": {"text": "2020-01-01"}}, id="words that look like dates stay"),
        pytest.param({"text": {"status": "generated", "div": "<div>1999</div>"}, "id": "a"}, 1, {"id": "a"}, id="the narrative goes: it tells the old dates"),
        pytest.param({"effectiveDateTime": "yesterday"}, 1, {"effectiveDateTime": "yesterday"}, id="what is no date stays"),
    ],
)  # fmt: skip
def test_shift_dates(resource, days, shifted):
    assert shift_dates(resource, days) == shifted


@pytest.mark.parametrize(
    ("resources", "days"),
    [
        pytest.param([{"resourceType": "Observation", "effectiveDateTime": "2026-11-11T23:00:00+09:00"}], 0, id="a fortnight old already"),
        pytest.param([{"resourceType": "Observation", "effectiveDateTime": "2025-11-11"}], 365, id="a year late"),
        pytest.param([{"resourceType": "Observation", "effectivePeriod": {"start": "2026-11-01", "end": "2026-11-12"}}], -1, id="too recent: back"),
        pytest.param([{"resourceType": "Observation", "effectiveDateTime": "2026-11"}], 0, id="a partial date says too little"),
        pytest.param([{"resourceType": "Encounter", "period": {"start": "2020-01-01"}}], 0, id="only Observations count"),
        pytest.param([], 0, id="nothing to go by"),
    ],
)  # fmt: skip
def test_days_to_shift(resources, days):
    assert days_to_shift(resources, TODAY) == days


def test_every_chart_with_measurements_was_last_measured_a_fortnight_ago():
    for chart in read_charts(PATIENTS, TODAY):
        assert newest_day(chart.resources) in (None, date(2026, 11, 11)), chart.patient_id


def dates_in(value):
    if isinstance(value, dict):
        return [found for item in value.values() for found in dates_in(item)]
    if isinstance(value, list):
        return [found for item in value for found in dates_in(item)]
    return [value] if isinstance(value, str) and A_DATE.fullmatch(value) else []


def test_no_date_of_a_shipped_chart_stays_where_it_was():
    """One day more moves every date of every resource by one: none is forgotten."""
    for before, after in zip(read_charts(PATIENTS, TODAY), read_charts(PATIENTS, date(2026, 11, 26)), strict=True):
        if before.shifted_days == 0:
            continue
        for old, new in zip(before.resources, after.resources, strict=True):
            for was, now in zip(dates_in(old), dates_in(new), strict=True):
                assert (date.fromisoformat(now[:10]) - date.fromisoformat(was[:10])).days == 1, (
                    old["resourceType"],
                    was,
                )
