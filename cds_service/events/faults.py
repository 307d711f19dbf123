"""Named points at which a test may let the writer fail, stop or die; nothing happens there otherwise.

Points of the store, in order: ``before_write``, ``after_commit`` (on disk, nobody told), ``before_answer``.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["arm", "faultpoint", "injected"]

_hook: Callable[[str], None] | None = None


def faultpoint(name: str) -> None:
    """Mark a place where F02 and F11 want to interfere."""
    if _hook is not None:
        _hook(name)


@contextmanager
def injected(hook: Callable[[str], None]) -> Iterator[None]:
    """Let *hook* see every point that is passed; what it raises, the caller of the point sees."""
    global _hook  # noqa: PLW0603 - one hook a process, so that an unarmed point costs one comparison
    before, _hook = _hook, hook
    try:
        yield
    finally:
        _hook = before


def arm(spec: str) -> None:
    """Arm one point of a child process: ``after_commit:kill``, ``before_answer:kill:3`` (third time), ``…:sleep``.

    Raises:
        ValueError: The action is not one of kill, sleep.
    """
    global _hook  # noqa: PLW0603
    point, action, nth = ([*spec.split(":"), "1", "1"])[:3]
    if action not in {"kill", "sleep"}:
        raise ValueError("a fault is armed as point:kill[:n] or point:sleep[:n]")
    left = int(nth)

    def strike(name: str) -> None:
        nonlocal left
        if name != point:
            return
        left -= 1
        if left == 0 and action == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif left <= 0 and action == "sleep":
            time.sleep(1.0)

    _hook = strike
