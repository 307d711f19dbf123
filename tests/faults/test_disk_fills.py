"""F17: a disk that fills is said at 80 %, at 90 % nothing but events is written, and nothing is ever deleted."""

import asyncio
import os
from types import SimpleNamespace

import pytest
import structlog

from cds_service.errors import StoreUnavailable
from cds_service.events.disk import disk_used, refuse_full_disk, watch_disk


@pytest.fixture
def used(monkeypatch):
    """``used(0.8)`` fills the disk that far."""

    def fill(share):
        found = SimpleNamespace(f_blocks=1000, f_bavail=round(1000 * (1 - share)))
        monkeypatch.setattr(os, "statvfs", lambda _: found)

    return fill


@pytest.mark.fault("F17")
@pytest.mark.parametrize(
    ("shares", "says"),
    [
        pytest.param([0.5, 0.79], [], id="with room nothing is said"),
        pytest.param([0.5, 0.80, 0.85], ["disk_filling"], id="a warning at 80 %, once"),
        pytest.param([0.85, 0.90, 0.95], ["disk_filling", "disk_nearly_full"], id="an error at 90 %"),
        pytest.param([0.95, 0.5], ["disk_nearly_full", "disk_has_room"], id="and that there is room again"),
    ],
)
def test_what_is_said_of_a_disk_that_fills(tmp_path, used, shares, says):
    async def fill():
        used(shares[0])
        task = asyncio.create_task(watch_disk(tmp_path, look_s=0))
        for share in shares:
            used(share)
            for _ in range(5):
                await asyncio.sleep(0)
        task.cancel()

    with structlog.testing.capture_logs() as lines:
        asyncio.run(fill())
    assert [line["event"] for line in lines] == says


@pytest.mark.fault("F17")
@pytest.mark.parametrize(("share", "is_refused"), [(0.89, False), (0.90, True)])
def test_the_last_tenth_is_kept_for_events(tmp_path, used, share, is_refused):
    used(share)
    if is_refused:
        with pytest.raises(StoreUnavailable, match="the disk is 90% full, and a backup is no event"):
            refuse_full_disk(tmp_path, "a backup")
    else:
        refuse_full_disk(tmp_path, "a backup")


def test_the_share_is_the_file_systems(tmp_path):
    assert 0.0 < disk_used(tmp_path) < 1.0
    assert disk_used(tmp_path / "absent") == 0.0
