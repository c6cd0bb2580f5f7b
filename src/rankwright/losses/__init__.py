"""Loss: embeddings or scores and labels to one scalar; pure functions of tensors.

In: logits_BN and labels, or queries_BE and documents_CE. Does: the formula in the docstring. Out: a scalar, in nats
where it is a cross-entropy. A new loss is a function here and a line in `LOSSES`; what else must know it is in
ARCHITECTURE.md.
"""

from collections.abc import Callable

from torch import Tensor

from rankwright.losses.embeddings import matryoshka, multiple_negatives_ranking
from rankwright.losses.scores import binary_cross_entropy, cross_entropy, mean_squared_error

LOSSES: dict[str, Callable[..., Tensor]] = {
    "binary_cross_entropy": binary_cross_entropy,
    "cross_entropy": cross_entropy,
    "mean_squared_error": mean_squared_error,
    "multiple_negatives_ranking": multiple_negatives_ranking,
}

__all__ = [
    "LOSSES",
    "binary_cross_entropy",
    "cross_entropy",
    "matryoshka",
    "mean_squared_error",
    "multiple_negatives_ranking",
]
