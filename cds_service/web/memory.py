"""The memory of one chart is used again for the next instead of going back to the system in between."""

import ctypes
import sys
from typing import Final

__all__ = ["keep_freed_memory"]

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
"""glibc, ``malloc.h``."""
_TRIM_BYTES: Final = 64 * 1024 * 1024
"""So much free memory stays with the process."""
_MMAP_BYTES: Final = 32 * 1024 * 1024
"""Smaller pieces come from memory that was used before. glibc takes no more than this."""


def keep_freed_memory() -> bool:
    """Let glibc keep what a large body used.

    By default it gives a body of a megabyte back at once, and the next body pays for some 600 pages anew: at 1,000
    resources that was up to a fifth of a call's CPU (``docs/explanation/speed.md``).

    Returns:
        Whether it was done; False where the allocator is another one.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        set_option = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl has none
        return False
    return bool(set_option(_M_TRIM_THRESHOLD, _TRIM_BYTES)) and bool(set_option(_M_MMAP_THRESHOLD, _MMAP_BYTES))
