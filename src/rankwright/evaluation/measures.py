"""Measures of ranked lists, for all queries at once.

In: the relevant documents that a run found and those that people judged, both as `Hits`. Out: a value per query.
Letters: B queries, N relevant documents of all queries together.
"""

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from rankwright.errors import ConfigError


@dataclass(frozen=True)
class Measure:
    """A measure of a ranked list, with its cut-off; prints as it is written in configs and cards.

    Attributes:
        name: a key of `MEASURES`.
        k: only the first k documents count; None: all of them.
    """

    name: str
    k: int | None = None

    def __str__(self) -> str:
        return self.name if self.k is None else f"{self.name}@{self.k}"


@dataclass(frozen=True)
class Hits:
    """Relevant documents by query and rank: all that a measure needs to know of a ranked list.

    Attributes:
        query_N: number of the query, ascending.
        rank_N: place in the query's list, from 0, ascending within a query.
        grade_N: how relevant the document is, > 0.
        num_queries: B, queries without hits included.
    """

    query_N: np.ndarray
    rank_N: np.ndarray
    grade_N: np.ndarray
    num_queries: int

    def within(self, k: int | None) -> "Hits":
        """The hits among the first k documents of each query."""
        if k is None:
            return self
        kept_N = self.rank_N < k
        if kept_N.all():
            return self
        return Hits(self.query_N[kept_N], self.rank_N[kept_N], self.grade_N[kept_N], self.num_queries)

    def sum(self, value_N: np.ndarray | None = None) -> np.ndarray:
        """Sum of a value of each hit over the hits of each query; None: how many hits."""
        return np.bincount(self.query_N, weights=value_N, minlength=self.num_queries)


def parse_measure(text: str) -> Measure:
    """The measure that a name such as "ndcg@10" means.

    Args:
        text: name and cut-off; only "map" goes without one. Upper and lower case are the same.

    Returns:
        The measure.

    Raises:
        ConfigError: no such measure, or a cut-off that is missing or below 1.

    >>> parse_measure("nDCG@10")
    Measure(name='ndcg', k=10)
    """
    known = ", ".join(f"{name}@k" for name in MEASURES) + ", map"
    name, at, k = text.lower().partition("@")
    if name not in MEASURES:
        close = difflib.get_close_matches(name, MEASURES, n=1, cutoff=0.0)[0]
        raise ConfigError(f"unknown measure {text!r}. Did you mean '{close}@{k or 10}'? Known measures: {known}.")
    if not at and name == "map":
        return Measure("map")
    if not re.fullmatch("[1-9][0-9]*", k):
        raise ConfigError(
            f"measure {text!r} needs a cut-off of at least 1: write '{name}@10'. Known measures: {known}."
        )
    return Measure(name, int(k))


def measure_hits(found: Hits, ideal: Hits, measures: Sequence[str]) -> dict[str, np.ndarray]:
    """Measure what was found against what there is to find.

    Args:
        found: relevant documents of the run, at the ranks where it put them.
        ideal: all relevant documents of the same queries, best grade first.
        measures: names as `parse_measure` takes them.

    Returns:
        The values of each measure, one per query; 0 for a query without a relevant document.
    """
    parsed = [parse_measure(text) for text in measures]
    near = {k: found.within(k) for k in dict.fromkeys(measure.k for measure in parsed)}
    return {str(measure): MEASURES[measure.name](near[measure.k], ideal, measure.k) for measure in parsed}


def place_in_query(query_N: np.ndarray) -> np.ndarray:
    """How many there are before each one in its query.

    Args:
        query_N: numbers of queries, ascending.

    Returns:
        0 for the first of each run of equal numbers, 1 for the second, and so on.
    """
    starts_B = np.flatnonzero(np.diff(query_N, prepend=-1))
    return np.arange(len(query_N)) - np.repeat(starts_B, np.diff(starts_B, append=len(query_N)))


def _accuracy(found: Hits, ideal: Hits, k: int | None) -> np.ndarray:
    """1 where a relevant document is among the first k."""
    return (found.sum() > 0).astype(np.float64)


def _precision(found: Hits, ideal: Hits, k: int | None) -> np.ndarray:
    """Hits over k, also where the run has fewer than k documents."""
    assert k is not None
    return found.sum() / k


def _recall(found: Hits, ideal: Hits, k: int | None) -> np.ndarray:
    """Share of the relevant documents that is among the first k."""
    return _ratio(found.sum(), ideal.sum())


def _mrr(found: Hits, ideal: Hits, k: int | None) -> np.ndarray:
    """1 / rank of the first relevant document; 0 where it is not among the first k."""
    return found.sum((place_in_query(found.query_N) == 0) / (found.rank_N + 1))


def _ndcg(found: Hits, ideal: Hits, k: int | None) -> np.ndarray:
    """Discounted sum of the grades over the best possible one; linear gains (trec_eval's ndcg_cut).

    Source:
        Jarvelin and Kekalainen 2002, https://doi.org/10.1145/582415.582418
    """
    ideal = ideal.within(k)
    return _ratio(
        found.sum(found.grade_N / np.log2(found.rank_N + 2)), ideal.sum(ideal.grade_N / np.log2(ideal.rank_N + 2))
    )


def _ndcg_binary(found: Hits, ideal: Hits, k: int | None) -> np.ndarray:
    """`ndcg` with every relevant document of grade 1, as sentence-transformers computes it."""
    ideal = ideal.within(k)
    return _ratio(found.sum(1 / np.log2(found.rank_N + 2)), ideal.sum(1 / np.log2(ideal.rank_N + 2)))


def _average_precision(found: Hits, ideal: Hits, k: int | None) -> np.ndarray:
    """Mean of the precision at each relevant document, over min(k, number of relevant documents)."""
    precision_N = (place_in_query(found.query_N) + 1) / (found.rank_N + 1)
    return _ratio(found.sum(precision_N), ideal.within(k).sum())


MEASURES: dict[str, Callable[[Hits, Hits, int | None], np.ndarray]] = {
    "accuracy": _accuracy,
    "precision": _precision,
    "recall": _recall,
    "mrr": _mrr,
    "ndcg": _ndcg,
    "ndcg_binary": _ndcg_binary,
    "map": _average_precision,
}
"""Each takes the hits among the first k, all that there are to find, and k."""


def _ratio(part_B: np.ndarray, whole_B: np.ndarray) -> np.ndarray:
    """Quotient, 0 where there is nothing to divide by."""
    ratio_B: np.ndarray = np.divide(part_B, whole_B, out=np.zeros(len(whole_B)), where=whole_B > 0)
    return ratio_B
