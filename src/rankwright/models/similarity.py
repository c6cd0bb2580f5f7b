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
    if not isinstance(name, str) or name not in SIMILARITIES:
        raise ConfigError(f"similarity={name!r}: expected one of {', '.join(SIMILARITIES)}.")
    return str(name)


def rows_of(embeddings: object, size: int | None = None) -> np.ndarray:
    """Embeddings as a float32 matrix: a vector becomes one row, packed bits become signs.

    Levels (int8, uint8) are taken as the numbers that they are, as in ST. Their similarities are near those of the
    embeddings where all dimensions have one range, symmetric around 0 (LOG.md).

    Args:
        embeddings: an array, tensor or list of them.
        size: dimensions of the embeddings; bytes that are an eighth as many are bits. None: nothing is packed.

    Returns:
        (N, E) float32; -1 and 1 for the bits of "binary" and "ubinary".

    Raises:
        ShapeError: more than two axes, or bytes that are neither levels nor bits of embeddings of this size.
    """
    rows = np.atleast_2d(array_of(embeddings))
    if rows.ndim != 2:
        raise ShapeError(f"embeddings have {rows.ndim} axes, expected a vector or a matrix.")
    if size is not None and rows.dtype in (np.int8, np.uint8) and rows.shape[1] != size:
        return _signs_of(rows, size)
    return rows.astype(np.float32)


def array_of(embeddings: Any) -> np.ndarray:
    """Embeddings as an array of the same numbers.

    Args:
        embeddings: an array (also one in a file), a tensor, or a list of rows.

    Returns:
        The array itself where it is one; of a tensor in half precision, which numpy has not, float32.
    """
    if isinstance(embeddings, np.ndarray):
        return embeddings
    if hasattr(embeddings, "detach"):
        tensor = embeddings.detach().cpu()
        array: np.ndarray = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
        return array
    if isinstance(embeddings, list) and embeddings and hasattr(embeddings[0], "detach"):
        return np.stack([array_of(row) for row in embeddings])
    return np.asarray(embeddings)


def _signs_of(rows: np.ndarray, size: int) -> np.ndarray:
    """-1 and 1 for packed bits: the distances and products of these are those of the bits."""
    width = -(-size // 8)
    if rows.shape[1] != width:
        raise ShapeError(
            f"{rows.dtype} embeddings are {rows.shape[1]} wide, expected {size} (precision int8 or uint8) or {width} "
            "(binary or ubinary). If they were truncated, set the model's truncate_dim to what encode was given."
        )
    bits = (rows.astype(np.int16) + 128).astype(np.uint8) if rows.dtype == np.int8 else rows
    return np.unpackbits(bits, axis=-1, count=size).astype(np.float32) * 2 - 1
