"""Rows and scores in the forms that callers of sentence-transformers know.

In: arrays. Out: arrays, tensors, or lists of entries.
"""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np


def to_output(rows: np.ndarray, *, convert_to_tensor: bool, convert_to_numpy: bool) -> Any:
    """Rows as a numpy array, as a torch tensor, or (neither) as a list of tensors, as ST returns them."""
    if convert_to_tensor or not convert_to_numpy:
        import torch

        tensor = torch.from_numpy(np.ascontiguousarray(rows))
        return tensor if convert_to_tensor else list(tensor)
    return rows


def as_tensor(rows: np.ndarray) -> Any:
    """A torch tensor where torch is installed, else the array."""
    if find_spec("torch") is None:
        return rows
    import torch

    return torch.from_numpy(np.ascontiguousarray(rows))


def ranked(scores: np.ndarray, documents: Sequence[str] | None, top_k: int | None) -> list[dict[str, Any]]:
    """ST's entries for scored documents, best first; equal scores keep their order, texts come with `documents`."""
    order = np.argsort(-scores, kind="stable")[:top_k]
    entries: list[dict[str, Any]] = [{"corpus_id": int(i), "score": float(scores[i])} for i in order]
    if documents is not None:
        for entry in entries:
            entry["text"] = documents[entry["corpus_id"]]
    return entries
