"""The same numbers each time: how torch is set while something is fitted."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["settled_torch"]


@contextmanager
def settled_torch() -> Iterator[None]:
    """One thread, since the order of sums and so the weights depend on it; no denormals, which are slow. Put back after."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)
