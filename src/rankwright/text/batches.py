"""Batches for inference: texts of similar length together, each batch within a budget of padded tokens.

In: the lengths of all texts. Out: lists of indices; the caller puts the results back in order.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from rankwright.text.tokens import TokenBatch

TOKENS_PER_BATCH = 128
"""What a batch costs whatever is in it, in tokens."""


def plan_batches(
    lengths: Sequence[int] | np.ndarray, *, batch_tokens: int, max_texts: int | None = None, powers_of_two: bool = False
) -> list[np.ndarray]:
    """Split texts into batches, longest first, of at most `batch_tokens` tokens counted at the longest text's length.

    Args:
        lengths: tokens of each text.
        batch_tokens: the budget; a text longer than it is a batch of its own.
        max_texts: at most so many texts in a batch; None: as many as fit.
        powers_of_two: batches of 1, 2, 4, ... texts only, for engines that pad, and compile each shape that they see.
            Of all such plans it is the one with the fewest padded tokens, where a batch itself counts as
            `TOKENS_PER_BATCH`. Else each batch is as full as it can be.

    Returns:
        Indices of each batch; each index is in exactly one. Longest first, so that memory peaks at once.
    """
    lengths_B = np.asarray(lengths)
    order = np.argsort(-lengths_B, kind="stable")
    room_B = np.maximum(1, batch_tokens // np.maximum(1, lengths_B[order]))
    room_B = np.minimum(room_B, len(order) - np.arange(len(order)))
    room_B = room_B if max_texts is None else np.minimum(room_B, max_texts)
    sizes_B = _least_padding(lengths_B[order].tolist(), room_B.tolist()) if powers_of_two else room_B
    batches, start = [], 0
    while start < len(order):
        batches.append(order[start : start + sizes_B[start]])
        start += sizes_B[start]
    return batches


def _least_padding(lengths_B: Sequence[int], room_B: Sequence[int]) -> list[int]:
    """For each place, the size of the batch that starts there in the best plan from there on.

    The best plan from a place is the cheapest of: a batch of any size, then the best plan from where it ends.

    Args:
        lengths_B: tokens, longest first.
        room_B: the largest batch that may start at each place.

    Returns:
        Powers of two.
    """
    costs_B = [0] * (len(lengths_B) + 1)
    sizes_B = [1] * len(lengths_B)
    for start in range(len(lengths_B) - 1, -1, -1):
        length, size = lengths_B[start], 1
        least = TOKENS_PER_BATCH + length + costs_B[start + 1]
        while 2 * size <= room_B[start]:
            size *= 2
            cost = TOKENS_PER_BATCH + size * length + costs_B[start + size]
            if cost <= least:
                least, sizes_B[start] = cost, size
        costs_B[start] = least
    return sizes_B


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
