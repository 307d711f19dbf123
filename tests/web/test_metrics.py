"""The Prometheus text format, and labels that cannot grow."""

import re

import pytest

from cds_service.web.metrics import Registry, process_metrics

LINE = re.compile(r'[a-z_]+(?:\{[a-z]+="(?:[^"\\\n]|\\.)*"(?:,[a-z]+="(?:[^"\\\n]|\\.)*")*\})? [0-9.e+-]+')


def test_the_text_format():
    registry = Registry()
    asked = registry.counter("asked_total", "Asked.", {"route": ["/a", 'b"\\\n'], "status": ["200"]})
    registry.counter("none_total", "Without labels.").add()
    took = registry.histogram("took_seconds", "Took.", {"route": ["/a"]}, edges=(0.1, 1))
    process_metrics(registry)
    asked.add("/a", "200")
    asked.add('b"\\\n', "200", amount=2)
    for seconds in (0.05, 0.1, 0.5, 3):
        took.add(seconds, "/a")
    lines = registry.text().splitlines()
    assert all(line.startswith(("# HELP ", "# TYPE ")) or LINE.fullmatch(line) for line in lines)
    assert 'asked_total{route="/a",status="200"} 1' in lines
    assert r'asked_total{route="b\"\\\n",status="200"} 2' in lines
    assert "none_total 1" in lines
    assert [line for line in lines if line.startswith("took_seconds")] == [
        'took_seconds_bucket{route="/a",le="0.1"} 2',
        'took_seconds_bucket{route="/a",le="1"} 3',
        'took_seconds_bucket{route="/a",le="+Inf"} 4',
        'took_seconds_sum{route="/a"} 3.65',
        'took_seconds_count{route="/a"} 4',
    ]
    assert "# TYPE process_cpu_seconds_total counter" in lines
    assert "# TYPE process_resident_memory_bytes gauge" in lines


@pytest.mark.sec("SEC-088")
def test_what_was_not_declared_becomes_other():
    registry = Registry()
    asked = registry.counter("asked_total", "Asked.", {"service": ["a"], "outcome": ["card"]})
    took = registry.histogram("took_seconds", "Took.", {"service": ["a"]})
    for patient in range(10_000):
        asked.add(f"patient-{patient}", "card")
        asked.add("a", f"id-{patient}")
        took.add(0.1, f"patient-{patient}")
    assert (asked.value("other", "card"), asked.value("a", "other")) == (10_000, 10_000)
    assert took.count("other") == 10_000
    assert len(registry.text().splitlines()) < 25


def test_a_name_is_taken_once_and_labels_are_all_given():
    registry = Registry()
    asked = registry.counter("asked_total", "Asked.", {"service": ["a"]})
    with pytest.raises(ValueError, match="asked_total"):
        registry.gauge("asked_total", "Again.", lambda: 1)
    with pytest.raises(ValueError, match=r"shorter|longer"):
        asked.add("a", "b")
