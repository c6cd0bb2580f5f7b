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
