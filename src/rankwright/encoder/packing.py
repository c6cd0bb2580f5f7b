"""Where each text of a packed batch stands for attention: groups of similar length, padded inside the group only.

In: offsets of the texts. Out: `AttentionGroups`. Letters: P rows of all padded groups, T packed rows.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class AttentionGroups:
    """Rows to gather for attention, and to gather back.

    Attributes:
        gather_P: packed row of each padded row (padding repeats the text's first row).
        scatter_T: padded row of each packed row.
        shapes: (texts, length) of each group; their products sum to P.
        lengths: tokens of each text in each group; all equal to the group's length where nothing is padded.
        texts: index of the texts of each group.
    """

    gather_P: np.ndarray
    scatter_T: np.ndarray
    shapes: list[tuple[int, int]]
    lengths: list[np.ndarray]
    texts: list[np.ndarray]


def group_by_length(starts_B1: np.ndarray, *, ratio: float = 1.15, max_scores: int = 1 << 20) -> AttentionGroups:
    """Group texts whose lengths differ by at most `ratio`.

    Args:
        starts_B1: offsets of the texts.
        ratio: longest over shortest in a group. 1.15 was best for training on CPU (groups of one length lose to
            small matrix products, wider groups to padding).
        max_scores: attention scores (texts x length^2) of a group at most, so that they stay in cache.

    Returns:
        The groups.
    """
    lengths_B = np.diff(starts_B1)
    order = np.argsort(-lengths_B, kind="stable")
    gathers, shapes, lengths, texts = [], [], [], []
    scatter_T = np.empty(int(starts_B1[-1]), dtype=np.int64)
    start, padded = 0, 0
    while start < len(order):
        longest = int(lengths_B[order[start]])
        most = max(1, max_scores // max(1, longest * longest))
        stop = start + 1
        while stop < len(order) and stop - start < most and lengths_B[order[stop]] * ratio >= longest:
            stop += 1
        rows = order[start:stop]
        own, column = lengths_B[rows][:, None], np.arange(longest)[None, :]
        is_token = column < own
        index = np.where(is_token, starts_B1[rows][:, None] + column, starts_B1[rows][:, None])
        scatter_T[index[is_token]] = padded + np.flatnonzero(is_token)
        gathers.append(index.ravel())
        shapes.append((len(rows), longest))
        lengths.append(lengths_B[rows])
        texts.append(rows)
        padded += index.size
        start = stop
    gather_P = np.concatenate(gathers) if gathers else np.empty(0, dtype=np.int64)
    return AttentionGroups(gather_P.astype(np.int64), scatter_T, shapes, lengths, texts)
