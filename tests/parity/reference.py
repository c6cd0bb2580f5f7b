"""The reference: sentence-transformers 6.2.0 on the CPU in float32, and our models beside it."""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import sentence_transformers
import torch

from rankwright import BiEncoder, CrossEncoder

ENGINES = ("openvino", "torch")
FEW_AT_ONCE = 8
"""Of the hard texts few are long; in sentence-transformers' own 32 all others are padded to them."""


def st_bi_encoder(folder: Path, **options: Any) -> sentence_transformers.SentenceTransformer:
    """ST's bi-encoder of the folder, in float32 on the CPU."""
    float32 = {"dtype": torch.float32}
    return sentence_transformers.SentenceTransformer(str(folder), device="cpu", model_kwargs=float32, **options)


def st_cross_encoder(folder: Path, **options: Any) -> sentence_transformers.CrossEncoder:
    """ST's cross-encoder of the folder, in float32 on the CPU."""
    float32 = {"dtype": torch.float32}
    return sentence_transformers.CrossEncoder(str(folder), device="cpu", model_kwargs=float32, **options)


def our_bi_encoder(folder: Path, engine: str = "openvino", **options: Any) -> BiEncoder:
    """Our bi-encoder of the folder, in float32 on the CPU."""
    return BiEncoder(folder, engine=engine, dtype="float32", device="cpu", **options)


def our_cross_encoder(folder: Path, engine: str = "openvino", **options: Any) -> CrossEncoder:
    """Our cross-encoder of the folder, in float32 on the CPU."""
    return CrossEncoder(folder, engine=engine, dtype="float32", device="cpu", **options)


@lru_cache(maxsize=64)
def st_embeddings(folder: Path, texts: tuple[str, ...]) -> np.ndarray:
    """ST's embeddings of the texts, computed once for all engines."""
    return st_bi_encoder(folder).encode(list(texts), batch_size=FEW_AT_ONCE)


@lru_cache(maxsize=64)
def st_logits(folder: Path, pairs: tuple[tuple[str, str], ...]) -> np.ndarray:
    """ST's logits of the pairs, computed once for all engines."""
    reference = st_cross_encoder(folder)
    return reference.predict(list(pairs), activation_fn=torch.nn.Identity(), batch_size=FEW_AT_ONCE)
