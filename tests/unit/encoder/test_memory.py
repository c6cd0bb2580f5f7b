"""Many batches of many sizes: what the process holds does not grow with them."""

import gc
import random
from pathlib import Path
from typing import Any

import pytest

from rankwright import BiEncoder
from tests.texts import random_texts

STATUS = Path("/proc/self/statm")
MOST_GROWTH_MB = 8
"""Keeping one token state of each batch would leave 30."""


def resident_mb() -> float:
    """Memory of this process that is in RAM."""
    gc.collect()
    return int(STATUS.read_text().split()[1]) * 4096 / 1e6


@pytest.mark.skipif(not STATUS.exists(), reason="resident memory is read as Linux gives it")
@pytest.mark.parametrize("engine", ["openvino", "torch"])
def test_memory_stays_flat_over_300_batches_of_random_sizes(tiny: Any, engine: str) -> None:
    model = BiEncoder(tiny.bi_encoder("bert"), engine=engine, dtype="float32")
    draw = random.Random(0)
    # A shape that is new costs memory once, in both engines: the same 20 shapes come again and again.
    batches = [random_texts(draw.randint(1, 24), seed=seed, most_words=30) for seed in range(20)]
    for batch in batches * 3:
        model.encode(batch)
    before = resident_mb()
    for batch in draw.choices(batches, k=240):
        model.encode(batch)
    assert resident_mb() - before < MOST_GROWTH_MB
