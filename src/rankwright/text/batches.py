"""Batches for inference: texts of similar length together, each batch within a budget of padded tokens.

In: the lengths of all texts. Out: lists of indices; the caller puts the results back in order.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from rankwright.text.tokens import TokenBatch


def plan_batches(
    lengths: Sequence[int] | np.ndarray, *, batch_tokens: int, max_texts: int | None = None, powers_of_two: bool = False
) -> list[np.ndarray]:
    """Split texts into batches, longest first, of at most `batch_tokens` tokens counted at the longest text's length.

    Args:
        lengths: tokens of each text.
        batch_tokens: the budget; a text longer than it is a batch of its own.
        max_texts: at most so many texts in a batch; None: as many as fit.
        powers_of_two: batches of 1, 2, 4, ... texts only, for engines that compile each shape that they see.

    Returns:
        Indices of each batch; each index is in exactly one. Longest first, so that memory peaks at once.
    """
    lengths_B = np.asarray(lengths)
    order = np.argsort(-lengths_B, kind="stable")
    batches, start = [], 0
    while start < len(order):
        fit = max(1, batch_tokens // max(1, int(lengths_B[order[start]])))
        fit = min(fit, len(order) - start) if max_texts is None else min(fit, max_texts, len(order) - start)
        fit = 1 << (fit.bit_length() - 1) if powers_of_two else fit
        batches.append(order[start : start + fit])
        start += fit
    return batches


def first_alike(tokens: TokenBatch) -> np.ndarray:
    """For each text the place of the first one with the same tokens, so that equal texts are run once.

    Args:
        tokens: B texts.

    Returns:
        (B,) places; a text's own where none before it is equal.
    """
    seen: dict[bytes, int] = {}
    starts, ids, types = tokens.starts_B1.tolist(), tokens.ids_T, tokens.type_ids_T
    first = []
    for i, (start, stop) in enumerate(pairwise(starts)):
        key = ids[start:stop].tobytes()
        if types is not None:
            key += types[start:stop].tobytes()
        first.append(seen.setdefault(key, i))
    return np.asarray(first, dtype=np.int64)
