"""How often somebody may ask: a bucket that fills at a steady rate and holds two seconds' worth (SEC-051)."""

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Final

__all__ = ["FAILURES_A_SECOND", "Failures", "Rates"]

_BURST_S: Final = 2.0
FAILURES_A_SECOND: Final = 1.0
"""Refused tokens of one address, in the long run; twenty at once."""
_FAILURES_AT_ONCE: Final = 20
_ADDRESSES_MAX: Final = 4096
"""Of which failures are remembered; the one heard of longest ago is forgotten first, so that memory does not grow."""


class Rates:
    """One bucket for each name. Names come from our own settings, so there are few.

    Args:
        clock: Seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._buckets: dict[Hashable, tuple[float, float]] = {}

    def take(self, name: Hashable, rate_per_s: float) -> bool:
        """Take one call out of a bucket; False when it is empty."""
        now = self._clock()
        most = max(1.0, rate_per_s * _BURST_S)
        level, at = self._buckets.get(name, (most, now))
        level = min(most, level + (now - at) * rate_per_s)
        if level < 1.0:
            self._buckets[name] = level, now
            return False
        self._buckets[name] = level - 1.0, now
        return True


class Failures:
    """How often an address was refused lately.

    Args:
        clock: Seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._levels)

    def too_many(self, address: str) -> bool:
        """Whether an address has to wait."""
        return address in self._levels and self._level(address) >= _FAILURES_AT_ONCE

    def add(self, address: str) -> None:
        """Count one more."""
        self._levels[address] = self._level(address) + 1, self._clock()
        self._levels.move_to_end(address)
        if len(self._levels) > _ADDRESSES_MAX:
            self._levels.popitem(last=False)

    def _level(self, address: str) -> float:
        level, at = self._levels.get(address, (0.0, self._clock()))
        return max(0.0, level - (self._clock() - at) * FAILURES_A_SECOND)
