"""Resamples of queries or pairs, for intervals and tests.

In: how many there are. Out: how often each is drawn. Letters: R resamples, N queries or pairs.
"""

from collections.abc import Iterator

import numpy as np

RESAMPLES = 1000
CONFIDENCE = 0.95
_COUNTS, _SIGNS = 1 << 16, 1 << 21
"""Counts held at a time, half a megabyte, which stay in the cache; and signs, 16 MB, which decide what is drawn."""


def resample_counts(num: int, *, resamples: int = RESAMPLES, seed: int = 0) -> Iterator[np.ndarray]:
    """Draw `num` of `num` with replacement, `resamples` times; the same draws for the same arguments.

    Args:
        num: N, how many queries or pairs there are.
        resamples: R in all.
        seed: of the draws.

    Yields:
        counts_RN of a part of the resamples: how often each is drawn, as floats.
    """
    random = np.random.default_rng(seed)
    rows = max(1, _COUNTS // num)
    for start in range(0, resamples, rows):
        R = min(rows, resamples - start)
        draws_RN = random.integers(num, size=(R, num)) + np.arange(R)[:, None] * num
        yield np.bincount(draws_RN.ravel(), minlength=R * num).reshape(R, num).astype(np.float64)


def interval(value_R: np.ndarray) -> tuple[float, float]:
    """The range that holds 95 % of the values (percentile bootstrap); NaN values are left out.

    Args:
        value_R: the value of each resample.

    Returns:
        Lower and upper end.

    Source:
        Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13
    """
    tail = (1 - CONFIDENCE) / 2
    low, high = np.nanquantile(value_R, (tail, 1 - tail))
    return float(low), float(high)


def flip_p_value(difference_N: np.ndarray, *, flips: int = 10_000) -> float:
    """How likely a mean difference this far from 0 is if each sign were a coin's (paired randomisation test).

    Args:
        difference_N: difference of the two systems on each query.
        flips: how many sets of signs are tried, the same ones each time.

    Returns:
        Two-sided p-value, at least 1 / (flips + 1).

    Source:
        Smucker, Allan and Carterette 2007, https://doi.org/10.1145/1321440.1321528
    """
    random = np.random.default_rng(0)
    num = len(difference_N)
    # A set of signs that gives the observed sum in another order of addition must count as reaching it.
    observed = abs(difference_N.sum()) - 1e-12 * np.abs(difference_N).sum()
    reached, rows = 0, max(1, _SIGNS // num)
    for start in range(0, flips, rows):
        flipped_RN = random.integers(2, size=(min(rows, flips - start), num), dtype=np.int8)
        sum_R = difference_N.sum() - 2 * (flipped_RN.astype(np.float64) @ difference_N)
        reached += int((np.abs(sum_R) >= observed).sum())
    return (1 + reached) / (1 + flips)
