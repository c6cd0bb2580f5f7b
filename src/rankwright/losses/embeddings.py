"""Losses of a bi-encoder: how well queries find their documents among those of the batch.

In: queries_BE and documents_CE. Out: a scalar. Letters: B queries, C documents (the B positives first), E embedding.
"""

import warnings
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from rankwright.errors import ShapeError, ValueRangeError

DIRECTIONS = ("query_to_document", "document_to_query")


def multiple_negatives_ranking(
    queries_BE: Float[Tensor, "B E"],
    documents_CE: Float[Tensor, "C E"],
    *,
    temperature: float = 0.05,
    directions: Sequence[str] = ("query_to_document",),
    ignore_BC: Bool[Tensor, "B C"] | None = None,
) -> Float[Tensor, ""]:
    """Cross-entropy of each query's own document among all documents of the batch; also called InfoNCE.

    Document i is the positive of query i; documents B..C-1 are negatives of all. In the direction document_to_query
    each positive looks for its query among the queries; with both directions the loss is their mean.

    Args:
        queries_BE: embeddings of any norm; cosine is taken here.
        documents_CE: the B positives first, then the C - B extra negatives.
        temperature: divides the cosine; 0.05 is sentence-transformers' scale of 20.
        directions: one or both of "query_to_document" and "document_to_query".
        ignore_BC: True where a document must not count as negative of a query (a known false negative).

    Returns:
        Mean over the queries, in nats.

    Raises:
        ShapeError: fewer documents than queries.
        ValueRangeError: temperature <= 0, or a direction that is none.

    Source:
        van den Oord et al. 2018, eq. 4, https://arxiv.org/abs/1807.03748; both directions: Radford et al. 2021,
        figure 3, https://arxiv.org/abs/2103.00020

    Example:
        >>> import torch
        >>> multiple_negatives_ranking(torch.eye(2), torch.eye(2), temperature=1.0)
        tensor(0.3133)
    """
    num_queries, num_documents = len(queries_BE), len(documents_CE)
    if num_documents < num_queries:
        raise ShapeError(
            f"multiple_negatives_ranking needs a positive for each query: "
            f"got {num_queries} queries, {num_documents} documents."
        )
    if temperature <= 0:
        raise ValueRangeError(f"temperature must be > 0, got {temperature}.")
    if not directions or not set(directions) <= set(DIRECTIONS):
        raise ValueRangeError(f"directions must be one or both of {', '.join(DIRECTIONS)}, got {list(directions)}.")
    scores_BC = F.normalize(queries_BE, dim=-1) @ F.normalize(documents_CE, dim=-1).T / temperature
    if ignore_BC is not None:
        positive_BC = torch.eye(num_queries, num_documents, dtype=torch.bool, device=scores_BC.device)
        scores_BC = scores_BC.masked_fill(ignore_BC & ~positive_BC, -torch.inf)
    own_B = torch.arange(num_queries, device=scores_BC.device)
    scores = {"query_to_document": scores_BC, "document_to_query": scores_BC[:, :num_queries].T}
    return torch.stack([F.cross_entropy(scores[direction], own_B) for direction in directions]).mean()


def matryoshka(
    loss: Callable[[Tensor, Tensor], Tensor], dims: Sequence[int], *, weights: Sequence[float] = ()
) -> Callable[[Tensor, Tensor], Tensor]:
    """Make a loss that is taken at several embedding sizes: cut, divide by the L2 norm, weigh, add.

    Args:
        loss: any function of queries_BE and documents_CE.
        dims: the sizes, in any order; the full one should be among them.
        weights: one for each size, in the order of `dims`; empty: 1 each.

    Returns:
        A function of queries_BE and documents_CE. It warns once if the full size is not among `dims`, and raises
        ShapeError where a size is larger than the embeddings.

    Raises:
        ShapeError: no sizes, or not one weight for each.
        ValueRangeError: a size <= 0.

    Source:
        Kusupati et al. 2022, eq. 1, https://arxiv.org/abs/2205.13147

    Example:
        >>> import torch
        >>> twice = matryoshka(multiple_negatives_ranking, [2, 1])
        >>> twice(torch.eye(2), torch.eye(2)) > multiple_negatives_ranking(torch.eye(2), torch.eye(2))
        tensor(True)
    """
    weights = weights or [1.0] * len(dims)
    if not dims or len(weights) != len(dims):
        raise ShapeError(
            f"matryoshka needs sizes and one weight for each, got sizes {list(dims)}, {len(weights)} weights."
        )
    if min(dims) <= 0:
        raise ValueRangeError(f"matryoshka sizes must be > 0, got {list(dims)}.")
    largest_first = sorted(zip(dims, weights, strict=True), reverse=True)

    def at_every_size(queries_BE: Float[Tensor, "B E"], documents_CE: Float[Tensor, "C E"]) -> Float[Tensor, ""]:
        size = queries_BE.shape[1]
        if largest_first[0][0] > size:
            raise ShapeError(f"matryoshka size {largest_first[0][0]} is larger than the embeddings, which have {size}.")
        if largest_first[0][0] < size:
            warnings.warn(
                f"The full embedding size {size} is not among the matryoshka sizes {list(dims)}, so it is not trained.",
                stacklevel=2,
            )
        total = queries_BE.new_zeros(())
        for dim, weight in largest_first:
            queries_BD, documents_CD = (
                F.normalize(queries_BE[:, :dim], dim=-1),
                F.normalize(documents_CE[:, :dim], dim=-1),
            )
            total = total + weight * loss(queries_BD, documents_CD)
        return total

    return at_every_size
