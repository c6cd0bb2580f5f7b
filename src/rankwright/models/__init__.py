"""Model: checkpoints to bi-encoders and cross-encoders, and back.

In: a folder or Hub name. Does: spec, weights, tokenizer, engine. Out: `embeddings_BE` or `scores_B`; checkpoints.
"""

from rankwright.models.bi_encoder import BiEncoder
from rankwright.models.cross_encoder import CrossEncoder

__all__ = ["BiEncoder", "CrossEncoder"]
