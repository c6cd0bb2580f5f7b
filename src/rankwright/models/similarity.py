"""Similarity of embeddings, by ST's four names; higher is nearer.

In: embeddings_AE, embeddings_BE. Out: all pairs (A, B), or one value for each pair of rows.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from rankwright.errors import ConfigError, ShapeError


def unit(x: np.ndarray) -> np.ndarray:
    """Rows over their L2 norm, which counts as at least 1e-12."""
    x = np.asarray(x, dtype=np.float32)
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def _euclidean(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Through dot products, in float64: float32 would lose the distance of texts that are nearly the same."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    squares = (a * a).sum(-1)[:, None] + (b * b).sum(-1)[None, :] - 2 * (a @ b.T)
    return np.asarray(-np.sqrt(np.maximum(squares, 0)))


def _manhattan(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return -np.stack([np.abs(b - row).sum(-1) for row in a]) if len(a) else np.empty((0, len(b)), np.float32)


SIMILARITIES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "cosine": lambda a, b: unit(a) @ unit(b).T,
    "dot": lambda a, b: a @ b.T,
    "euclidean": _euclidean,
    "manhattan": _manhattan,
}

PAIRWISE: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "cosine": lambda a, b: (unit(a) * unit(b)).sum(-1),
    "dot": lambda a, b: (a * b).sum(-1),
    "euclidean": lambda a, b: -np.linalg.norm(a - b, axis=-1),
    "manhattan": lambda a, b: -np.abs(a - b).sum(-1),
}


def check_similarity(name: Any) -> str:
    """The name, if it is one of `SIMILARITIES`.

    Args:
        name: the name, or ST's enumeration value for it.

    Returns:
        The name.

    Raises:
        ConfigError: it is not.
    """
    name = getattr(name, "value", name)
    if name not in SIMILARITIES:
        raise ConfigError(f"similarity={name!r}: expected one of {', '.join(SIMILARITIES)}.")
    return str(name)


def rows_of(embeddings: object) -> np.ndarray:
    """Embeddings as a float32 matrix: a vector becomes one row.

    Args:
        embeddings: an array, tensor or list of them.

    Returns:
        (N, E) float32.

    Raises:
        ShapeError: more than two axes.
    """
    if isinstance(embeddings, list) and embeddings and hasattr(embeddings[0], "detach"):
        embeddings = [row.detach().cpu().float().numpy() for row in embeddings]
    if hasattr(embeddings, "detach"):
        embeddings = embeddings.detach().cpu().float().numpy()
    rows = np.atleast_2d(np.asarray(embeddings, dtype=np.float32))
    if rows.ndim != 2:
        raise ShapeError(f"embeddings have {rows.ndim} axes, expected a vector or a matrix.")
    return rows
