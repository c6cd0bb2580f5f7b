"""How much of many texts an engine takes at a time: each engine has a pace of its own."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Pace:
    """How a device is kept busy with many texts, and how much of them is in memory at a time."""

    batch_tokens: int
    """Padded tokens of a batch at most, where nobody says otherwise."""
    batches: int
    """Batches that run at the same time."""
    chunk_texts: int = 8192
    """Texts that are tokenised, and put in batches by their lengths, at a time."""
    chunks_ahead: int = 1
    """Chunks that are tokenised while one runs."""
