"""Embeddings in fewer bits, as ST stores them.

In: embeddings_BE float32. Out: int8, uint8, or packed bits.
"""

import numpy as np

from rankwright.errors import ConfigError

PRECISIONS = ("float32", "int8", "uint8", "binary", "ubinary")


def quantize(embeddings_BE: np.ndarray, precision: str, *, ranges_2E: np.ndarray | None = None) -> np.ndarray:
    """Embeddings in a smaller type.

    Args:
        embeddings_BE: float32.
        precision: one of `PRECISIONS`. "binary" and "ubinary" keep the sign of each dimension, 8 to a byte.
        ranges_2E: smallest and largest value of each dimension, for "int8" and "uint8".

    Returns:
        (B, E) int8 or uint8, or (B, E / 8) int8 (binary) or uint8 (ubinary).

    Raises:
        ConfigError: an unknown precision, or int8 without ranges for fewer than 2 rows: a range taken from one row is
            empty, and every value would become the same.

    Source:
        sentence-transformers 6.2.0, util/quantization.py (behaviour).
    """
    if precision not in PRECISIONS:
        raise ConfigError(f"precision={precision!r}: expected one of {', '.join(PRECISIONS)}.")
    if precision == "float32":
        return embeddings_BE
    if precision in ("binary", "ubinary"):
        bits = np.packbits(embeddings_BE > 0, axis=-1)
        return bits if precision == "ubinary" else (bits.astype(np.int16) - 128).astype(np.int8)
    if ranges_2E is None:
        if len(embeddings_BE) < 2:
            raise ConfigError(
                f"precision={precision!r} for {len(embeddings_BE)} text needs ranges=(2, size): the smallest and "
                "largest value of each dimension over your documents, such as np.stack([e.min(0), e.max(0)])."
            )
        ranges_2E = np.stack([embeddings_BE.min(0), embeddings_BE.max(0)])
    low, high = np.asarray(ranges_2E, dtype=np.float32)
    step = (high - low) / 255
    levels = np.clip(np.floor((embeddings_BE - low) / np.where(step == 0, 1, step)), 0, 255)
    return levels.astype(np.uint8) if precision == "uint8" else (levels - 128).astype(np.int8)


def dequantize(levels_BE: np.ndarray, ranges_2E: np.ndarray, *, out_BE: np.ndarray | None = None) -> np.ndarray:
    """The numbers that int8 or uint8 embeddings stand for: the middle of the step that each was rounded down to.

    Args:
        levels_BE: what `quantize` gave.
        ranges_2E: smallest and largest value of each dimension, as `quantize` took them.
        out_BE: where to write the result, in its type; None: a new float32 array.

    Returns:
        (B, E).

    Raises:
        ConfigError: the embeddings are not int8 or uint8.

    >>> embeddings_BE = np.array([[-1.0, 0.5], [1.0, 0.0]], np.float32)
    >>> ranges_2E = np.stack([embeddings_BE.min(0), embeddings_BE.max(0)])
    >>> dequantize(quantize(embeddings_BE, "int8", ranges_2E=ranges_2E), ranges_2E).round(2)
    array([[-1. ,  0.5],
           [ 1. ,  0. ]], dtype=float32)
    """
    if levels_BE.dtype not in (np.int8, np.uint8):
        raise ConfigError(f"ranges are for int8 and uint8 embeddings, got {levels_BE.dtype}: leave them out.")
    out_BE = np.empty(levels_BE.shape, np.float32) if out_BE is None else out_BE
    low_E, high_E = np.asarray(ranges_2E, dtype=out_BE.dtype)
    step_E = (high_E - low_E) / 255
    np.multiply(levels_BE, step_E, out=out_BE)
    out_BE += low_E + step_E * (128.5 if levels_BE.dtype == np.int8 else 0.5)
    return out_BE
