"""A packed batch as the padded arrays that a graph takes.

In: `TokenBatch`. Out: arrays by the graph's input names. Letters: B texts, L padded tokens.
"""

import numpy as np

from rankwright.text import TokenBatch

LENGTH_MULTIPLE = 8
"""Each new shape costs 5 to 25 ms once and keeps about 0.9 MB: lengths are rounded up to this."""


def padded_inputs(batch: TokenBatch, names: list[str]) -> dict[str, np.ndarray]:
    """The graph's inputs, padded to the longest text rounded up to `LENGTH_MULTIPLE`.

    Args:
        batch: B texts.
        names: the inputs that the graph has.

    Returns:
        (B, L) arrays by name, where padding has position 0, type 0 and id 0, and is masked everywhere; or, for a
        model without a transformer, the ids packed and the texts' offsets.
    """
    longest = max(int(batch.lengths_B.max(initial=1)), 1)
    length = -(-longest // LENGTH_MULTIPLE) * LENGTH_MULTIPLE
    is_token_BL = token_places(batch, length)
    arrays: dict[str, np.ndarray] = {}
    for name in names:
        if name == "packed":  # a last bag of one token, for OpenVINO refuses a text without tokens at the end
            arrays[name] = np.append(batch.ids_T, np.int32(0))
        elif name == "starts":
            arrays[name] = batch.starts_B1
        elif name == "mask":
            arrays[name] = is_token_BL.astype(np.float32)
        elif name == "pooled":
            arrays[name] = (is_token_BL & (np.arange(length) >= batch.prompt_length)).astype(np.float32)
        else:
            values_T = {"ids": batch.ids_T, "positions": batch.position_ids_T, "types": batch.type_ids_T}[name]
            padded_BL = np.zeros(is_token_BL.shape, dtype=np.int32)
            padded_BL[is_token_BL] = 0 if values_T is None else values_T
            arrays[name] = padded_BL
    return arrays


def token_places(batch: TokenBatch, length: int) -> np.ndarray:
    """(B, L): where a padded batch holds tokens."""
    return np.arange(length) < batch.lengths_B[:, None]
