"""Documents that may still be among the best of their query, while all are compared block by block.

In: scores of blocks, with a bound on their error. Out: the K best of each query by exact scores, ties by place.
Letters: Q queries, D documents of a block, K best documents, W candidates of a query, N of all queries together.
"""

from collections.abc import Callable

import numpy as np

Rescore = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""From query_N and place_N to exact scores_N, float32."""

NOTHING = np.iinfo(np.uint64).max
LAST_PLACE = np.int64(2**32 - 1)


def candidate_bytes(num_best: int) -> int:
    """Memory that a query takes for its candidates.

    Args:
        num_best: K.

    Returns:
        Bytes.
    """
    return 8 * _room(num_best)


class Candidates:
    """The candidates of Q queries; blocks come in the order of places, not all of them.

    A candidate is one number that sorts: the score from the best to the worst, then the place.

    Args:
        num_queries: Q.
        num_best: K.
        rescore: gives exact scores.
    """

    def __init__(self, num_queries: int, num_best: int, rescore: Rescore) -> None:
        self.num_best, self.rescore = num_best, rescore
        self.keys_QW = np.full((num_queries, _room(num_best)), NOTHING, np.uint64)
        self.count_Q = np.zeros(num_queries, np.int64)
        self.error_Q = np.zeros(num_queries)
        self.floor_Q = np.full(num_queries, -np.inf)
        """The least exact score of a further document that counts."""

    def add(self, scores_DQ: np.ndarray, error_Q: np.ndarray, is_above_DQ: np.ndarray, *, start: int) -> bool:
        """Keep what may be among the best of a block.

        Args:
            scores_DQ: scores, float32.
            error_Q: how far they may be from the exact ones.
            is_above_DQ: memory to work in.
            start: place of the first document.

        Returns:
            Whether that was possible: not if, for all that such scores tell, too many may be.
        """
        bar_Q = _float32_below(self.floor_Q - error_Q)
        at_N = self._above(scores_DQ, bar_Q, is_above_DQ)
        is_crowded = at_N is None
        if is_crowded:
            bar_Q = np.maximum(bar_Q, _float32_below(_best(scores_DQ, self.num_best) - 2 * error_Q))
            at_N = self._above(scores_DQ, bar_Q, is_above_DQ)
        if at_N is not None:
            self.error_Q = np.maximum(self.error_Q, error_Q)
            self._keep(at_N, scores_DQ, start)
            if is_crowded:
                self._narrow()  # raises the floor, for the next block
        return at_N is not None

    def add_exact(self, scores_DQ: np.ndarray, is_above_DQ: np.ndarray, *, start: int) -> None:
        """Keep what may be among the best of a block.

        Args:
            scores_DQ: exact scores, float32.
            is_above_DQ: memory to work in.
            start: place of the first document.
        """
        no_error_Q = np.zeros(scores_DQ.shape[1])
        if self.add(scores_DQ, no_error_Q, is_above_DQ, start=start):
            return
        self._settle()
        if self.add(scores_DQ, no_error_Q, is_above_DQ, start=start):
            return
        # Many are equal: those that come first are enough.
        first_KQ = np.argsort(-scores_DQ, axis=0, kind="stable")[: self.num_best]
        is_above_DQ[:] = False
        np.put_along_axis(is_above_DQ, first_KQ, values=True, axis=0)
        self._keep(np.flatnonzero(is_above_DQ), scores_DQ, start)

    def merge(self, other: "Candidates") -> None:
        """Take in what was kept of other documents for the same queries.

        Args:
            other: not to be used any more.
        """
        both, W = (self, other), self.keys_QW.shape[1]
        for candidates in both:
            candidates._narrow()
        if (self.count_Q + other.count_Q).max(initial=0) > W:
            for candidates in both:
                candidates._settle()
        self.keys_QW = np.sort(np.concatenate([self.keys_QW, other.keys_QW], axis=1), axis=1)[:, :W]
        self.count_Q += other.count_Q
        self.error_Q = np.maximum(self.error_Q, other.error_Q)

    def best(self) -> tuple[np.ndarray, np.ndarray]:
        """The best documents, once all have been added.

        Returns:
            scores_QK and places_QK, best first; equal scores go by place.
        """
        self._settle()
        keys_QK = self.keys_QW[:, : self.num_best]
        return _scores(keys_QK), _places(keys_QK)

    def _above(self, scores_DQ: np.ndarray, bar_Q: np.ndarray, is_above_DQ: np.ndarray) -> np.ndarray | None:
        """Where scores reach the bar; None: too often."""
        D, Q = scores_DQ.shape
        room = self.keys_QW.shape[1] - self.num_best
        if D > room and np.isneginf(bar_Q).any():
            return None
        at_N = np.flatnonzero(np.greater_equal(scores_DQ, bar_Q, out=is_above_DQ))
        return at_N if D <= room or np.bincount(at_N % Q, minlength=Q).max() <= room else None

    def _keep(self, at_N: np.ndarray, scores_DQ: np.ndarray, start: int) -> None:
        Q = scores_DQ.shape[1]
        at_N = at_N[np.argsort((at_N % Q).astype(np.uint16), kind="stable")]
        place_N, query_N = np.divmod(at_N, Q)
        added_Q = np.bincount(query_N, minlength=Q)
        if (self.count_Q + added_Q).max() > self.keys_QW.shape[1]:
            self._narrow()
            if (self.count_Q + added_Q).max() > self.keys_QW.shape[1]:
                self._settle()
        column_N = np.arange(len(at_N)) + np.repeat(self.count_Q - (np.cumsum(added_Q) - added_Q), added_Q)
        self.keys_QW[query_N, column_N] = _keys(scores_DQ.ravel()[at_N], place_N + start)
        self.count_Q += added_Q

    def _narrow(self) -> np.ndarray:
        """Sort, and drop those that K others beat for certain; gives what is left, to be changed in place."""
        keys_QV = self.keys_QW[:, : max(self.count_Q.max(initial=0), self.num_best)]
        keys_QV.sort(axis=1)
        worst_Q = _scores(keys_QV[:, self.num_best - 1])
        worst_Q[self.count_Q < self.num_best] = -np.inf
        self.floor_Q = np.maximum(self.floor_Q, worst_Q - self.error_Q)
        bar_Q = _float32_below(worst_Q - 2 * self.error_Q)
        keys_QV[keys_QV > _keys(bar_Q, LAST_PLACE)[:, None]] = NOTHING
        self.count_Q = np.count_nonzero(keys_QV != NOTHING, axis=1)
        return keys_QV[:, : max(self.count_Q.max(initial=0), self.num_best)]

    def _settle(self) -> None:
        """Keep the K best of each query, in exact order."""
        K, keys_QV = self.num_best, self._narrow()
        # Scores that differ by more than their errors are in order; so is the worst one kept, if it is exact.
        scores_QV = _scores(keys_QV)
        is_open_QV = np.zeros(scores_QV.shape, dtype=bool)
        is_open_QV[:, K - 1] = True
        with np.errstate(invalid="ignore"):
            is_clear_QU = scores_QV[:, :-1] - scores_QV[:, 1:] > 2 * self.error_Q[:, None]
        is_open_QV[:, :-1] |= ~is_clear_QU
        is_open_QV[:, 1:] |= ~is_clear_QU
        is_open_QV &= keys_QV != NOTHING
        query_N, column_N = np.divmod(np.flatnonzero(is_open_QV), keys_QV.shape[1])
        place_N = _places(keys_QV[query_N, column_N])
        keys_QV[query_N, column_N] = _keys(self.rescore(query_N, place_N), place_N)
        keys_QV.sort(axis=1)
        keys_QV[:, K:] = NOTHING
        is_full_Q = self.count_Q >= K
        # A later document with the score of the worst one would come after it.
        floor_Q = np.nextafter(_scores(keys_QV[:, K - 1]), np.float32(np.inf))
        self.floor_Q[is_full_Q] = np.maximum(self.floor_Q, floor_Q)[is_full_Q]
        self.count_Q = np.minimum(self.count_Q, K)


def _room(num_best: int) -> int:
    """W: after K candidates, about K come while the number of documents doubles."""
    return 3 * num_best + 64


def _best(scores_DQ: np.ndarray, k: int) -> np.ndarray:
    """The k-th best score of each query."""
    at = len(scores_DQ) - k
    return np.partition(scores_DQ, at, axis=0)[at]


def _float32_below(value_Q: np.ndarray) -> np.ndarray:
    """The nearest float32 that is not larger."""
    with np.errstate(over="ignore"):
        rounded_Q = value_Q.astype(np.float32)
    return np.where(rounded_Q > value_Q, np.nextafter(rounded_Q, np.float32(-np.inf)), rounded_Q)


def _keys(score_N: np.ndarray, place_N: np.ndarray | np.int64) -> np.ndarray:
    bits_N = (score_N + np.float32(0)).view(np.uint32)  # + 0 makes 0 of -0
    return _turned(bits_N).astype(np.uint64) << np.uint64(32) | np.asarray(place_N).astype(np.uint64)


def _scores(keys_N: np.ndarray) -> np.ndarray:
    return _turned((keys_N >> np.uint64(32)).astype(np.uint32)).view(np.float32)


def _places(keys_N: np.ndarray) -> np.ndarray:
    return (keys_N & np.uint64(0xFFFFFFFF)).astype(np.int64)


def _turned(bits_N: np.ndarray) -> np.ndarray:
    """From the bits of a float32 to a number that is the smaller the larger that is, and back."""
    return np.where(bits_N >> np.uint32(31), bits_N, bits_N ^ np.uint32(0x7FFFFFFF))
