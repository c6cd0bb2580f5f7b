"""The packed token batch: the texts of a batch one after the other, without padding.

In: token ids of each text. Out: `TokenBatch`. Letters: T tokens of all texts, B texts, B1 = B + 1 offsets.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

Text = str | tuple[str, str]
"""What a model reads: a text, or a pair of them."""


@dataclass(frozen=True)
class TokenBatch:
    """The tokens of B texts (or pairs): text i is `ids_T[starts_B1[i] : starts_B1[i + 1]]`.

    Attributes:
        ids_T: token ids, int32.
        position_ids_T: rows of the position table, int32.
        starts_B1: offsets, int32; the first is 0 and the last is T.
        type_ids_T: 0 for the first text of a pair and 1 for the second, int32; None where the model takes none.
        prompt_length: how many first tokens of each text are the prompt's, where pooling must leave them out.
    """

    ids_T: np.ndarray
    position_ids_T: np.ndarray
    starts_B1: np.ndarray
    type_ids_T: np.ndarray | None = None
    prompt_length: int = 0

    def __len__(self) -> int:
        return len(self.starts_B1) - 1

    @property
    def num_tokens(self) -> int:
        """T, special tokens included."""
        return len(self.ids_T)

    @property
    def lengths_B(self) -> np.ndarray:
        """Tokens of each text."""
        return np.diff(self.starts_B1)

    def select(self, rows: Sequence[int] | np.ndarray) -> "TokenBatch":
        """The batch of these texts, in this order."""
        rows_B = np.asarray(rows, dtype=np.int64)
        lengths_B = self.lengths_B[rows_B]
        starts_B1 = np.concatenate([[0], np.cumsum(lengths_B)])
        offsets_B = self.starts_B1[rows_B] - starts_B1[:-1]
        index_T = np.arange(starts_B1[-1]) + np.repeat(offsets_B, lengths_B)
        return TokenBatch(
            ids_T=self.ids_T[index_T],
            position_ids_T=self.position_ids_T[index_T],
            starts_B1=starts_B1.astype(np.int32),
            type_ids_T=None if self.type_ids_T is None else self.type_ids_T[index_T],
            prompt_length=self.prompt_length,
        )


@dataclass(frozen=True)
class Truncation:
    """What the maximum length cost: of `num_texts` texts (or pairs), `num_truncated` lost `tokens_lost` tokens.

    With `at_least` they may have lost more: what is far behind the maximum was not tokenised.
    """

    num_texts: int = 0
    num_truncated: int = 0
    tokens_lost: int = 0
    at_least: bool = False

    def __add__(self, other: "Truncation") -> "Truncation":
        return Truncation(
            self.num_texts + other.num_texts,
            self.num_truncated + other.num_truncated,
            self.tokens_lost + other.tokens_lost,
            self.at_least or other.at_least,
        )


def pack(
    ids_B: Sequence[Sequence[int]],
    type_ids_B: Sequence[Sequence[int]] | None,
    *,
    position_ids_start: int | None = None,
    prompt_length: int = 0,
) -> TokenBatch:
    """Lists of ids to one packed batch, positions made.

    Args:
        ids_B: token ids of each text.
        type_ids_B: type ids of each text, or None.
        position_ids_start: the pad id where positions count the tokens that are not padding from it (RoBERTa: also a
            literal `<pad>` in the text does not count, and gets the pad id as its position); None: from 0.
        prompt_length: kept in the batch.

    Returns:
        The batch.
    """
    lengths_B = np.fromiter(map(len, ids_B), dtype=np.int64, count=len(ids_B))
    starts_B1 = np.concatenate([[0], np.cumsum(lengths_B)])
    total = int(starts_B1[-1])
    ids_T = np.fromiter(chain.from_iterable(ids_B), dtype=np.int32, count=total)
    position_T = np.arange(total) - np.repeat(starts_B1[:-1], lengths_B)
    if position_ids_start is not None:
        counts_T = ids_T != position_ids_start
        running_T1 = np.concatenate([[0], np.cumsum(counts_T)])
        before_T = np.repeat(running_T1[starts_B1[:-1]], lengths_B)
        position_T = (running_T1[1:] - before_T) * counts_T + position_ids_start
    types_T = None
    if type_ids_B is not None:
        types_T = np.fromiter(chain.from_iterable(type_ids_B), dtype=np.int32, count=total)
    return TokenBatch(ids_T, position_T.astype(np.int32), starts_B1.astype(np.int32), types_T, prompt_length)
