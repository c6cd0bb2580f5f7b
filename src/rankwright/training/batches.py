"""Rows of the training data to what one forward pass takes.

In: rows, in the order of the plan. Does: tokenisation, prompts. Out: `TokenBatch` and targets.
Letters: B rows, C documents (the B positives first), E embedding, T tokens.
"""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from rankwright.errors import ConfigError
from rankwright.records import LabelledPair, PositivePair
from rankwright.text import TokenBatch


class Tokenize(Protocol):
    """`tokenize` of both model classes."""

    def __call__(self, texts: Sequence[str | tuple[str, str]], prompt: str = "") -> TokenBatch:
        """Texts (or pairs) as one packed batch."""


class LabelledBatches:
    """Batches of a cross-encoder: query and document together as one sequence; the targets are the labels.

    Args:
        rows: the training data.
        tokenize: of the model.
        prompt: put before each query.
        integer_labels: whether labels are classes.
    """

    def __init__(
        self, rows: Sequence[LabelledPair], tokenize: Tokenize, *, prompt: str = "", integer_labels: bool = False
    ) -> None:
        self.rows, self.tokenize, self.prompt = rows, tokenize, prompt
        self.dtype = torch.int64 if integer_labels else torch.float32

    def __call__(self, rows_B: np.ndarray) -> tuple[TokenBatch, Tensor]:
        """The pairs of these rows, and labels_B."""
        rows = [self.rows[i] for i in rows_B.tolist()]
        tokens = self.tokenize([row.texts for row in rows], prompt=self.prompt)
        return tokens, torch.tensor([row.label for row in rows]).to(self.dtype)


class PositiveBatches:
    """Batches of a bi-encoder: queries, positives, then all negatives, in one forward pass; the target is B.

    Args:
        rows: the training data.
        tokenize: of the model.
        query_prompt: put before each query.
        document_prompt: put before each positive and negative.
    """

    def __init__(
        self, rows: Sequence[PositivePair], tokenize: Tokenize, *, query_prompt: str = "", document_prompt: str = ""
    ) -> None:
        self.rows, self.tokenize = rows, tokenize
        self.query_prompt, self.document_prompt = query_prompt, document_prompt

    def __call__(self, rows_B: np.ndarray) -> tuple[TokenBatch, int]:
        """The texts of these rows, and how many of them are queries."""
        rows = [self.rows[i] for i in rows_B.tolist()]
        documents = [row.positive for row in rows] + [text for row in rows for text in row.negatives]
        queries = self.tokenize([row.query for row in rows], prompt=self.query_prompt)
        return join(queries, self.tokenize(documents, prompt=self.document_prompt)), len(rows)


def of_embeddings(loss: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, int], Tensor]:
    """A loss of queries_BE and documents_CE as one of what a forward pass over `PositiveBatches` gives."""
    return lambda embeddings, num_queries: loss(embeddings[:num_queries], embeddings[num_queries:])


def join(first: TokenBatch, second: TokenBatch) -> TokenBatch:
    """Two batches as one.

    Args:
        first: its texts come first.
        second: of the same tokenizer.

    Returns:
        All texts, packed.

    Raises:
        ConfigError: pooling leaves the prompts out, and they are of different lengths.
    """
    if first.prompt_length != second.prompt_length:
        raise ConfigError(
            f"The prompts of queries and documents have {first.prompt_length} and {second.prompt_length} tokens, and "
            "pooling leaves them out (include_prompt = false): a batch takes one length. Give both the same prompt."
        )
    type_ids = [batch.type_ids_T for batch in (first, second) if batch.type_ids_T is not None]
    return TokenBatch(
        ids_T=np.concatenate([first.ids_T, second.ids_T]),
        position_ids_T=np.concatenate([first.position_ids_T, second.position_ids_T]),
        starts_B1=np.concatenate([first.starts_B1, first.starts_B1[-1] + second.starts_B1[1:]]),
        type_ids_T=np.concatenate(type_ids) if type_ids else None,
        prompt_length=first.prompt_length,
    )
