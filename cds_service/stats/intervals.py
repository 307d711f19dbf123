"""How sure a figure is: an estimate with its interval."""

from collections.abc import Callable
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

__all__ = ["Estimate", "bootstrap", "normal_quantile", "wilson"]

Floats = npt.NDArray[np.float64]


class Estimate(NamedTuple):
    """A figure and the ends of its interval (95 % unless its maker was told otherwise)."""

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]"


def normal_quantile(level: float) -> float:
    """Give the two-sided standard normal quantile of a level: 1.96 for 0.95.

    >>> round(normal_quantile(0.95), 3)
    1.96
    """
    if not 0 < level < 1:
        raise ValueError("a level lies between 0 and 1, as in 0.95")
    return NormalDist().inv_cdf(0.5 + level / 2)


def wilson(successes: int, total: int, *, level: float = 0.95) -> Estimate:
    r"""Estimate a proportion with Wilson's score interval.

    .. math:: \frac{\hat p + z^2/2n \pm z\sqrt{\hat p(1-\hat p)/n + z^2/4n^2}}{1 + z^2/n}

    Args:
        successes: How many of the cases had the event.
        total: How many cases there were. With none, the proportion is unknown: NaN in [0, 1].
        level: Coverage of the interval.

    Raises:
        ValueError: The counts are negative, or there are more successes than cases.

    References:
        Wilson (1927), doi:10.1080/01621459.1927.10502953; Brown, Cai & DasGupta (2001), doi:10.1214/ss/1009213286.

    >>> [round(x, 4) for x in wilson(10, 40)]
    [0.25, 0.1419, 0.4019]
    """
    if not 0 <= successes <= total:
        raise ValueError("successes lie between 0 and the number of cases")
    if total == 0:
        return Estimate(float("nan"), 0.0, 1.0)
    z = normal_quantile(level)
    share = successes / total
    centre = share + z * z / (2 * total)
    half = z * (share * (1 - share) / total + z * z / (4 * total * total)) ** 0.5
    scale = 1 + z * z / total
    return Estimate(share, max(0.0, (centre - half) / scale), min(1.0, (centre + half) / scale))


def bootstrap(
    statistic: Callable[..., float],
    *arrays: npt.NDArray[np.generic],
    seed: int,
    resamples: int = 500,
    level: float = 0.95,
) -> Estimate:
    """Estimate a statistic with the percentile bootstrap: rows are drawn with replacement, together.

    Args:
        statistic: Takes the arrays, gives one number.
        *arrays: Same length; row i of each belongs to case i.
        seed: The same seed gives the same interval.
        resamples: How often the cases are drawn anew. Draws on which the statistic is not finite
            (no events among them) are left out.
        level: Coverage of the interval.

    References:
        Efron & Tibshirani (1993), An Introduction to the Bootstrap, chapter 13.

    >>> ages = np.array([30.0, 40.0, 50.0, 60.0])
    >>> bootstrap(lambda x: float(x.mean()), ages, seed=1).value
    45.0
    """
    if not arrays or any(len(array) != len(arrays[0]) for array in arrays):
        raise ValueError("give one or more arrays of the same length")
    rng = np.random.default_rng(seed)
    count = len(arrays[0])
    draws = np.empty(resamples)
    for place in range(resamples):
        rows = rng.integers(0, count, count)
        draws[place] = statistic(*(array[rows] for array in arrays))
    draws = draws[np.isfinite(draws)]
    value = statistic(*arrays)
    if draws.size == 0:
        return Estimate(value, float("nan"), float("nan"))
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
    return Estimate(value, float(low), float(high))
