"""Batch: texts to packed token batches.

In: texts or pairs of texts. Does: prompts, tokenisation, truncation. Out: `TokenBatch` and a truncation report.
"""

from rankwright.text.batches import first_alike, plan_batches
from rankwright.text.tokens import TokenBatch, Truncation

__all__ = ["TokenBatch", "Truncation", "first_alike", "plan_batches"]
