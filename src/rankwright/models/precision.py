"""Embeddings in fewer bits, as ST stores them.

In: embeddings_BE float32, and for int8 the range of each dimension. Out: int8, uint8, or packed bits.
"""

import warnings
from pathlib import Path
from typing import Any

import numpy as np

from rankwright.errors import ConfigError, DataError

PRECISIONS = ("float32", "int8", "uint8", "binary", "ubinary")

LEVELS = ("int8", "uint8")
"""Precisions of 256 levels between the smallest and the largest value of each dimension."""

_EXPECTED = (
    "the smallest and largest value of each dimension over your documents, such as np.stack([e.min(0), e.max(0)])"
)


def quantize(embeddings_BE: np.ndarray, precision: str, *, ranges_2E: np.ndarray | None = None) -> np.ndarray:
    """Embeddings in a smaller type.

    Args:
        embeddings_BE: float32.
        precision: one of `PRECISIONS`. "binary" and "ubinary" keep the sign of each dimension, 8 to a byte.
        ranges_2E: smallest and largest value of each dimension, for "int8" and "uint8"; None: of these rows.

    Returns:
        (B, E) int8 or uint8, or (B, E / 8) int8 (binary) or uint8 (ubinary).

    Source:
        sentence-transformers 6.2.0, util/quantization.py (behaviour).
    """
    if precision == "float32":
        return embeddings_BE
    if precision not in LEVELS:
        bits = np.packbits(embeddings_BE > 0, axis=-1)
        return bits if precision == "ubinary" else (bits.astype(np.int16) - 128).astype(np.int8)
    if not len(embeddings_BE):
        return embeddings_BE.astype(precision)
    low, high = ranges_of(embeddings_BE, precision) if ranges_2E is None else ranges_2E
    step = (high - low) / 255
    levels = np.clip(np.floor((embeddings_BE - low) / np.where(step == 0, 1, step)), 0, 255)
    return levels.astype(np.uint8) if precision == "uint8" else (levels - 128).astype(np.int8)


def ranges_of(embeddings_BE: np.ndarray, precision: str) -> np.ndarray:
    """The smallest and the largest value of each dimension.

    Args:
        embeddings_BE: float32.
        precision: what they are for.

    Returns:
        (2, E) float32.

    Raises:
        ConfigError: fewer than 2 rows: the range of one is empty, and every value would become the same.
    """
    if len(embeddings_BE) < 2:
        raise ConfigError(
            f"precision={precision!r} for {len(embeddings_BE)} text needs ranges=(2, size): {_EXPECTED}. "
            "`rankwright encode` writes them beside the documents, and takes them with --ranges."
        )
    return np.stack([embeddings_BE.min(0), embeddings_BE.max(0)])


def check_precision(precision: str, ranges: Any, size: int) -> np.ndarray | None:
    """Refuse a precision and ranges that do not fit the embeddings.

    Args:
        precision: one of `PRECISIONS`.
        ranges: what the caller passed; None: nothing.
        size: dimensions of an embedding.

    Returns:
        (2, size) float32, or None.

    Raises:
        ConfigError: an unknown precision, or ranges that say nothing or something impossible.
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"precision={precision!r}: expected one of {', '.join(PRECISIONS)}.")
    if ranges is None:
        return None
    if precision not in LEVELS:
        raise ConfigError(
            f"ranges= has no effect with precision={precision!r}, only with int8 and uint8. Leave it out."
        )
    try:
        ranges_2E = np.asarray(ranges, dtype=np.float32)
    except (TypeError, ValueError) as err:
        raise ConfigError(f"ranges={ranges!r:.80}: expected an array (2, {size}) of numbers: {_EXPECTED}.") from err
    if ranges_2E.shape != (2, size):
        raise ConfigError(f"ranges have the shape {ranges_2E.shape}, expected (2, {size}): {_EXPECTED}.")
    wrong = ~(np.isfinite(ranges_2E).all(0) & (ranges_2E[0] <= ranges_2E[1]))
    if wrong.any():
        i = int(wrong.argmax())
        raise ConfigError(
            f"ranges of dimension {i} are from {ranges_2E[0, i]:g} to {ranges_2E[1, i]:g}, "
            f"expected two finite numbers, the smaller first: {_EXPECTED}."
        )
    return ranges_2E


def warn_of_bits(precision: str, width: int, size: int) -> None:
    """Say where levels will be taken for packed bits, which have the same type.

    Args:
        precision: one of `PRECISIONS`.
        width: of the embeddings.
        size: of those that the model gives unless a call says otherwise.
    """
    if precision in LEVELS and width != size and width == -(-size // 8):
        warnings.warn(
            f"{precision} embeddings of {width} numbers look like {size} bits, and similarity() will take them for "
            f"those. Set the model's truncate_dim = {width} instead of passing it to encode().",
            stacklevel=3,
        )


def ranges_path(embeddings: Path) -> Path:
    """Where the ranges of a file of embeddings are: docs.npy has docs.ranges.npy."""
    return embeddings.with_suffix(".ranges.npy")


def read_ranges(path: Path) -> np.ndarray:
    """The array of a file that `rankwright encode` wrote beside embeddings.

    Args:
        path: the file.

    Returns:
        The array, as it is.

    Raises:
        DataError: no such file, or none of this kind.
    """
    expected = "expected a .ranges.npy file that `rankwright encode --precision int8` wrote"
    try:
        return np.asarray(np.load(path, allow_pickle=False))
    except FileNotFoundError as err:
        raise DataError(f"{path}: there is no such file; {expected}.") from err
    except (OSError, ValueError, EOFError) as err:
        raise DataError(f"{path}: {str(err).splitlines()[0]}; {expected}.") from err


def dequantize(levels_BE: np.ndarray, ranges_2E: np.ndarray, *, out_BE: np.ndarray | None = None) -> np.ndarray:
    """The numbers that int8 or uint8 embeddings stand for: the middle of the step that each was rounded down to.

    Args:
        levels_BE: what `quantize` gave.
        ranges_2E: smallest and largest value of each dimension, as `quantize` took them.
        out_BE: where to write the result, in its type; None: a new float32 array.

    Returns:
        (B, E).

    >>> embeddings_BE = np.array([[-1.0, 0.5], [1.0, 0.0]], np.float32)
    >>> ranges_2E = np.stack([embeddings_BE.min(0), embeddings_BE.max(0)])
    >>> dequantize(quantize(embeddings_BE, "int8", ranges_2E=ranges_2E), ranges_2E).round(2)
    array([[-1. ,  0.5],
           [ 1. ,  0. ]], dtype=float32)
    """
    out_BE = np.empty(levels_BE.shape, np.float32) if out_BE is None else out_BE
    step_E, middle_E = steps(np.asarray(ranges_2E, dtype=out_BE.dtype), levels_BE.dtype)
    np.multiply(levels_BE, step_E, out=out_BE)
    out_BE += middle_E
    return out_BE


def steps(ranges_2E: np.ndarray, dtype: np.dtype) -> tuple[np.ndarray, np.ndarray]:
    """What turns levels into numbers: number = level * step + middle.

    Args:
        ranges_2E: smallest and largest value of each dimension.
        dtype: of the levels.

    Returns:
        step_E, and middle_E, which is what level 0 stands for.

    Raises:
        ConfigError: the type is not int8 or uint8.
    """
    if dtype not in (np.int8, np.uint8):
        raise ConfigError(f"ranges are for int8 and uint8 embeddings, got {dtype}: leave them out.")
    low_E, high_E = ranges_2E
    step_E = (high_E - low_E) / 255
    return step_E, low_E + step_E * (128.5 if dtype == np.int8 else 0.5)
